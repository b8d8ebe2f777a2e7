//! What a broker does before it takes its first request: it takes over the
//! sandboxes that an earlier one left running.
//!
//! ```text
//! row of the store        its sandbox            becomes
//! ────────────────        ───────────            ───────
//! running                 lives                  running: dialled, its commands go on
//! running                 is gone, or broken     failed; what is left of it is ended
//! starting, draining      any                    failed, terminated; ended
//! terminated, failed      none                   listed for a while
//! one nobody can read     any                    left as it is, for whoever can
//! no row                  a directory is left    ended and removed
//! ```

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_proto::{CommandInfo, CommandState, OnDisconnect};

use super::broker::Inner;
use super::lifecycle::{note, watch_over};
use super::{Result, Session, SessionStatus, saved};
use crate::driver::{DriverError, Record, Sandbox, kill_strays, remove_dir};
use crate::guest::{Guest, Instances};
use crate::store::SessionRow;

/// Between two tries to list an agent's commands: each waits for the link itself.
const LIST_AGAIN: Duration = Duration::from_secs(1);

/// Every session of the store, and an end for what has no session.
pub(super) async fn sessions(inner: &Inner) -> Result<Vec<Session>> {
    let (mut sessions, mut left) = (Vec::new(), HashSet::new());
    for row in inner.store.sessions().await? {
        let Some((settings, status)) = saved::settings(&row).zip(saved::status(&row)) else {
            tracing::warn!(session = row.id, "a session of the store cannot be read; it is left");
            left.insert(row.id);
            continue;
        };
        let session = Session::new(settings, *inner.store.key());
        if let Some(boot) = saved::boot(&row) {
            session.set_boot(boot);
        }
        session.set_entrypoint(saved::entrypoint(&row));
        if status.is_final() {
            session.set_status(status, row.reason.clone());
        } else {
            take_over(inner, &session, status, &row).await;
        }
        sessions.push(session);
    }
    left.extend(sessions.iter().filter(|s| !s.status().is_final()).map(|s| s.id().to_owned()));
    sweep(inner, left).await;
    Ok(sessions)
}

async fn take_over(inner: &Inner, session: &Session, status: SessionStatus, row: &SessionRow) {
    let adopted = match status {
        SessionStatus::Running => adopt(inner, session, row),
        SessionStatus::Draining => Err("the broker was killed while it ended it".to_owned()),
        _ => Err("the broker was killed while it was made".to_owned()),
    };
    match adopted {
        Ok(sandbox) => {
            tracing::info!(session = row.id, "session taken over from an earlier broker");
            session.callers().adopting();
            session.set_status(SessionStatus::Running, None);
            tokio::spawn(watch_over(session.clone(), sandbox, inner.home(&row.id)));
            tokio::spawn(abandoned(session.clone()));
        }
        Err(why) => {
            tracing::warn!(session = row.id, why, "session not taken over");
            let verdict = match status {
                SessionStatus::Draining => SessionStatus::Terminated,
                _ => SessionStatus::Failed,
            };
            session.set_status(verdict, Some(why.clone()));
            note(inner.store.set_ended(&row.id, verdict.as_str(), why).await);
        }
    }
}

/// The sandbox of a session that ran, if it is still there.
fn adopt(inner: &Inner, session: &Session, row: &SessionRow) -> Result<Arc<dyn Sandbox>, String> {
    let dir = inner.home(&row.id).dir;
    let record: Option<Record> =
        row.sandbox.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let record = record.ok_or("how to find its sandbox is not known")?;
    let shared = record.shared().and_then(|key| inner.shared.as_ref()?.take(key));
    let driver = inner.driver_of(session.settings().driver, &record);
    let adopted = driver.and_then(|driver| driver.adopt(&dir, record));
    let sandbox: Arc<dyn Sandbox> = adopted.map_err(|error| with_cause(&error))?.into();
    let instances: Vec<String> = serde_json::from_str(&row.instances).unwrap_or_default();
    let instances = Instances::from(instances);
    session.set_sandbox(sandbox.clone());
    session.set_shared(shared);
    session.set_guest(Guest::adopt(sandbox.dial(), inner.store.epoch(), instances));
    Ok(sandbox)
}

fn with_cause(error: &DriverError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// The callers of foreground commands died with the broker that they called: each
/// command has the grace of any abandoned one, in which a call with its
/// idempotency key takes it over.
async fn abandoned(session: Session) {
    let mut statuses = session.statuses();
    let over = statuses.wait_for(|status| *status != SessionStatus::Running);
    let list = async {
        while let Ok(guest) = session.guest() {
            match session.commands().await {
                Ok(commands) => {
                    let left = commands.into_iter().filter(is_abandoned);
                    let left = left.map(|command| (command.command_id, command.idempotency_key));
                    session.callers().left_behind(&guest, left);
                    return;
                }
                Err(error) => tracing::debug!(%error, "an adopted agent does not answer yet"),
            }
            tokio::time::sleep(LIST_AGAIN).await;
        }
    };
    tokio::select! { _ = over => {}, () = list => {} }
}

fn is_abandoned(command: &CommandInfo) -> bool {
    let live = matches!(command.state, CommandState::Starting | CommandState::Running);
    live && command.on_disconnect == OnDisconnect::Kill
}

/// Ends what runs for directories that no living session has, and removes them.
async fn sweep(inner: &Inner, live: HashSet<String>) {
    let root = inner.data_dir.join("sessions");
    let swept = tokio::task::spawn_blocking(move || {
        let Ok(entries) = std::fs::read_dir(&root) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !name.to_str().is_some_and(|name| live.contains(name)) {
                remove(&entry.path());
            }
        }
    });
    if let Err(error) = swept.await {
        tracing::warn!(%error, "the sweep of old sessions was broken off");
    }
}

fn remove(dir: &Path) {
    kill_strays(dir);
    if let Err(error) = remove_dir(dir) {
        tracing::warn!(dir = %dir.display(), %error, "a session's directory is left behind");
    }
}
