//! What can go wrong, told in one line with its causes, and what to do about it.

use std::error::Error as StdError;
use std::io;

use crate::client::types::Failure;

/// Postern's own failure, as docker has it.
pub(crate) const OWN_FAILURE: u8 = 125;
/// The program is there and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// There is no such program.
const NOT_FOUND: u8 = 127;

/// A failure of one call of `postern`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The broker refused or failed.
    #[error("{doing}: {failure}")]
    Api { doing: String, failure: Box<Failure> },
    /// There is no broker where one should be.
    #[error("no broker answers at {target}")]
    Unreachable { target: String, source: io::Error },
    /// The connection to the broker broke.
    #[error("{doing}: the connection to the broker broke")]
    Http { doing: String, source: Box<dyn StdError + Send + Sync> },
    /// It answered something that is not of this API.
    #[error("{doing}: the broker's answer makes no sense: {what}")]
    Answer { doing: String, what: String },
    /// Nothing came in time.
    #[error("{doing}: no answer within {seconds} s")]
    Late { doing: String, seconds: u64 },
    /// A file or a socket of this machine.
    #[error("{doing}")]
    Io { doing: String, source: io::Error },
    /// The call itself is wrong.
    #[error("{message}")]
    Usage { message: String, hint: Option<&'static str> },
    /// The broker in this process.
    #[error("{doing}: {source}")]
    Broker { doing: String, source: postern_broker::core::Error },
    /// A signal before there was a command to hand it to.
    #[error("interrupted")]
    Interrupted { signal: u8 },
}

impl Error {
    /// For `map_err` on what the standard library does.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// As docker says it: a command on a terminal needs one on this side, too.
    pub(crate) fn not_a_terminal() -> Self {
        Self::Usage {
            message: "the input device is not a terminal".to_owned(),
            hint: Some("leave out -t, or use `postern attach --no-stdin` to look on only"),
        }
    }

    /// The connection is at fault, not the request: it may be tried again.
    pub(crate) fn is_link(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::Unreachable { .. } | Self::Late { .. })
    }

    /// As docker has them.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Api { failure, .. } => match failure.stage.as_deref() {
                Some("not_found") => NOT_FOUND,
                Some("not_executable") => NOT_EXECUTABLE,
                _ => OWN_FAILURE,
            },
            Self::Interrupted { signal } => 128 + signal,
            _ => OWN_FAILURE,
        }
    }

    /// One line with the causes, and one with what to do where that is known.
    pub(crate) fn print(&self) {
        let mut line = format!("postern: {self}");
        let mut cause = self.source();
        while let Some(next) = cause {
            let text = next.to_string();
            // Some messages repeat their cause already.
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = next.source();
        }
        eprintln!("{line}");
        if let Some(hint) = self.hint() {
            eprintln!("  {hint}");
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "start one with `postern serve --allow-anonymous`, or point POSTERN_URL to it"
                    .to_owned(),
            ),
            Self::Usage { hint, .. } => hint.map(str::to_owned),
            Self::Api { failure, .. } => match failure.code.as_str() {
                "permission_denied" => {
                    Some("if the broker has API keys, set POSTERN_API_KEY".to_owned())
                }
                "internal" => failure
                    .request_id
                    .as_ref()
                    .map(|id| format!("the broker's log has the cause under request {id}")),
                "unavailable" => Some("`postern doctor` shows what this machine lacks".to_owned()),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawn(stage: Option<&str>) -> Error {
        let failure = Failure { stage: stage.map(str::to_owned), ..Failure::default() };
        Error::Api { doing: "exec".to_owned(), failure: Box::new(failure) }
    }

    #[test]
    fn exit_codes_are_dockers() {
        assert_eq!(spawn(Some("not_found")).exit_code(), 127);
        assert_eq!(spawn(Some("not_executable")).exit_code(), 126);
        assert_eq!(spawn(Some("bad_cwd")).exit_code(), 125);
        assert_eq!(spawn(None).exit_code(), 125);
        assert_eq!(Error::usage("x").exit_code(), 125);
    }
}
