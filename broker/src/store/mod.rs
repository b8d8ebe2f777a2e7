//! What must survive the broker: one SQLite file in the data directory.
//!
//! ```text
//! DATA_DIR/lock         held while a broker runs: one broker per directory
//! DATA_DIR/postern.db   sessions and how to reach their sandboxes, images, the epoch
//! ```
//!
//! Commands, output and stdin are not in it: they live in the agents, which
//! outlive the broker. Rows hold what the core gives as JSON; the store knows no
//! sessions, drivers or agents. A store in memory does the same for a broker
//! whose sandboxes go with it.
//!
//! Written in WAL mode with `synchronous = NORMAL`: a commit survives the death
//! of the process at once, and what a power cut may take is of no use, since it
//! takes the sandboxes too.

mod error;
mod images;
mod lock;
mod schema;
mod sessions;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

pub(crate) use error::StoreError;
pub(crate) use images::ImageRow;
pub(crate) use lock::Lock;
pub(crate) use sessions::{NewSession, SessionRow};

const FILE: &str = "postern.db";

/// For another program that reads the file meanwhile, such as a backup.
const BUSY_DEADLINE: Duration = Duration::from_secs(5);

/// A secret that is as old as the store.
pub(crate) type Key = [u8; 32];

/// The store; cheap to clone. Each call is one short transaction on a thread for
/// blocking work.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
    epoch: u64,
    key: Key,
    /// Given back with the last handle, or by the kernel when the process dies.
    lock: Option<Arc<Lock>>,
}

impl Store {
    /// Opens the store of a data directory, or makes one; refused while another
    /// broker has it. Blocking.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let lock = Lock::take(dir)?;
        let path = dir.join(FILE);
        let open = |source| StoreError::Open { path: path.clone(), source };
        let connection = Connection::open(&path).map_err(open)?;
        connection.busy_timeout(BUSY_DEADLINE).map_err(open)?;
        connection.pragma_update(None, "journal_mode", "wal").map_err(open)?;
        connection.pragma_update(None, "synchronous", "normal").map_err(open)?;
        Self::begin(connection, &path, Some(Arc::new(lock)))
    }

    /// One that is gone with the process.
    pub(crate) fn in_memory() -> Result<Self, StoreError> {
        let path = Path::new(":memory:");
        let connection = Connection::open_in_memory()
            .map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        Self::begin(connection, path, None)
    }

    fn begin(
        mut connection: Connection,
        path: &Path,
        lock: Option<Arc<Lock>>,
    ) -> Result<Self, StoreError> {
        schema::migrate(&mut connection, path)?;
        let (epoch, key) = schema::next_epoch(&mut connection, now_us())
            .map_err(|source| StoreError::Query { doing: "taking an epoch", source })?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), epoch, key, lock })
    }

    /// Higher than that of every broker that had this store before.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Known to every broker of this store and nobody else.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Whether another broker will read it.
    pub(crate) fn is_lasting(&self) -> bool {
        self.lock.is_some()
    }

    async fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = self.connection.clone();
        let done = tokio::task::spawn_blocking(move || {
            // SQLite rolls back what a panic left half done.
            work(&connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(result) => result.map_err(|source| StoreError::Query { doing, source }),
            Err(source) => Err(StoreError::Broken { doing, source }),
        }
    }
}

/// Microseconds of the wall clock: so that a broker with another store that is
/// started later has a higher epoch, too.
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
