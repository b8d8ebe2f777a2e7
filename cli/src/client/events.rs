//! Reading server-sent events.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde::Deserialize;

use crate::error::Error;

/// The broker sends a comment every 15 s: after three of them missed, the line
/// is dead.
const SILENCE: Duration = Duration::from_secs(45);

/// The longest line: an output event carries at most 256 KiB of payload, which
/// as escaped text is at most six times as long.
const MAX_LINE: usize = 4 << 20;

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
    pub(crate) data: Bytes,
}

impl Event {
    /// The event's data.
    pub(crate) fn parse<'a, T: Deserialize<'a>>(&'a self, doing: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.data)
            .map_err(|e| Error::Answer { doing: doing.to_owned(), what: e.to_string() })
    }
}

/// The events of an answer.
#[derive(Debug)]
pub(crate) struct Events {
    doing: String,
    body: Incoming,
    decoder: Decoder,
}

impl Events {
    pub(crate) fn new(doing: &str, response: Response<Incoming>) -> Self {
        let decoder = Decoder::default();
        Self { doing: doing.to_owned(), body: response.into_body(), decoder }
    }

    /// The next event; None at the orderly end of the answer.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.decoder.next() {
                return Ok(Some(event));
            }
            if self.decoder.buffer.len() > MAX_LINE {
                let what = format!("a line of more than {MAX_LINE} bytes");
                return Err(Error::Answer { doing: self.doing.clone(), what });
            }
            let frame = match tokio::time::timeout(SILENCE, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(e))) => {
                    return Err(Error::Http { doing: self.doing.clone(), source: e.into() });
                }
                Err(_) => {
                    let (doing, seconds) = (self.doing.clone(), SILENCE.as_secs());
                    return Err(Error::Late { doing, seconds });
                }
            };
            if let Ok(data) = frame.into_data() {
                self.decoder.buffer.extend_from_slice(&data);
            }
        }
    }
}

/// Turns bytes into events.
#[derive(Debug, Default)]
struct Decoder {
    buffer: BytesMut,
    /// Up to here the buffer holds no end of a line.
    searched: usize,
    event: Event,
}

impl Decoder {
    fn next(&mut self) -> Option<Event> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                // A block of comments only is no event.
                if !event.name.is_empty() {
                    return Some(event);
                }
                continue;
            }
            self.field(&line);
        }
        None
    }

    fn line(&mut self) -> Option<Bytes> {
        let Some(at) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + at).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Some(line)
    }

    fn field(&mut self, line: &Bytes) {
        let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let mut value = line.slice((colon + 1).min(line.len())..);
        if value.first() == Some(&b' ') {
            value.advance(1);
        }
        match &line[..colon] {
            b"id" => {
                self.event.id = std::str::from_utf8(&value).ok().and_then(|id| id.parse().ok());
            }
            b"event" => self.event.name = String::from_utf8_lossy(&value).into_owned(),
            b"data" => self.event.data = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] =
        b": heartbeat\n\nid: 5\nevent: output\ndata: {\"a\":1}\n\nevent: exit\ndata: {}\n\nid: 9\n";

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        for cut in 0..TEXT.len() {
            let mut decoder = Decoder::default();
            let mut events = Vec::new();
            for part in [&TEXT[..cut], &TEXT[cut..]] {
                decoder.buffer.extend_from_slice(part);
                events.extend(std::iter::from_fn(|| decoder.next()));
            }
            let output = Event {
                id: Some(5),
                name: "output".to_owned(),
                data: Bytes::from_static(b"{\"a\":1}"),
            };
            let exit = Event { id: None, name: "exit".to_owned(), data: Bytes::from_static(b"{}") };
            assert_eq!(events, [output, exit], "cut at {cut}");
        }
    }
}
