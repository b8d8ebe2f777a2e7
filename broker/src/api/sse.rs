//! Server-sent events of a command's output, written straight into a buffer: no
//! serializer and no string per event, since this is a road for bulk.
//!
//! Bytes that are UTF-8 travel as `text`, all others as `base64`, so that a
//! reader gets them exact either way. A character that is not whole yet is held
//! back until its rest comes; if the rest cannot come next (another stream
//! speaks, a gap, the end) what is held goes out as `base64`. Every event's `id`
//! is the offset after it, hence the offset to resume from.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut, Bytes, BytesMut};

use crate::api::escape::escape_into;
use crate::core::OutputStream;

/// What surrounds the payload of an output event, amply.
const EVENT_OVERHEAD: usize = 160;

/// Writes events; what was written is taken with [`Encoder::take`].
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    out: BytesMut,
    held: Option<Held>,
}

/// The beginning of a character whose rest has not come.
#[derive(Debug, Clone, Copy)]
struct Held {
    stream: OutputStream,
    offset: u64,
    bytes: [u8; 4],
    len: usize,
}

impl Held {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn end(&self) -> u64 {
        self.offset + self.len as u64
    }
}

impl Encoder {
    /// Output of one stream at its place in the command's log.
    pub(crate) fn output(&mut self, stream: OutputStream, offset: u64, data: &[u8]) {
        let mut rest = data;
        let mut at = offset;
        let mut joined = None;
        if let Some(mut held) = self.held.take() {
            if held.stream == stream && held.end() == offset {
                rest = complete(&mut held, data);
                at += (data.len() - rest.len()) as u64;
                if rest.is_empty() && is_beginning(held.bytes()) {
                    self.held = Some(held);
                    return;
                }
                match std::str::from_utf8(held.bytes()) {
                    Ok(_) => joined = Some(held),
                    Err(_) => self.base64_event(stream, held.offset, held.bytes()),
                }
            } else {
                self.base64_event(held.stream, held.offset, held.bytes());
            }
        }
        self.valid_or_not(stream, at, rest, joined);
    }

    /// `data` begins at `at`, right after the character in `joined`, if any.
    fn valid_or_not(&mut self, stream: OutputStream, at: u64, data: &[u8], joined: Option<Held>) {
        let start = joined.map_or(at, |held| held.offset);
        let prefix = joined.as_ref().map_or(&b""[..], Held::bytes);
        let prefix = std::str::from_utf8(prefix).unwrap_or_default();
        match std::str::from_utf8(data) {
            Ok(text) => self.text_event(stream, start, prefix, text),
            // Only the last character is not whole.
            Err(e) if e.error_len().is_none() => {
                let (valid, tail) = data.split_at(e.valid_up_to());
                let text = std::str::from_utf8(valid).unwrap_or_default();
                self.text_event(stream, start, prefix, text);
                self.hold(stream, at + valid.len() as u64, tail);
            }
            Err(_) => {
                self.text_event(stream, start, prefix, "");
                let lead = data.iter().take(3).take_while(|&&b| b & 0xc0 == 0x80).count();
                // The rest of a character whose beginning went before: that
                // alone need not make a long piece of text base64.
                let (lead, text) = data.split_at(lead);
                let rest_is_text = std::str::from_utf8(text).is_ok_and(|text| !text.is_empty());
                if !lead.is_empty() && rest_is_text {
                    self.base64_event(stream, at, lead);
                    self.valid_or_not(stream, at + lead.len() as u64, text, None);
                } else {
                    self.base64_event(stream, at, data);
                }
            }
        }
    }

    fn hold(&mut self, stream: OutputStream, offset: u64, tail: &[u8]) {
        let mut bytes = [0; 4];
        // An incomplete character has at most three bytes.
        bytes[..tail.len()].copy_from_slice(tail);
        self.held = Some(Held { stream, offset, bytes, len: tail.len() });
    }

    /// Whether the beginning of a character is held back.
    pub(crate) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Sends what is held back as it is.
    pub(crate) fn flush(&mut self) {
        if let Some(held) = self.held.take() {
            self.base64_event(held.stream, held.offset, held.bytes());
        }
    }

    /// `[from, to)` is gone.
    pub(crate) fn gap(&mut self, from: u64, to: u64) {
        self.flush();
        self.event("gap", Some(to), format_args!("{{\"from\":{from},\"to\":{to}}}"));
    }

    /// Any other event; `json` must be JSON on one line.
    pub(crate) fn event(&mut self, name: &str, id: Option<u64>, json: impl std::fmt::Display) {
        self.flush();
        if let Some(id) = id {
            self.put(format_args!("id: {id}\n"));
        }
        self.put(format_args!("event: {name}\ndata: {json}\n\n"));
    }

    /// A comment that says: still there.
    pub(crate) fn heartbeat(&mut self) {
        self.out.put_slice(b": heartbeat\n\n");
    }

    /// How much is written and not taken.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether there is nothing to take.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What was written. The buffer itself goes along: an idle stream keeps none.
    pub(crate) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.out).freeze()
    }

    fn text_event(&mut self, stream: OutputStream, offset: u64, prefix: &str, text: &str) {
        let len = prefix.len() + text.len();
        if len == 0 {
            return;
        }
        self.open(stream, offset, len);
        self.out.put_slice(b"\"text\":\"");
        escape_into(prefix, &mut self.out);
        escape_into(text, &mut self.out);
        self.out.put_slice(b"\"}\n\n");
    }

    fn base64_event(&mut self, stream: OutputStream, offset: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.open(stream, offset, data.len());
        self.out.put_slice(b"\"base64\":\"");
        let start = self.out.len();
        self.out.resize(start + data.len().div_ceil(3) * 4, 0);
        let written = BASE64.encode_slice(data, &mut self.out[start..]).unwrap_or(0);
        self.out.truncate(start + written);
        self.out.put_slice(b"\"}\n\n");
    }

    fn open(&mut self, stream: OutputStream, offset: u64, len: usize) {
        self.out.reserve(EVENT_OVERHEAD + len + len / 2);
        let name = stream_name(stream);
        let id = offset + len as u64;
        self.put(format_args!(
            "id: {id}\nevent: output\ndata: {{\"offset\":{offset},\"stream\":\"{name}\","
        ));
    }

    fn put(&mut self, args: std::fmt::Arguments<'_>) {
        // Writing into a BytesMut fails only when memory does.
        let _ = std::fmt::Write::write_fmt(&mut self.out, args);
    }
}

/// Moves continuation bytes from the front of `data` to `held` while its
/// character is a beginning; gives what is left of `data`.
fn complete<'a>(held: &mut Held, data: &'a [u8]) -> &'a [u8] {
    let mut rest = data;
    while is_beginning(held.bytes()) {
        match rest.split_first() {
            Some((&next, after)) if next & 0xc0 == 0x80 => {
                // A beginning has at most three bytes, so there is room.
                held.bytes[held.len] = next;
                held.len += 1;
                rest = after;
            }
            _ => break,
        }
    }
    rest
}

/// Whether more bytes could make this one whole character.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

/// A stream as it is in JSON.
pub(crate) fn stream_name(stream: OutputStream) -> &'static str {
    match stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
        OutputStream::Pty => "pty",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Event {
        id: Option<u64>,
        name: String,
        data: Value,
    }

    fn parse(bytes: &[u8]) -> Vec<Event> {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut events = Vec::new();
        for block in text.split_terminator("\n\n").filter(|block| !block.starts_with(':')) {
            let mut event = Event { id: None, name: String::new(), data: Value::Null };
            for line in block.lines() {
                match line.split_once(": ").unwrap() {
                    ("id", id) => event.id = Some(id.parse().unwrap()),
                    ("event", name) => event.name = name.to_owned(),
                    ("data", data) => event.data = serde_json::from_str(data).unwrap(),
                    other => panic!("a line {other:?}"),
                }
            }
            events.push(event);
        }
        events
    }

    /// The bytes of output events, which must follow one another without a hole.
    fn bytes_of(events: &[Event]) -> Vec<(String, Vec<u8>)> {
        let mut at = events.first().map_or(0, |e| e.data["offset"].as_u64().unwrap());
        let mut all = Vec::new();
        for event in events {
            assert_eq!(event.name, "output");
            assert_eq!(event.data["offset"], at);
            let bytes = match (&event.data["text"], &event.data["base64"]) {
                (Value::String(text), Value::Null) => text.clone().into_bytes(),
                (Value::Null, Value::String(text)) => BASE64.decode(text).unwrap(),
                other => panic!("{other:?}"),
            };
            assert!(!bytes.is_empty());
            at += bytes.len() as u64;
            assert_eq!(event.id, Some(at));
            all.push((event.data["stream"].as_str().unwrap().to_owned(), bytes));
        }
        all
    }

    fn encode(chunks: &[(OutputStream, Vec<u8>)]) -> Vec<Event> {
        let mut encoder = Encoder::default();
        let mut at = 0;
        for (stream, data) in chunks {
            encoder.output(*stream, at, data);
            at += data.len() as u64;
        }
        encoder.flush();
        parse(&encoder.take())
    }

    #[test]
    fn a_split_character_stays_whole() {
        let euro = "a€b".as_bytes();
        for cut in 0..=euro.len() {
            let chunks = [
                (OutputStream::Stdout, euro[..cut].to_vec()),
                (OutputStream::Stdout, euro[cut..].to_vec()),
            ];
            let events = encode(&chunks);
            assert!(events.iter().all(|e| e.data["base64"].is_null()), "cut at {cut}");
        }
    }

    #[test]
    fn a_character_that_another_stream_interrupts_goes_as_it_is() {
        let chunks = [
            (OutputStream::Stdout, vec![b'x', 0xe2, 0x82]),
            (OutputStream::Stderr, b"err".to_vec()),
            (OutputStream::Stdout, vec![0xac, b'y']),
        ];
        let events = encode(&chunks);
        let kinds: Vec<_> = events.iter().map(|e| e.data["text"].as_str()).collect();
        assert_eq!(kinds, [Some("x"), None, Some("err"), None, Some("y")]);
        bytes_of(&events);
    }

    #[test]
    fn what_is_held_does_not_wait_for_ever() {
        let mut encoder = Encoder::default();
        encoder.output(OutputStream::Stdout, 5, &[0xf0, 0x9f]);
        assert!(encoder.holds() && encoder.is_empty());
        encoder.gap(7, 9);
        let events = parse(&encoder.take());
        assert_eq!(events[0].data["base64"], BASE64.encode([0xf0, 0x9f]));
        assert_eq!((events[1].name.as_str(), events[1].id), ("gap", Some(9)));
        assert!(!encoder.holds());
    }

    #[test]
    fn heartbeats_are_comments() {
        let mut encoder = Encoder::default();
        encoder.heartbeat();
        assert!(parse(&encoder.take()).is_empty());
    }

    fn stream() -> impl Strategy<Value = OutputStream> {
        prop_oneof![Just(OutputStream::Stdout), Just(OutputStream::Stderr)]
    }

    /// Bytes in which characters, parts of characters and rubbish are all common.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "[a-z\n\"é€😀]{0,4}".prop_map(String::into_bytes),
            prop::sample::select(vec![
                0xe2_u8, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 0xff, 0xc3, 0xed, 0xa0
            ])
            .prop_map(|b| vec![b]),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_byte_arrives_in_order(chunks in prop::collection::vec((stream(), bytes()), 0..12)) {
            let got = bytes_of(&encode(&chunks));
            let flat = |list: Vec<(String, Vec<u8>)>| -> Vec<(String, u8)> {
                list.into_iter().flat_map(|(s, d)| d.into_iter().map(move |b| (s.clone(), b))).collect()
            };
            let sent = chunks.iter().map(|(s, d)| (stream_name(*s).to_owned(), d.clone())).collect();
            prop_assert_eq!(flat(got), flat(sent));
        }

        #[test]
        fn text_of_one_stream_is_text_however_it_is_cut(text in any::<String>(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let mut cuts: Vec<_> = cuts.iter().map(|c| c.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts
                .windows(2)
                .map(|pair| (OutputStream::Stdout, text.as_bytes()[pair[0]..pair[1]].to_vec()))
                .collect();
            let events = encode(&chunks);
            prop_assert!(events.iter().all(|e| e.data["base64"].is_null()));
            prop_assert_eq!(bytes_of(&events).concat_bytes(), text.into_bytes());
        }
    }

    trait ConcatBytes {
        fn concat_bytes(self) -> Vec<u8>;
    }

    impl ConcatBytes for Vec<(String, Vec<u8>)> {
        fn concat_bytes(self) -> Vec<u8> {
            self.into_iter().flat_map(|(_, bytes)| bytes).collect()
        }
    }
}
