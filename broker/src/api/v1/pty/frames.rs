//! The messages of a terminal's socket.

use axum::extract::ws::{CloseFrame, Message, close_code};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::v1::{command_view, kill, resize};
use crate::core::{CommandInfo, Exit, OutputChunk, OutputStream, SignalScope, TtySize};

/// What a client asks beside its bytes for stdin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    Resize(TtySize),
    Signal(u32, SignalScope),
    Eof,
    Ack(u64),
}

impl Control {
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(&Bytes::copy_from_slice(text.as_bytes()))?;
        match fields.text("type")?.as_deref() {
            Some("resize") => resize::size(&mut fields).map(Self::Resize),
            Some("signal") if !fields.has("signal") => {
                Err(fields.invalid("signal", "is missing (a name such as INT, or a number)"))
            }
            Some("signal") => {
                kill::parse(fields).map(|(signal, scope)| Self::Signal(signal, scope))
            }
            Some("eof") => Ok(Self::Eof),
            Some("ack") => match fields.number("offset")? {
                Some(offset) => Ok(Self::Ack(offset)),
                None => Err(fields.invalid("offset", "is missing")),
            },
            Some(other) => {
                let known = "resize, signal, eof and ack";
                Err(fields.invalid("type", format!("{other:?} is not known; there are {known}")))
            }
            None => Err(fields.invalid("type", "is missing")),
        }
    }
}

/// The first message.
pub(super) fn ready(command: &CommandInfo, offset: u64, stdin_offset: u64) -> Message {
    text(json!({
        "type": "ready",
        "command_id": command.command_id,
        "pid": command.pid,
        "tty": command.tty.is_some(),
        "rows": command.tty.map(|size| size.rows),
        "cols": command.tty.map(|size| size.cols),
        "offset": offset,
        "output_bytes": command.output_end,
        "stdin_offset": stdin_offset,
    }))
}

/// Output; of a command without a terminal its stream goes before it.
pub(super) fn output(chunk: OutputChunk) -> Message {
    let stream = match chunk.stream {
        OutputStream::Pty => return Message::Binary(chunk.data),
        OutputStream::Stdout => 1,
        OutputStream::Stderr => 2,
    };
    let mut tagged = BytesMut::with_capacity(1 + chunk.data.len());
    tagged.put_u8(stream);
    tagged.put_slice(&chunk.data);
    Message::Binary(tagged.freeze())
}

/// `[from, to)` of the output is gone.
pub(super) fn gap(from: u64, to: u64) -> Message {
    text(json!({"type": "gap", "from": from, "to": to}))
}

/// How far stdin was taken.
pub(super) fn stdin(offset: u64) -> Message {
    text(json!({"type": "stdin", "offset": offset}))
}

/// The end of the command.
pub(super) fn exit(command: &CommandInfo, exit: &Exit) -> Message {
    typed("exit", command_view::end_view(command, exit))
}

pub(super) fn error(error: &ApiError) -> Message {
    typed("error", error.to_json())
}

/// The last message.
pub(super) fn close(code: u16, reason: &str) -> Message {
    // A close frame has room for 123 bytes of reason.
    let reason: String = reason.chars().take(30).collect();
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

pub(super) const NORMAL: u16 = close_code::NORMAL;
pub(super) const POLICY: u16 = close_code::POLICY;
pub(super) const ERROR: u16 = close_code::ERROR;

fn typed(kind: &str, mut fields: Map<String, Value>) -> Message {
    fields.insert("type".to_owned(), kind.into());
    text(Value::Object(fields))
}

#[allow(clippy::needless_pass_by_value, reason = "made for it")]
fn text(value: Value) -> Message {
    Message::Text(value.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_may_ask() {
        let size = TtySize { rows: 3, cols: 4 };
        let cases = [
            (r#"{"type":"resize","rows":3,"cols":4}"#, Control::Resize(size)),
            (
                r#"{"type":"signal","signal":"INT","scope":"group"}"#,
                Control::Signal(2, SignalScope::Group),
            ),
            (r#"{"type":"signal","signal":9}"#, Control::Signal(9, SignalScope::Tree)),
            (r#"{"type":"eof"}"#, Control::Eof),
            (r#"{"type":"ack","offset":7,"more":1}"#, Control::Ack(7)),
        ];
        for (json, control) in cases {
            assert_eq!(Control::parse(json).unwrap(), control, "{json}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, field) in [
            ("", "type"),
            ("x", "body"),
            ("[]", "body"),
            (r#"{"type":"dance"}"#, "type"),
            (r#"{"type":5}"#, "type"),
            (r#"{"type":"resize","rows":3}"#, "cols"),
            (r#"{"type":"resize","rows":0,"cols":1}"#, "rows"),
            (r#"{"type":"signal"}"#, "signal"),
            (r#"{"type":"signal","signal":"NO"}"#, "signal"),
            (r#"{"type":"ack"}"#, "offset"),
        ] {
            assert_eq!(Control::parse(json).unwrap_err().field.as_deref(), Some(field), "{json}");
        }
    }

    #[test]
    fn output_without_a_terminal_is_tagged() {
        let chunk = |stream| OutputChunk {
            stream,
            offset: 0,
            stream_offset: 0,
            data: Bytes::from_static(b"ab"),
        };
        assert_eq!(output(chunk(OutputStream::Stdout)), Message::Binary("\x01ab".into()));
        assert_eq!(output(chunk(OutputStream::Stderr)), Message::Binary("\x02ab".into()));
        assert_eq!(output(chunk(OutputStream::Pty)), Message::Binary("ab".into()));
    }
}
