//! A session as the store has it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::session::Settings;
use super::{BootFigures, DriverKind, ImageConfig, SessionStatus};
use crate::store::{NewSession, SessionRow};

/// What does not change while a session lives. Environments are not in it: they
/// live in the agent, and may hold secrets.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    image: String,
    driver: String,
    memory_mb: u32,
    cpus: u32,
    ttl_ms: Option<u64>,
    /// Not in the rows of versions before it.
    disk_mb: Option<u32>,
    hostname: String,
    network: bool,
    // Brokers before these wrote none of them.
    #[serde(default)]
    no_new_privs: bool,
    #[serde(default)]
    entrypoint: bool,
    #[serde(default)]
    image_config: Option<ImageConfig>,
}

/// What is known once a session is ready: [`BootFigures`], in microseconds, and its
/// first command.
#[derive(Debug, Serialize, Deserialize)]
struct SavedBoot {
    sandbox_us: u64,
    image_us: u64,
    total_us: u64,
    init_start_us: u64,
    agent_ready_us: u64,
    accelerator: Option<String>,
    #[serde(default)]
    entrypoint_command_id: Option<String>,
}

/// The row of a session that is being admitted.
pub(super) fn new_row(settings: &Settings) -> NewSession {
    let saved = Saved {
        image: settings.image.clone(),
        driver: settings.driver.as_str().to_owned(),
        memory_mb: settings.memory_mb,
        cpus: settings.cpus,
        ttl_ms: settings.ttl.map(millis),
        disk_mb: settings.disk_mb,
        hostname: settings.hostname.clone(),
        network: settings.network,
        no_new_privs: settings.no_new_privs,
        entrypoint: settings.entrypoint,
        image_config: settings.image_config.as_deref().cloned(),
    };
    let since = settings.created_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    NewSession {
        id: settings.id.clone(),
        created_us: i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        status: SessionStatus::Starting.as_str(),
        settings: json(&saved),
    }
}

/// None for a row that this version cannot read.
pub(super) fn settings(row: &SessionRow) -> Option<Settings> {
    let saved: Saved = serde_json::from_str(&row.settings).ok()?;
    let kinds = [DriverKind::Qemu, DriverKind::Process, DriverKind::Attach];
    let created = Duration::from_micros(u64::try_from(row.created_us).ok()?);
    Some(Settings {
        id: row.id.clone(),
        created_at: UNIX_EPOCH.checked_add(created)?,
        image: saved.image,
        driver: kinds.into_iter().find(|kind| kind.as_str() == saved.driver)?,
        memory_mb: saved.memory_mb,
        cpus: saved.cpus,
        ttl: saved.ttl_ms.map(Duration::from_millis),
        disk_mb: saved.disk_mb,
        hostname: saved.hostname,
        network: saved.network,
        no_new_privs: saved.no_new_privs,
        entrypoint: saved.entrypoint,
        image_config: saved.image_config.map(Arc::new),
    })
}

pub(super) fn status(row: &SessionRow) -> Option<SessionStatus> {
    use SessionStatus::{Draining, Failed, Running, Starting, Terminated};
    let all = [Starting, Running, Draining, Terminated, Failed];
    all.into_iter().find(|status| status.as_str() == row.status)
}

pub(super) fn ready_text(boot: &BootFigures, entrypoint_command_id: Option<String>) -> String {
    json(&SavedBoot {
        sandbox_us: micros(boot.sandbox),
        image_us: micros(boot.image),
        total_us: micros(boot.total),
        init_start_us: boot.init_start_us,
        agent_ready_us: boot.agent_ready_us,
        accelerator: boot.accelerator.map(str::to_owned),
        entrypoint_command_id,
    })
}

pub(super) fn boot(row: &SessionRow) -> Option<BootFigures> {
    let saved: SavedBoot = serde_json::from_str(row.boot.as_deref()?).ok()?;
    let known = ["kvm", "tcg"];
    Some(BootFigures {
        sandbox: Duration::from_micros(saved.sandbox_us),
        image: Duration::from_micros(saved.image_us),
        total: Duration::from_micros(saved.total_us),
        init_start_us: saved.init_start_us,
        agent_ready_us: saved.agent_ready_us,
        accelerator: known.into_iter().find(|name| saved.accelerator.as_deref() == Some(name)),
    })
}

/// The first command of a session that was made with one.
pub(super) fn entrypoint(row: &SessionRow) -> Option<String> {
    let saved: SavedBoot = serde_json::from_str(row.boot.as_deref()?).ok()?;
    saved.entrypoint_command_id
}

/// Of plain fields only, which always have a JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Age by the wall clock: it goes on while no broker is there.
pub(super) fn age(created_at: SystemTime) -> Duration {
    created_at.elapsed().unwrap_or_default()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_back_and_a_row_that_makes_no_sense_is_none() {
        let of = Settings {
            id: "sess_x".to_owned(),
            created_at: UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
            image: "debian".to_owned(),
            driver: DriverKind::Qemu,
            memory_mb: 512,
            cpus: 3,
            ttl: Some(Duration::from_secs(60)),
            disk_mb: Some(2048),
            hostname: "h".to_owned(),
            network: true,
            no_new_privs: true,
            entrypoint: true,
            image_config: Some(Arc::new(ImageConfig {
                labels: [("a".to_owned(), "b".to_owned())].into(),
                stop_signal: 3,
                ..ImageConfig::default()
            })),
        };
        let figures = BootFigures {
            total: Duration::from_micros(7),
            accelerator: Some("tcg"),
            ..BootFigures::default()
        };
        let new = new_row(&of);
        let mut row = SessionRow {
            id: new.id,
            created_us: new.created_us,
            status: new.status.to_owned(),
            reason: None,
            settings: new.settings,
            sandbox: None,
            boot: Some(ready_text(&figures, Some("cmd_x".to_owned()))),
            instances: "[]".to_owned(),
        };
        let back = settings(&row).unwrap();
        assert_eq!(format!("{back:?}"), format!("{of:?}"));
        let before = row.settings.replace(r#""disk_mb":2048,"#, "");
        let before = SessionRow { settings: before, ..row.clone() };
        assert_eq!(settings(&before).unwrap().disk_mb, None, "a row of before there were disks");
        assert_eq!(status(&row), Some(SessionStatus::Starting));
        assert_eq!(boot(&row), Some(figures));
        assert_eq!(entrypoint(&row).as_deref(), Some("cmd_x"));
        // As a broker of before wrote it.
        let mut of_before: serde_json::Value = serde_json::from_str(&row.settings).unwrap();
        for new in ["no_new_privs", "entrypoint", "image_config"] {
            assert!(of_before.as_object_mut().unwrap().remove(new).is_some());
        }
        let of_before = SessionRow { settings: of_before.to_string(), ..row.clone() };
        assert!(settings(&of_before).unwrap().image_config.is_none());
        row.settings = row.settings.replace("qemu", "other");
        row.status = "other".to_owned();
        assert!(settings(&row).is_none() && status(&row).is_none());
    }
}
