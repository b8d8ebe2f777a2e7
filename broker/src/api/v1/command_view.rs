//! A command as it is in JSON: Chaser's SessionCommandInfo and what we know
//! beyond it.

use serde_json::{Map, Value, json};

use crate::api::error::ApiError;
use crate::core::{CommandInfo, CommandState, Exit, ExitStatus, OnDisconnect, TtySize, Usage};
use crate::signal;

/// One command without its output.
pub(super) fn view(session_id: &str, info: &CommandInfo) -> Map<String, Value> {
    let mut view = Map::new();
    let mut put = |name: &str, value: Value| view.insert(name.to_owned(), value);
    put("command_id", json!(info.command_id));
    put("session_id", json!(session_id));
    put("status", json!(status(&info.state)));
    put("pid", json!(Some(info.pid).filter(|pid| *pid != 0)));
    put("command", json!(command_line(info)));
    put("argv", argv(info));
    put("cwd", json!(info.cwd));
    put("user", json!(info.user));
    put("started_at_epoch", json!(epoch(info.started_unix_ms)));
    put("finished_at_epoch", json!(epoch(info.finished_unix_ms)));
    put("duration_ms", json!(duration_ms(info)));
    put("output_bytes", json!(info.output_end));
    put("stdout_bytes", json!(info.stdout_end));
    put("stderr_bytes", json!(info.stderr_end));
    put("output_first", json!(info.output_first));
    put("held_open", json!(info.held_open));
    put("closed", json!(info.closed));
    put("stdin_open", json!(info.stdin_open));
    put("stdin_offset", json!(info.stdin_offset));
    put("idempotency_key", json!(Some(&info.idempotency_key).filter(|key| !key.is_empty())));
    put("on_disconnect", json!(on_disconnect(info.on_disconnect)));
    put("tty", tty(info.tty));
    put("usage", usage(info.usage));
    let exit = match &info.state {
        CommandState::Exited(exit) => Some(exit),
        _ => None,
    };
    view.extend(exit_view(exit));
    if let CommandState::Failed(error) = &info.state {
        let error = ApiError::from(crate::core::Error::from(error.clone()));
        view.insert("error".to_owned(), Value::Object(error.to_json()));
    }
    view
}

/// How a process ended; the same fields, null, while it has not.
pub(super) fn exit_view(exit: Option<&Exit>) -> Map<String, Value> {
    let signal = exit.and_then(|exit| match exit.status {
        ExitStatus::Signal(signal) => Some(u32::from(signal)),
        ExitStatus::Code(_) => None,
    });
    let mut view = Map::new();
    let mut put = |name: &str, value: Value| view.insert(name.to_owned(), value);
    put("exit_code", json!(exit.map(|exit| exit.status.shell_code())));
    put("signal", json!(signal));
    put("signal_name", json!(signal.map(signal::name)));
    put("core_dumped", json!(exit.is_some_and(|exit| exit.core_dumped)));
    put("timed_out", json!(exit.is_some_and(|exit| exit.timed_out)));
    put("oom_killed", json!(exit.is_some_and(|exit| exit.oom_killed)));
    view
}

/// A terminal's size; null without one.
pub(super) fn tty(size: Option<TtySize>) -> Value {
    size.map_or(Value::Null, |size| json!({"rows": size.rows, "cols": size.cols}))
}

/// What a tree has used; null where the guest's kernel does not count.
pub(super) fn usage(usage: Usage) -> Value {
    json!({
        "cpu_user_ms": usage.cpu_user_us.map(|us| us / 1000),
        "cpu_system_ms": usage.cpu_system_us.map(|us| us / 1000),
        "memory_peak_bytes": usage.memory_peak_bytes,
    })
}

/// How a command stands at its exit: the fields of an `exit` event.
pub(super) fn end_view(info: &CommandInfo, exit: &Exit) -> Map<String, Value> {
    let mut view = exit_view(Some(exit));
    view.insert("output_bytes".to_owned(), json!(info.output_end));
    view.insert("held_open".to_owned(), json!(info.held_open));
    view.insert("duration_ms".to_owned(), json!(info.duration_us / 1000));
    view.insert("usage".to_owned(), usage(info.usage));
    view
}

/// The words of Chaser's client: it waits while a command is starting or running.
pub(super) fn status(state: &CommandState) -> &'static str {
    match state {
        CommandState::Starting => "starting",
        CommandState::Running => "running",
        CommandState::Exited(_) => "exited",
        CommandState::Failed(_) => "failed",
    }
}

/// From start to exit.
pub(super) fn duration_ms(info: &CommandInfo) -> Option<u64> {
    info.state.is_final().then_some(info.duration_us / 1000)
}

/// What `sh -c` was given, else the argv as one would type it.
pub(super) fn command_line(info: &CommandInfo) -> String {
    let words: Vec<_> = info.argv.iter().map(|word| String::from_utf8_lossy(word)).collect();
    match words.as_slice() {
        [shell, flag, script] if flag == "-c" && (shell == "sh" || shell == "/bin/sh") => {
            script.to_string()
        }
        _ => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-+=./:,@%^".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn argv(info: &CommandInfo) -> Value {
    info.argv.iter().map(|word| Value::from(String::from_utf8_lossy(word))).collect()
}

fn epoch(unix_ms: u64) -> Option<u64> {
    Some(unix_ms / 1000).filter(|_| unix_ms != 0)
}

fn on_disconnect(policy: OnDisconnect) -> &'static str {
    match policy {
        OnDisconnect::Keep => "keep",
        OnDisconnect::Kill => "kill",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_wants_them() {
        assert_eq!(quoted("a-b/c=1"), "a-b/c=1");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("a b"), "'a b'");
    }

    #[test]
    fn an_exit_by_signal() {
        let exit = Exit {
            status: ExitStatus::Signal(9),
            core_dumped: false,
            timed_out: true,
            oom_killed: false,
        };
        let view = exit_view(Some(&exit));
        assert_eq!(view["exit_code"], 137);
        assert_eq!(view["signal"], 9);
        assert_eq!(view["signal_name"], "SIGKILL");
        assert_eq!(view["timed_out"], true);
        assert_eq!(exit_view(None)["exit_code"], Value::Null);
    }
}
