//! Why an image cannot be used.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use crate::store::StoreError;

/// Why an image cannot be used. `Display` is for the caller; what a registry or
/// an archive says is in it only after [`said`] has made it harmless.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("the image reference {reference:?} {problem}")]
    BadReference { reference: String, problem: String },
    #[error("there is no image {name:?} in {}", dir.display())]
    NotFound { name: String, dir: PathBuf },
    #[error("the image {name} is not in the store, and the pull policy is never")]
    Absent { name: String },
    #[error("the image {name} is not in the store")]
    NotStored { name: String },
    #[error("the registry {registry} has no {what}")]
    NotInRegistry { registry: String, what: String },
    #[error("the registry {registry} refuses access to {what}: {why}")]
    Denied { registry: String, what: String, why: String },
    /// It may be different at the next try.
    #[error("the registry {registry}: {problem}")]
    Unreachable {
        registry: String,
        problem: String,
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// An answer that no honest registry gives; asking again would not help.
    #[error("the registry {registry} lies: {problem}")]
    Lied { registry: String, problem: String },
    #[error("credentials for the registry {registry}: {problem}")]
    Credentials {
        registry: String,
        problem: String,
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    #[error("the image at {} {problem}", at.display())]
    Malformed { at: PathBuf, problem: String },
    #[error("the image at {} is for {found}, not for linux/{wanted}", at.display())]
    OtherArch { at: PathBuf, found: String, wanted: String },
    #[error("the image needs {needed} bytes of the store, which holds {max} at most{hint}")]
    Full { needed: u64, max: u64, hint: &'static str },
    #[error("the pull was not done after {seconds} s; what has arrived is kept for the next one")]
    Late { seconds: u64 },
    #[error("the pull was broken off")]
    BrokenOff,
    #[error("{doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the list of images")]
    Store(#[from] StoreError),
    #[error("sending the image to the guest")]
    Guest(#[from] crate::guest::GuestError),
}

impl ImageError {
    pub(crate) fn malformed(at: impl Into<PathBuf>, problem: impl Into<String>) -> Self {
        Self::Malformed { at: at.into(), problem: problem.into() }
    }

    /// For `map_err` on what is done with a file.
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// As much of a registry's words as an error has room for.
const MAX_SAID: usize = 256;

/// What a stranger says, fit for a log and a terminal: no control characters,
/// and an end.
pub(crate) fn said(text: &str) -> String {
    let clean = text.trim().chars().take(MAX_SAID);
    clean.map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
