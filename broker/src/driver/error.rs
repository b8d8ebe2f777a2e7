//! Why there is no sandbox.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    /// Something that must be on this host is not; how to get it.
    #[error("{what} is missing; get it with: {get}")]
    Missing { what: String, get: &'static str },
    #[error("{doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("starting {program}")]
    Spawn {
        program: String,
        #[source]
        source: io::Error,
    },
    /// A program that was to do one thing and end.
    #[error("{program} failed: {why}")]
    Failed { program: &'static str, why: String },
    #[error("{what} did not come up: {why}")]
    NotUp { what: &'static str, why: String },
    /// What an earlier broker had started is not there any more.
    #[error("{0} ended while no broker was there to see it")]
    Gone(&'static str),
    /// A record of the store that makes no sense to the driver it names.
    #[error("the store has something else than a sandbox of the driver {0}")]
    Foreign(&'static str),
}

impl DriverError {
    pub(crate) fn foreign(driver: &'static str) -> Self {
        Self::Foreign(driver)
    }

    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
