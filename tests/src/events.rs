//! Server-sent events, as a reader of the standard sees them.

use std::io::{self, BufRead, BufReader};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::http::Response;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The `id:` line: the offset after this event.
    pub id: Option<u64>,
    /// The `event:` line.
    pub name: String,
    /// The `data:` line.
    pub data: Value,
}

impl Event {
    /// The bytes of an `output` event.
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.data["text"], &self.data["base64"]) {
            (Value::String(text), Value::Null) => text.clone().into_bytes(),
            (Value::Null, Value::String(text)) => STANDARD.decode(text).unwrap(),
            other => panic!("no output: {other:?}"),
        }
    }

    /// A number of its data.
    pub fn number(&self, field: &str) -> u64 {
        self.data[field].as_u64().unwrap_or_else(|| panic!("no {field} in {self:?}"))
    }
}

/// The events of one answer; comments are passed over.
#[derive(Debug)]
pub struct Events {
    body: BufReader<Response>,
}

impl Events {
    /// From an answer with status 200.
    pub fn new(response: Response) -> Self {
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.header("content-type"), Some("text/event-stream"));
        Self { body: BufReader::with_capacity(512 << 10, response) }
    }

    /// The next event; None at the proper end of the body.
    pub fn event(&mut self) -> io::Result<Option<Event>> {
        let mut event = Event { id: None, name: String::new(), data: Value::Null };
        loop {
            let mut line = String::new();
            if self.body.read_line(&mut line)? == 0 {
                return if event.name.is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "half an event"))
                };
            }
            match line.trim_end().split_once(": ") {
                None if line == "\n" && event.name.is_empty() => {}
                None if line == "\n" => return Ok(Some(event)),
                Some(("id", id)) => event.id = Some(id.parse().map_err(io::Error::other)?),
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => event.data = serde_json::from_str(data)?,
                Some(("", _comment)) => {}
                _ => return Err(io::Error::other(format!("no event stream: {line:?}"))),
            }
        }
    }

    /// Everything to the end.
    pub fn all(mut self) -> io::Result<Vec<Event>> {
        let mut all = Vec::new();
        while let Some(event) = self.event()? {
            all.push(event);
        }
        Ok(all)
    }
}

/// The output of events, which must follow one another from `from`.
pub fn contiguous(events: &[Event], from: u64) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events.iter().filter(|event| event.name == "output") {
        assert_eq!(event.number("offset"), from + all.len() as u64, "{event:?}");
        all.extend_from_slice(&event.bytes());
        assert_eq!(event.id, Some(from + all.len() as u64));
    }
    all
}
