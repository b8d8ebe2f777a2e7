//! What is started by a socket: for people, for agents, or without a terminal.

use crate::core::{ExecRequest, OnDisconnect, Program, TtySize};

/// What most programs know and every terminal emulator of today speaks.
const TERM: &str = "xterm-256color";

/// A shell without start-up files, line editor and history, on a terminal that
/// does not echo: busybox draws a line editor of its own on one that does.
const QUIET_SHELL: &str = "unset ENV HISTFILE; stty -echo 2>/dev/null; \
    if command -v bash >/dev/null 2>&1; then exec bash --norc --noprofile --noediting -i; fi; \
    exec sh -i";

/// Nothing that draws, asks or pages.
const QUIET: [(&str, &str); 9] = [
    ("TERM", "dumb"),
    ("NO_COLOR", "1"),
    ("PAGER", "cat"),
    ("MANPAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("SYSTEMD_PAGER", "cat"),
    ("PS1", "$ "),
    ("HISTSIZE", "0"),
    ("INPUTRC", "/dev/null"),
];

/// How a command is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The user's login shell on a terminal.
    Human,
    /// A quiet shell on a terminal.
    Agent,
    /// No terminal, stdin open.
    Exec,
}

impl Mode {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "human" => Some(Self::Human),
            "agent" => Some(Self::Agent),
            "exec" => Some(Self::Exec),
            _ => None,
        }
    }

    /// The request, but for what the caller says of directory, user and time.
    pub(super) fn request(
        self,
        command: Option<String>,
        term: Option<&str>,
        size: TtySize,
    ) -> ExecRequest {
        let program = match (self, command) {
            (_, Some(command)) => Program::Shell(command),
            (Self::Human, None) => Program::LoginShell(Vec::new()),
            (Self::Agent | Self::Exec, None) => Program::Shell(QUIET_SHELL.to_owned()),
        };
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut request = ExecRequest::new(program);
        request.stdin_open = true;
        request.env = match self {
            Self::Human => vec![own(("TERM", term.unwrap_or(TERM)))],
            Self::Agent => QUIET.into_iter().map(own).collect(),
            Self::Exec => Vec::new(),
        };
        request.tty = (self != Self::Exec).then_some(size);
        request.on_disconnect = Some(match self {
            Self::Human | Self::Agent => OnDisconnect::Keep,
            Self::Exec => OnDisconnect::Kill,
        });
        request
    }
}
