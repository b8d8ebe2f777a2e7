//! A terminal's WebSocket, as a client that sees every message.

use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Bytes, Message, WebSocket};

use crate::session::{Answer, Session};
use crate::wait;

/// What comes from the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Got {
    /// Output, with its stream's tag where there is no terminal.
    Bytes(Bytes),
    /// A message of the protocol.
    Json(Value),
    /// The server closed in order, with this code.
    Closed(u16),
}

/// An open socket.
#[derive(Debug)]
pub struct Socket {
    socket: WebSocket<TcpStream>,
    /// The first message.
    pub ready: Value,
    /// Output so far, of both streams, without tags.
    pub output: Vec<u8>,
    /// Messages so far, without `ready`.
    pub messages: Vec<Value>,
}

impl Session {
    /// Opens the terminal's socket; `query` such as `?mode=agent`.
    pub fn pty(&self, query: &str) -> Socket {
        let http = &self.broker().http;
        let url = format!("ws://{}/v1/sessions/{}/pty{query}", http.authority(), self.id);
        let request = url.into_client_request().unwrap();
        let stream = http.connect().unwrap();
        let config = WebSocketConfig::default();
        let opened = tungstenite::client::client_with_config(request, stream, Some(config));
        let (socket, _) = opened.unwrap_or_else(|e| panic!("no socket for {query}: {e}"));
        let (output, messages) = (Vec::new(), Vec::new());
        let mut socket = Socket { socket, ready: Value::Null, output, messages };
        match socket.read() {
            Got::Json(ready) if ready["type"] == "ready" => socket.ready = ready,
            other => panic!("no ready: {other:?}"),
        }
        socket
    }

    /// Asks for the socket and gets an HTTP answer instead.
    pub fn pty_refused(&self, query: &str, more: &[(&str, &str)]) -> Answer {
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let headers = [&headers[..], more].concat();
        Answer::of(self.send("GET", &format!("/pty{query}"), &headers, b""))
    }
}

impl Socket {
    /// The id of its command.
    pub fn command_id(&self) -> &str {
        self.ready["command_id"].as_str().unwrap()
    }

    /// The offset after the output so far.
    pub fn offset(&self) -> u64 {
        self.ready["offset"].as_u64().unwrap() + self.output.len() as u64
    }

    /// The next message.
    pub fn read(&mut self) -> Got {
        self.try_read().unwrap()
    }

    /// The next message, or how the connection broke.
    pub fn try_read(&mut self) -> tungstenite::Result<Got> {
        loop {
            match self.socket.read()? {
                Message::Binary(bytes) => {
                    let tagged = usize::from(self.ready["tty"] == false);
                    self.output.extend_from_slice(&bytes[tagged..]);
                    return Ok(Got::Bytes(bytes));
                }
                Message::Text(text) => {
                    let json: Value = serde_json::from_str(&text).unwrap();
                    self.messages.push(json.clone());
                    return Ok(Got::Json(json));
                }
                Message::Close(frame) => {
                    return Ok(Got::Closed(frame.map_or(1005, |frame| frame.code.into())));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Bytes for stdin.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Likewise, where the connection may be gone.
    pub fn try_send(&mut self, bytes: &[u8]) -> tungstenite::Result<()> {
        self.socket.send(Message::Binary(Bytes::copy_from_slice(bytes)))
    }

    /// A message of the protocol.
    pub fn control(&mut self, message: &Value) {
        self.text(&message.to_string());
    }

    /// Any text.
    pub fn text(&mut self, text: &str) {
        self.socket.send(Message::Text(text.into())).unwrap();
    }

    /// A new size of the terminal.
    pub fn resize(&mut self, rows: u16, cols: u16) {
        self.control(&json!({"type": "resize", "rows": rows, "cols": cols}));
    }

    /// Reads until the output since `from` (an index into `output`) holds `text`.
    pub fn until(&mut self, from: usize, text: &str) {
        let begun = std::time::Instant::now();
        while !String::from_utf8_lossy(&self.output[from..]).contains(text) {
            assert!(begun.elapsed() < wait::seconds(60), "no {text:?} in {}", self.seen());
            if let Got::Closed(code) = self.read() {
                panic!("closed with {code} before {text:?}: {}", self.seen());
            }
        }
    }

    /// Types a line into a shell, and gives what came up to `text`.
    pub fn line(&mut self, line: &str, text: &str) -> String {
        let from = self.output.len();
        self.send(format!("{line}\n").as_bytes());
        self.until(from, text);
        String::from_utf8_lossy(&self.output[from..]).into_owned()
    }

    /// The next message of a type.
    pub fn message(&mut self, kind: &str) -> Value {
        loop {
            match self.read() {
                Got::Json(json) if json["type"] == kind => return json,
                Got::Closed(code) => panic!("closed with {code}, no {kind}: {}", self.seen()),
                _ => {}
            }
        }
    }

    /// Reads to the close; gives the last message before it and the code.
    pub fn end(&mut self) -> (Value, u16) {
        loop {
            if let Got::Closed(code) = self.read() {
                return (self.messages.last().cloned().unwrap_or_default(), code);
            }
        }
    }

    /// Closes in order.
    pub fn close(mut self) {
        self.socket.close(None).unwrap();
        // The server's answer, after what was on its way.
        while self.socket.read().is_ok() {}
    }

    /// Ends the connection without a word.
    pub fn cut(self) {
        let _ = self.socket.get_ref().shutdown(std::net::Shutdown::Both);
    }

    fn seen(&self) -> String {
        format!("{:?} {:?}", String::from_utf8_lossy(&self.output), self.messages)
    }
}
