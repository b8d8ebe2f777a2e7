//! The sessions' rows.

use rusqlite::{Row, params};

use super::{Store, StoreError};

/// A session as it is first written.
#[derive(Debug, Clone)]
pub(crate) struct NewSession {
    pub(crate) id: String,
    /// Microseconds since 1970.
    pub(crate) created_us: i64,
    pub(crate) status: &'static str,
    /// JSON of the core's.
    pub(crate) settings: String,
}

/// A session as it was written last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) id: String,
    pub(crate) created_us: i64,
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) settings: String,
    /// How to find its sandbox, as JSON; None before there was one.
    pub(crate) sandbox: Option<String>,
    /// JSON of the core's; None before it was ready.
    pub(crate) boot: Option<String>,
    /// The serving processes that were met in it, as JSON.
    pub(crate) instances: String,
}

impl SessionRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            created_us: row.get("created_us")?,
            status: row.get("status")?,
            reason: row.get("reason")?,
            settings: row.get("settings")?,
            sandbox: row.get("sandbox")?,
            boot: row.get("boot")?,
            instances: row.get("instances")?,
        })
    }
}

impl Store {
    /// Every session, oldest first.
    pub(crate) async fn sessions(&self) -> Result<Vec<SessionRow>, StoreError> {
        self.call("reading sessions", |db| {
            let mut query = db.prepare("SELECT * FROM sessions ORDER BY number")?;
            query.query_map([], SessionRow::read)?.collect()
        })
        .await
    }

    /// Before anything of it is started.
    pub(crate) async fn add_session(&self, new: NewSession) -> Result<(), StoreError> {
        self.call("adding a session", move |db| {
            db.execute(
                "INSERT INTO sessions (id, created_us, status, settings) VALUES (?1, ?2, ?3, ?4)",
                params![new.id, new.created_us, new.status, new.settings],
            )
            .map(drop)
        })
        .await
    }

    /// How to find its sandbox.
    pub(crate) async fn set_sandbox(&self, id: &str, sandbox: String) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.call("noting a sandbox", move |db| {
            let update = "UPDATE sessions SET sandbox = ?2 WHERE id = ?1";
            db.execute(update, params![id, sandbox]).map(drop)
        })
        .await
    }

    /// It takes commands, unless it is being ended; what its way there was like.
    pub(crate) async fn set_ready(&self, id: &str, boot: String) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.call("noting that a session is ready", move |db| {
            let update = "UPDATE sessions SET status = 'running', boot = ?2
                          WHERE id = ?1 AND status = 'starting'";
            db.execute(update, params![id, boot]).map(drop)
        })
        .await
    }

    /// Where it stands.
    pub(crate) async fn set_status(
        &self,
        id: &str,
        status: &'static str,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.call("noting where a session stands", move |db| {
            let update = "UPDATE sessions SET status = ?2 WHERE id = ?1";
            db.execute(update, params![id, status]).map(drop)
        })
        .await
    }

    /// The serving processes that were met in it.
    pub(crate) async fn set_instances(
        &self,
        id: &str,
        instances: String,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.call("noting an agent's start", move |db| {
            let update = "UPDATE sessions SET instances = ?2 WHERE id = ?1";
            db.execute(update, params![id, instances]).map(drop)
        })
        .await
    }

    /// It has ended; its sandbox is gone.
    pub(crate) async fn set_ended(
        &self,
        id: &str,
        status: &'static str,
        reason: String,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.call("noting a session's end", move |db| {
            let update =
                "UPDATE sessions SET status = ?2, reason = ?3, sandbox = NULL WHERE id = ?1";
            db.execute(update, params![id, status, reason]).map(drop)
        })
        .await
    }

    /// As if they had never been.
    pub(crate) async fn forget(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.call("forgetting sessions", move |db| {
            let mut delete = db.prepare("DELETE FROM sessions WHERE id = ?1")?;
            ids.iter().try_for_each(|id| delete.execute([id]).map(drop))
        })
        .await
    }
}
