//! Why the store did not do it.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("another broker{} uses the data directory {}; stop it, or give this one a directory of its own", by(*pid), dir.display())]
    Taken { dir: PathBuf, pid: Option<u32> },
    #[error("locking {}", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("opening the store {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("the store {} has version {found}, and this Postern knows up to {known}; use the newer one, or another data directory", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{doing} in the store")]
    Query {
        doing: &'static str,
        #[source]
        source: rusqlite::Error,
    },
    #[error("{doing} in the store was broken off")]
    Broken {
        doing: &'static str,
        #[source]
        source: tokio::task::JoinError,
    },
}

fn by(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}
