//! How a session is watched over, and how it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Error, Session, SessionStatus, saved};
use crate::driver::{Records, Sandbox};
use crate::guest::Guest;
use crate::store::{Store, StoreError};

/// What commands get between TERM and KILL when their session ends.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Likewise where the image's entrypoint is one of them: as docker stop has it.
const ENTRYPOINT_GRACE: Duration = Duration::from_secs(10);

/// Beyond the grace: killing what is left, syncing, powering off under TCG.
const POWER_OFF: Duration = Duration::from_secs(10);

/// For a sandbox that did not go by itself.
pub(super) const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// Where a session is kept: its directory, and its row of the store.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) dir: PathBuf,
    pub(super) store: Store,
}

/// What the store could not note is known to this broker all the same; the next
/// one finds the session as it was before.
pub(super) fn note(noted: Result<(), StoreError>) {
    if let Err(error) = noted {
        tracing::warn!(error = Error::from(error).private(), "not noted in the store");
    }
}

/// Ends a session when its time is over, notices when its sandbox ends by itself,
/// and keeps the store true meanwhile.
pub(super) async fn watch_over(session: Session, sandbox: Arc<dyn Sandbox>, home: Home) {
    let mut statuses = session.statuses();
    let time_is_over = async {
        match session.settings().ttl {
            Some(ttl) => {
                let age = saved::age(session.settings().created_at);
                tokio::time::sleep(ttl.saturating_sub(age)).await;
            }
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        why = sandbox.ended() => Err(why),
        () = time_is_over => Ok(()),
        () = keep_noted(&session, sandbox.records(), &home.store) => return,
        _ = statuses.wait_for(|status| *status != SessionStatus::Running) => return,
    };
    drop(sandbox);
    match why {
        Ok(()) => end(&session, &home, End::TimeOver).await,
        Err(why) => end(&session, &home, End::ByItself(why)).await,
    }
}

/// What changes while a session runs: parts of its sandbox that were replaced,
/// and the serving processes inside.
async fn keep_noted(session: &Session, mut records: Records, store: &Store) {
    let Some(guest) = session.guest_if_any() else { return };
    let (mut instances, id) = (guest.instances(), session.id());
    // The handle would keep the link up for a session that nobody has.
    drop(guest);
    instances.mark_changed();
    let mut fixed = false;
    loop {
        tokio::select! {
            changed = records.changed(), if !fixed => {
                fixed = changed.is_err();
                let record = saved::json(&*records.borrow_and_update());
                note(store.set_sandbox(id, record).await);
            }
            changed = instances.changed() => {
                let all = saved::json(&**instances.borrow_and_update());
                note(store.set_instances(id, all).await);
                if changed.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// Why a session ends.
#[derive(Debug, Clone)]
pub(super) enum End {
    Asked { force: bool },
    TimeOver,
    ByItself(String),
    NeverReady(String),
}

impl End {
    fn grace(&self, session: &Session) -> Option<Duration> {
        match self {
            Self::Asked { force: false } | Self::TimeOver if session.settings().entrypoint => {
                Some(ENTRYPOINT_GRACE)
            }
            Self::Asked { force: false } | Self::TimeOver => Some(SHUTDOWN_GRACE),
            Self::Asked { force: true } => Some(Duration::ZERO),
            Self::ByItself(_) | Self::NeverReady(_) => None,
        }
    }

    fn verdict(&self) -> (SessionStatus, String) {
        match self {
            Self::Asked { .. } => (SessionStatus::Terminated, "it was deleted".to_owned()),
            Self::TimeOver => (SessionStatus::Terminated, "its time was over".to_owned()),
            Self::ByItself(why) => (SessionStatus::Failed, why.clone()),
            Self::NeverReady(why) => (SessionStatus::Failed, format!("it never got ready: {why}")),
        }
    }
}

/// Ends a session. Whoever comes second waits for the first.
pub(super) async fn end(session: &Session, home: &Home, why: End) {
    use SessionStatus::{Draining, Running, Starting};
    if !session.advance(&[Starting, Running], Draining) {
        // Each step of the first has a deadline, so this wait has one too.
        let mut statuses = session.statuses();
        let _ = statuses.wait_for(|status| status.is_final()).await;
        return;
    }
    note(home.store.set_status(session.id(), Draining.as_str()).await);
    let (guest, sandbox) = (session.guest_if_any(), session.sandbox_if_any());
    if let Some(sandbox) = &sandbox {
        if let (Some(grace), Some(guest), true) = (why.grace(session), &guest, sandbox.is_ours()) {
            shut_down(guest, &**sandbox, grace).await;
        }
        sandbox.kill(KILL_DEADLINE).await;
    }
    let (status, reason) = why.verdict();
    if let Some(guest) = &guest {
        guest.end(&reason);
    }
    drop(session.take());
    let (dir, id) = (&home.dir, session.id());
    if let Err(error) = tokio::fs::remove_dir_all(dir).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(dir = %dir.display(), %error, "a session's directory is left behind");
    }
    note(home.store.set_ended(id, status.as_str(), reason.clone()).await);
    tracing::info!(session = id, status = status.as_str(), reason, "session ended");
    session.set_status(status, Some(reason));
}

async fn shut_down(guest: &Guest, sandbox: &dyn Sandbox, grace: Duration) {
    let ended = sandbox.ended();
    let asked = async {
        if let Err(error) = guest.shutdown(grace).await {
            // An agent that powers off at once may never answer.
            tracing::debug!(%error, "the agent did not answer to the shutdown");
        }
        ended.await
    };
    if tokio::time::timeout(grace + POWER_OFF, asked).await.is_err() {
        tracing::warn!("the sandbox did not shut down in time and is killed");
    }
}
