//! The text frames of the terminal's WebSocket.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::types::Failure;
use crate::terminal::Size;

/// What the broker says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Said {
    Ready(Ready),
    Gap {
        from: u64,
        to: u64,
    },
    Stdin {
        offset: u64,
    },
    Exit(Exit),
    Error(Failure),
    /// A newer broker says more.
    #[serde(other)]
    Other,
}

/// The first word.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Ready {
    pub(super) tty: bool,
    pub(super) offset: u64,
    /// How much there was when we came.
    #[serde(default)]
    pub(super) output_bytes: u64,
    #[serde(default)]
    pub(super) stdin_offset: u64,
}

/// The last.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Exit {
    pub(super) exit_code: i32,
    #[serde(default)]
    pub(super) timed_out: bool,
    #[serde(default)]
    pub(super) oom_killed: bool,
}

pub(super) fn resize(size: Size) -> Value {
    json!({"type": "resize", "rows": size.rows, "cols": size.cols})
}

pub(super) fn end_of_stdin() -> Value {
    json!({"type": "eof"})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn frames_of_the_contract() {
        let Said::Ready(ready) = said(
            r#"{"type":"ready","command_id":"cmd_1","pid":4,"tty":true,"offset":9,"output_bytes":30,"stdin_offset":2}"#,
        ) else {
            panic!("not ready")
        };
        assert_eq!((ready.tty, ready.offset, ready.stdin_offset), (true, 9, 2));
        assert_eq!(ready.output_bytes, 30);
        let Said::Exit(exit) = said(
            r#"{"type":"exit","exit_code":137,"signal":9,"signal_name":"KILL","timed_out":true,"usage":{}}"#,
        ) else {
            panic!("no exit")
        };
        assert_eq!((exit.exit_code, exit.timed_out, exit.oom_killed), (137, true, false));
        assert!(matches!(said(r#"{"type":"gap","from":1,"to":2}"#), Said::Gap { from: 1, to: 2 }));
        assert!(matches!(said(r#"{"type":"stdin","offset":5}"#), Said::Stdin { offset: 5 }));
        let Said::Error(failure) = said(r#"{"type":"error","code":"internal","message":"m"}"#)
        else {
            panic!("no error")
        };
        assert_eq!(failure.code, "internal");
        assert!(matches!(said(r#"{"type":"news","a":1}"#), Said::Other));
        assert!(serde_json::from_str::<Said>(r#"{"type":"exit"}"#).is_err());
    }
}
