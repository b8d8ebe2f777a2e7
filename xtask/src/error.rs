//! The one error type of the tasks: what was being done, with the values.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kernel::Mismatch;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something the machine lacks, with the command that gets it.
    #[error("{what} is missing; get it with: {get}")]
    Missing { what: String, get: String },

    #[error("{doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },

    #[error("starting `{command}`")]
    Spawn {
        command: String,
        #[source]
        source: std::io::Error,
    },

    #[error("`{command}` ended with {status}{}", told(stderr))]
    Failed {
        command: String,
        status: std::process::ExitStatus,
        /// What it said, when its output was captured.
        stderr: String,
    },

    #[error("`{command}` did not end within {} s and was killed", limit.as_secs())]
    TimedOut { command: String, limit: Duration },

    #[error("another xtask has held {} for {} s", path.display(), limit.as_secs())]
    Busy { path: PathBuf, limit: Duration },

    #[error("{} line {line}: {problem}", file.display())]
    Manifest { file: PathBuf, line: usize, problem: String },

    #[error("the kernel's configuration is not what was asked for:{}", each(mismatches))]
    KernelOptions { mismatches: Vec<Mismatch> },

    #[error("reading {what}: {problem}")]
    Format { what: String, problem: String },

    #[error(
        "{what} is {size} compressed, over its budget of {budget}; before compression: {holds}"
    )]
    Budget { what: String, size: String, budget: String, holds: String },

    #[error("{what} is not the same when it is built elsewhere: {differs}")]
    NotReproducible { what: String, differs: String },

    #[error("{doing}: {problem}")]
    Demo { doing: String, problem: String },

    #[error("{request}")]
    Http {
        request: String,
        #[source]
        source: Box<ureq::Error>,
    },

    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// For `map_err`: an I/O error with what was being done to which path.
    pub(crate) fn io(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}

/// The error and its causes on one line, outermost first.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

fn each(mismatches: &[Mismatch]) -> String {
    mismatches.iter().map(|mismatch| format!("\n  {mismatch}")).collect()
}

fn told(stderr: &str) -> String {
    match stderr.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_names_the_step_and_its_cause() {
        let error = Error::io("reading", "/no/such")(std::io::Error::from_raw_os_error(2));
        assert_eq!(chain(&error), "reading /no/such: No such file or directory (os error 2)");
    }

    #[test]
    fn missing_names_the_command_that_gets_it() {
        let error = Error::Missing { what: "umoci".into(), get: "make setup".into() };
        assert_eq!(error.to_string(), "umoci is missing; get it with: make setup");
    }
}
