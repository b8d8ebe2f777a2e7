//! The query of a terminal's socket, read and checked.

use std::time::Duration;

use super::modes::Mode;
use crate::api::error::ApiError;
use crate::api::extract::Query;
use crate::api::v1::exec_request::MAX_MS;
use crate::api::v1::process_setup::DEFAULT_TTY;
use crate::core::{ExecRequest, TtySize};

/// What a socket is for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) target: Target,
    pub(super) from: Option<u64>,
    pub(super) lossless: bool,
    pub(super) stdin_from: Option<u64>,
    pub(super) viewer: bool,
}

#[derive(Debug)]
pub(super) enum Target {
    Start(Box<ExecRequest>),
    Attach(String),
}

/// What says how a command is started, and means nothing to one that runs.
const OF_THE_START: [&str; 8] =
    ["mode", "command", "cwd", "user", "term", "timeout_ms", "rows", "cols"];

pub(super) fn parse(query: &Query) -> Result<Asked, ApiError> {
    let lossless = query.flag("lossless")?.unwrap_or(true);
    let target = match query.text("command_id") {
        Some(command_id) => {
            if let Some(name) = OF_THE_START.into_iter().find(|name| query.text(name).is_some()) {
                let message = format!("{name} is for a new command: leave it out with command_id");
                return Err(ApiError::invalid(name, message));
            }
            Target::Attach(command_id.to_owned())
        }
        None => Target::Start(Box::new(start(query, lossless)?)),
    };
    let viewer = query.flag("viewer")?.unwrap_or(false);
    let stdin_from = query.number("stdin_from")?;
    if viewer && stdin_from.is_some() {
        return Err(ApiError::invalid("stdin_from", "a viewer has no stdin"));
    }
    Ok(Asked { target, from: query.number("from")?, lossless, stdin_from, viewer })
}

fn start(query: &Query, lossless: bool) -> Result<ExecRequest, ApiError> {
    let mode = match query.text("mode") {
        None => Mode::Human,
        Some(name) => Mode::parse(name)
            .ok_or_else(|| ApiError::invalid("mode", "mode must be human, agent or exec"))?,
    };
    let command = plain(query, "command")?.filter(|command| !command.trim().is_empty());
    if mode == Mode::Exec && command.is_none() {
        return Err(ApiError::invalid("command", "command is missing (a line for sh -c)"));
    }
    let size = TtySize {
        rows: cells(query, "rows")?.unwrap_or(DEFAULT_TTY.rows),
        cols: cells(query, "cols")?.unwrap_or(DEFAULT_TTY.cols),
    };
    let term = plain(query, "term")?;
    let mut request = mode.request(command, term.as_deref(), size);
    request.cwd = plain(query, "cwd")?;
    request.user = plain(query, "user")?;
    request.timeout = match query.number("timeout_ms")? {
        None => None,
        Some(ms) if (1..=MAX_MS).contains(&ms) => Some(Duration::from_millis(ms)),
        Some(_) => {
            let message = format!("timeout_ms must be 1 to {MAX_MS}");
            return Err(ApiError::invalid("timeout_ms", message));
        }
    };
    request.lossless = lossless;
    Ok(request)
}

/// Text that goes to calls which end a string at a NUL.
fn plain(query: &Query, name: &str) -> Result<Option<String>, ApiError> {
    match query.text(name) {
        Some(text) if text.contains('\0') => {
            Err(ApiError::invalid(name, format!("{name} must not hold a NUL byte")))
        }
        other => Ok(other.map(str::to_owned)),
    }
}

fn cells(query: &Query, name: &str) -> Result<Option<u16>, ApiError> {
    let Some(number) = query.number(name)? else { return Ok(None) };
    match u16::try_from(number) {
        Ok(cells) if cells > 0 => Ok(Some(cells)),
        _ => Err(ApiError::invalid(name, format!("{name} must be 1 to {}", u16::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{OnDisconnect, Program};

    fn read(query: &str) -> Result<Asked, ApiError> {
        parse(&Query::parse(query).unwrap())
    }

    fn started(query: &str) -> ExecRequest {
        match read(query).unwrap().target {
            Target::Start(request) => *request,
            Target::Attach(id) => panic!("attached to {id}"),
        }
    }

    #[test]
    fn a_person_gets_a_login_shell_that_stays() {
        let request = started("");
        assert_eq!(request.program, Program::LoginShell(Vec::new()));
        assert_eq!(request.tty, Some(TtySize { rows: 24, cols: 80 }));
        assert_eq!(request.env, [("TERM".to_owned(), "xterm-256color".to_owned())]);
        assert_eq!(request.on_disconnect, Some(OnDisconnect::Keep));
        assert!(request.stdin_open && request.lossless);
        let request = started("term=screen&rows=5&cols=6&cwd=/tmp&user=u&timeout_ms=7&lossless=0");
        assert_eq!(request.env[0].1, "screen");
        assert_eq!(request.tty, Some(TtySize { rows: 5, cols: 6 }));
        assert_eq!((request.cwd.as_deref(), request.user.as_deref()), (Some("/tmp"), Some("u")));
        assert_eq!(request.timeout, Some(Duration::from_millis(7)));
        assert!(!request.lossless);
    }

    #[test]
    fn an_exec_has_no_terminal_and_ends_with_its_socket() {
        let request = started("mode=exec&command=cat");
        assert_eq!(request.program, Program::Shell("cat".to_owned()));
        assert_eq!((request.tty, request.on_disconnect), (None, Some(OnDisconnect::Kill)));
        assert!(request.stdin_open);
    }

    #[test]
    fn an_agent_gets_nothing_that_draws() {
        let request = started("mode=agent");
        assert!(request.env.contains(&("TERM".to_owned(), "dumb".to_owned())));
        assert!(request.tty.is_some());
    }

    #[test]
    fn attaching() {
        let asked = read("command_id=c&from=3&stdin_from=4").unwrap();
        assert!(matches!(asked.target, Target::Attach(id) if id == "c"));
        assert_eq!((asked.from, asked.stdin_from), (Some(3), Some(4)));
        assert!(asked.lossless && !asked.viewer);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, field) in [
            ("mode=robot", "mode"),
            ("mode=exec", "command"),
            ("mode=exec&command=+", "command"),
            ("mode=exec&command=a%00b", "command"),
            ("rows=0", "rows"),
            ("cols=65536", "cols"),
            ("rows=-1", "rows"),
            ("timeout_ms=0", "timeout_ms"),
            ("from=x", "from"),
            ("command_id=c&mode=human", "mode"),
            ("command_id=c&rows=3", "rows"),
            ("command_id=c&viewer=true&stdin_from=0", "stdin_from"),
            ("viewer=perhaps", "viewer"),
        ] {
            assert_eq!(read(query).unwrap_err().field.as_deref(), Some(field), "{query}");
        }
    }
}
