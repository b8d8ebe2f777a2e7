//! The body of an exec, read and checked.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::process_setup;
use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::core::{ExecRequest, OnDisconnect, Program};

/// Foreground output that goes into one JSON answer, if the caller does not say.
const DEFAULT_OUTPUT_CAP: u32 = 16 << 20;

/// The most that a caller may ask for: the answer is built in the broker's
/// memory, three times over (the text, its split views); more is what streams are for.
const MAX_OUTPUT_CAP: u32 = 64 << 20;

/// stdin that comes with the request. It travels in one frame to the agent with
/// everything else; a pipe of the kernel holds 64 KiB.
const MAX_STDIN: usize = 512 << 10;

/// Longer keys are no keys but a mistake.
const MAX_IDEMPOTENCY_KEY: usize = 256;

/// A year: beyond it a timeout is none, and arithmetic on clocks stays far from its ends.
pub(super) const MAX_MS: u64 = 366 * 24 * 3600 * 1000;

/// An exec that can be asked of the core.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: ExecRequest,
    pub(super) background: bool,
    pub(super) output_cap: usize,
}

pub(super) fn parse(mut fields: Fields) -> Result<Asked, ApiError> {
    let mut request = ExecRequest::new(program(&mut fields)?);
    request.tty = process_setup::tty(&mut fields)?;
    request.setup = process_setup::parse(&mut fields)?;
    let background = fields.flag("background")?.unwrap_or(false);
    request.cwd = not_empty(&mut fields, "cwd")?;
    request.user = not_empty(&mut fields, "user")?;
    request.env = fields.environment("env")?;
    request.timeout = millis(&mut fields, "timeout_ms")?;
    request.kill_grace = millis(&mut fields, "kill_grace_ms")?;
    request.stdin = stdin(&mut fields)?;
    request.stdin_open = fields.flag("stdin_open")?.unwrap_or(false);
    request.idempotency_key = idempotency_key(&mut fields)?;
    request.on_disconnect = match fields.text("on_disconnect")?.as_deref() {
        None => None,
        Some("kill") => Some(OnDisconnect::Kill),
        Some("keep") => Some(OnDisconnect::Keep),
        Some(_) => return Err(fields.invalid("on_disconnect", "must be kill or keep")),
    };
    request.lossless = fields.flag("lossless")?.unwrap_or(false);
    request.window_bytes = fields.number("window_bytes")?;
    request.stretch_bytes = fields.number("stretch_bytes")?;
    let cap = fields.number_in("max_output_bytes", 0, MAX_OUTPUT_CAP)?;
    let output_cap = usize::try_from(cap.unwrap_or(DEFAULT_OUTPUT_CAP)).unwrap_or(usize::MAX);
    Ok(Asked { request, background, output_cap })
}

/// Exactly one of `command` and `argv`; of a login shell these are its arguments,
/// and it may have none.
fn program(fields: &mut Fields) -> Result<Program, ApiError> {
    let login = fields.flag("login_shell")?.unwrap_or(false);
    match (fields.text("command")?, fields.texts("argv")?) {
        (Some(_), Some(_)) => Err(fields.invalid("argv", "give either command or argv, not both")),
        (None, None) if login => Ok(Program::LoginShell(Vec::new())),
        (None, None) => {
            Err(fields.invalid("command", "is missing (a string for sh -c, or argv as an array)"))
        }
        (Some(command), None) if command.trim().is_empty() => {
            Err(fields.invalid("command", "must not be empty"))
        }
        (Some(command), None) if login => {
            Ok(Program::LoginShell(vec![Bytes::from_static(b"-c"), Bytes::from(command)]))
        }
        (Some(command), None) => Ok(Program::Shell(command)),
        (None, Some(argv)) if login => {
            Ok(Program::LoginShell(argv.into_iter().map(Bytes::from).collect()))
        }
        (None, Some(argv)) => match argv.first() {
            Some(program) if !program.is_empty() => {
                Ok(Program::Argv(argv.into_iter().map(Bytes::from).collect()))
            }
            _ => Err(fields.invalid("argv", "must begin with the name of a program")),
        },
    }
}

fn stdin(fields: &mut Fields) -> Result<Bytes, ApiError> {
    let encoding = fields.text("stdin_encoding")?;
    let Some(text) = fields.raw_text("stdin")? else { return Ok(Bytes::new()) };
    let data = match encoding.as_deref() {
        None | Some("utf8" | "utf-8" | "text") => Bytes::from(text),
        Some("base64") => match BASE64.decode(text) {
            Ok(data) => Bytes::from(data),
            Err(cause) => return Err(fields.invalid("stdin", format!("is not base64: {cause}"))),
        },
        Some(_) => return Err(fields.invalid("stdin_encoding", "must be utf8 or base64")),
    };
    if data.len() > MAX_STDIN {
        let message = format!(
            "more than {MAX_STDIN} bytes: use `background` and `stdin_open`, and send it to …/stdin"
        );
        return Err(fields.invalid("stdin", message));
    }
    Ok(data)
}

fn idempotency_key(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let key = not_empty(fields, "idempotency_key")?;
    if key.as_ref().is_some_and(|key| key.len() > MAX_IDEMPOTENCY_KEY) {
        let message = format!("must not be longer than {MAX_IDEMPOTENCY_KEY} bytes");
        return Err(fields.invalid("idempotency_key", message));
    }
    Ok(key)
}

fn not_empty(fields: &mut Fields, name: &str) -> Result<Option<String>, ApiError> {
    match fields.text(name)? {
        Some(text) if text.is_empty() => Err(fields.invalid(name, "must not be empty")),
        other => Ok(other),
    }
}

fn millis(fields: &mut Fields, name: &str) -> Result<Option<Duration>, ApiError> {
    match fields.number(name)? {
        None => Ok(None),
        Some(ms) if (1..=MAX_MS).contains(&ms) => Ok(Some(Duration::from_millis(ms))),
        Some(_) => Err(fields.invalid(name, format!("must be 1 to {MAX_MS} milliseconds"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::TtySize;

    fn read(json: &str) -> Result<Asked, ApiError> {
        parse(Fields::parse(&Bytes::from(json.to_owned())).unwrap())
    }

    #[test]
    fn everything_that_can_be_asked() {
        let asked = read(
            r#"{"argv":["cat","-"],"cwd":"/","env":{"A":"b"},"user":"user:1","timeout_ms":5,"background":true,
                "tty":{"rows":2,"cols":3},"umask":"077","stdin":"aGk=","stdin_encoding":"base64","stdin_open":true,"idempotency_key":"k",
                "on_disconnect":"keep","lossless":true,"max_output_bytes":7,"kill_grace_ms":9,"other":[]}"#,
        )
        .unwrap();
        let request = asked.request;
        assert_eq!(request.program, Program::Argv(vec!["cat".into(), "-".into()]));
        assert_eq!(request.timeout, Some(Duration::from_millis(5)));
        assert_eq!(request.stdin.as_ref(), b"hi");
        assert_eq!(request.tty, Some(TtySize { rows: 2, cols: 3 }));
        assert_eq!(request.setup.umask, Some(0o77));
        assert_eq!(request.on_disconnect, Some(OnDisconnect::Keep));
        assert!(asked.background && request.stdin_open && request.lossless);
        assert_eq!(asked.output_cap, 7);
    }

    #[test]
    fn a_login_shell_has_arguments_or_none() {
        let program = |json| read(json).unwrap().request.program;
        assert_eq!(program(r#"{"login_shell":true}"#), Program::LoginShell(Vec::new()));
        let line = Program::LoginShell(vec!["-c".into(), "id".into()]);
        assert_eq!(program(r#"{"login_shell":true,"command":"id"}"#), line);
        assert_eq!(program(r#"{"login_shell":true,"argv":["-c","id"]}"#), line);
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let asked = read(r#"{"command":"true","timeout_ms":null}"#).unwrap();
        assert_eq!(asked.request.program, Program::Shell("true".to_owned()));
        assert_eq!(asked.request.timeout, None);
        assert!(!asked.background && !asked.request.stdin_open);
        assert_eq!(asked.output_cap, 16 << 20);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("{}", "command"),
            (r#"{"command":""}"#, "command"),
            (r#"{"command":["ls"]}"#, "command"),
            (r#"{"command":"a\u0000"}"#, "command"),
            (r#"{"command":"a","argv":["a"]}"#, "argv"),
            (r#"{"argv":[]}"#, "argv"),
            (r#"{"argv":[""]}"#, "argv"),
            (r#"{"argv":"ls"}"#, "argv"),
            (r#"{"command":"a","tty":"yes"}"#, "tty"),
            (r#"{"command":"a","login_shell":"yes"}"#, "login_shell"),
            (r#"{"command":"","login_shell":true}"#, "command"),
            (r#"{"command":"a","timeout_ms":0}"#, "timeout_ms"),
            (r#"{"command":"a","timeout_ms":-5}"#, "timeout_ms"),
            (r#"{"command":"a","timeout_ms":"5"}"#, "timeout_ms"),
            (r#"{"command":"a","env":["A=b"]}"#, "env"),
            (r#"{"command":"a","cwd":""}"#, "cwd"),
            (r#"{"command":"a","on_disconnect":"maybe"}"#, "on_disconnect"),
            (r#"{"command":"a","stdin":7}"#, "stdin"),
            (r#"{"command":"a","stdin":"x","stdin_encoding":"base64"}"#, "stdin"),
            (r#"{"command":"a","background":"yes"}"#, "background"),
            (r#"{"command":"a","max_output_bytes":99999999999}"#, "max_output_bytes"),
        ];
        for (json, field) in cases {
            assert_eq!(read(json).unwrap_err().field.as_deref(), Some(field), "{json}");
        }
        let long = format!(r#"{{"command":"a","stdin":"{}"}}"#, "x".repeat(MAX_STDIN + 1));
        assert_eq!(read(&long).unwrap_err().field.as_deref(), Some("stdin"));
    }
}
