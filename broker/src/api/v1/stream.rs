//! `GET /v1/sessions/{id}/commands/{cid}/stream`: a command's output and exit as
//! server-sent events, from any offset.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::stream;
use serde_json::Value;
use tokio::time::Instant;

use super::command_view;
use crate::api::error::ApiError;
use crate::api::extract::{Params, Query, parse_number};
use crate::api::sse::Encoder;
use crate::core::{
    Broker, Code, CommandInfo, CommandState, FollowItem, FollowOptions, Follower, OutputChunk,
    OutputStream,
};

/// What a browser's EventSource sends when it comes back.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A silent line gets a comment this often, so that proxies do not cut it and
/// both sides notice a dead one.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The beginning of a character waits this long for its rest. A program that
/// writes half of one and then falls silent must not hide it.
const CHARACTER_PATIENCE: Duration = Duration::from_millis(500);

/// Events go out together up to this size: large enough that a flood of small
/// chunks costs few writes, small enough to be no matter of memory.
const BATCH: usize = 256 << 10;

/// Longer batching would look like a dead stream.
const MAX_INTERVAL_MS: u64 = 60_000;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    from: u64,
    lossless: bool,
    interval: Option<Duration>,
    /// The most payload in one output event (the rest of a character aside).
    max_event: usize,
}

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params((id, command_id)): Params<(String, String)>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = parse(&query, &headers)?;
    let session = broker.session(&id)?;
    let options = FollowOptions {
        from: asked.from,
        lossless: asked.lossless,
        until_exit: true,
        ..FollowOptions::default()
    };
    let follower = session.follow(&command_id, options).await?;
    let end = follower.opened().output_end;
    if asked.from > end {
        let message = format!("from {} is beyond the end of the output, {end}", asked.from);
        return Err(ApiError {
            field: Some("from".into()),
            ..ApiError::new(Code::OutOfRange, message)
        });
    }
    let events = Events::new(follower, asked);
    let body = stream::unfold(events, |mut events| async move {
        let piece = events.next().await?;
        Some((Ok::<_, Infallible>(piece), events))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        // nginx holds answers back otherwise.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

fn parse(query: &Query, headers: &HeaderMap) -> Result<Asked, ApiError> {
    let from = match headers.get(LAST_EVENT_ID) {
        Some(id) => parse_number("Last-Event-ID", id.to_str().unwrap_or_default())?,
        None => query.number("from")?.unwrap_or(0),
    };
    let interval_ms = query.number("interval_ms")?.unwrap_or(0);
    if interval_ms > MAX_INTERVAL_MS {
        let message = format!("interval_ms must be 0 to {MAX_INTERVAL_MS}");
        return Err(ApiError::invalid("interval_ms", message));
    }
    let max_event = match query.number("max_bytes")? {
        None => BATCH,
        Some(0) => return Err(ApiError::invalid("max_bytes", "max_bytes must be 1 or more")),
        Some(max) => usize::try_from(max).unwrap_or(BATCH).min(BATCH),
    };
    Ok(Asked {
        from,
        lossless: query.flag("lossless")?.unwrap_or(false),
        interval: Some(Duration::from_millis(interval_ms)).filter(|interval| !interval.is_zero()),
        max_event,
    })
}

/// A follower turned into events.
struct Events {
    follower: Follower,
    asked: Asked,
    encoder: Encoder,
    /// With an interval: output of one stream that is becoming one event.
    joining: Option<Joining>,
    exited: bool,
    done: bool,
}

/// Adjacent output of one stream.
struct Joining {
    stream: OutputStream,
    offset: u64,
    data: BytesMut,
}

impl Events {
    fn new(follower: Follower, asked: Asked) -> Self {
        let encoder = Encoder::default();
        Self { follower, asked, encoder, joining: None, exited: false, done: false }
    }

    /// The next piece of the body; None at its end.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.done && self.encoder.is_empty() {
            self.wait().await;
            match self.asked.interval {
                Some(interval) => self.gather(interval).await,
                None => self.take_what_is_there(),
            }
        }
        Some(self.encoder.take()).filter(|piece| !piece.is_empty())
    }

    /// Waits for one item, or for the time at which silence needs a word.
    async fn wait(&mut self) {
        let patience = if self.encoder.holds() { CHARACTER_PATIENCE } else { HEARTBEAT };
        match tokio::time::timeout(patience, self.follower.next()).await {
            Ok(item) => self.encode(item),
            Err(_) if self.encoder.holds() => self.encoder.flush(),
            Err(_) => self.encoder.heartbeat(),
        }
    }

    /// What is ready goes into the same piece.
    fn take_what_is_there(&mut self) {
        while !self.done && self.encoder.len() < BATCH {
            match self.follower.next().now_or_never() {
                Some(item) => self.encode(item),
                None => break,
            }
        }
    }

    /// Everything of one interval goes into the same piece.
    async fn gather(&mut self, interval: Duration) {
        let until = Instant::now() + interval;
        while !self.done && self.encoder.len() < BATCH {
            match tokio::time::timeout_at(until, self.follower.next()).await {
                Ok(item) => self.encode(item),
                Err(_) => break,
            }
        }
        self.emit_joined();
    }

    fn encode(&mut self, item: crate::core::Result<Option<FollowItem>>) {
        match item {
            Ok(Some(FollowItem::Data(chunk))) => self.data(&chunk),
            Ok(Some(FollowItem::Gap { from, to })) => {
                self.emit_joined();
                self.encoder.gap(from, to);
            }
            Ok(Some(FollowItem::Exited(info))) => self.end(&info),
            Ok(Some(FollowItem::Closed(info))) => {
                self.end(&info);
                self.done = true;
            }
            Ok(None) => {
                self.emit_joined();
                self.encoder.flush();
                self.done = true;
            }
            Err(error) => {
                self.emit_joined();
                let error = ApiError::from(error);
                self.encoder.event("error", None, Value::Object(error.to_json()));
                self.done = true;
            }
        }
    }

    fn data(&mut self, chunk: &OutputChunk) {
        if self.asked.interval.is_some() {
            return self.join(chunk);
        }
        let mut at = chunk.offset;
        for piece in chunk.data.chunks(self.asked.max_event) {
            self.encoder.output(chunk.stream, at, piece);
            at += piece.len() as u64;
        }
    }

    fn join(&mut self, chunk: &OutputChunk) {
        let mut at = chunk.offset;
        let mut rest = &chunk.data[..];
        while !rest.is_empty() {
            let fits = self.joining.as_ref().is_some_and(|joining| {
                joining.stream == chunk.stream && joining.data.len() < self.asked.max_event
            });
            if !fits {
                self.emit_joined();
            }
            let joining = self.joining.get_or_insert_with(|| Joining {
                stream: chunk.stream,
                offset: at,
                data: BytesMut::new(),
            });
            let room = self.asked.max_event - joining.data.len();
            let (piece, after) = rest.split_at(room.min(rest.len()));
            joining.data.extend_from_slice(piece);
            at += piece.len() as u64;
            rest = after;
        }
    }

    fn emit_joined(&mut self) {
        if let Some(joining) = self.joining.take() {
            self.encoder.output(joining.stream, joining.offset, &joining.data);
        }
    }

    /// The one event that ends a command for its readers.
    fn end(&mut self, info: &CommandInfo) {
        self.emit_joined();
        if std::mem::replace(&mut self.exited, true) {
            return;
        }
        self.encoder.flush();
        let id = Some(self.follower.next_offset());
        match &info.state {
            CommandState::Exited(exit) => {
                let view = command_view::end_view(info, exit);
                self.encoder.event("exit", id, Value::Object(view));
            }
            CommandState::Failed(error) => {
                let error = ApiError::from(crate::core::Error::from(error.clone()));
                self.encoder.event("error", id, Value::Object(error.to_json()));
            }
            // The agent ended the stream of a command that still runs: that is
            // no exit, and must not look like one.
            CommandState::Starting | CommandState::Running => {
                let error = ApiError::new(Code::Unavailable, "the stream ended before the command");
                self.encoder.event("error", id, Value::Object(error.to_json()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    async fn read(uri: &str, last: Option<&'static str>) -> Result<Asked, ApiError> {
        use axum::extract::FromRequestParts;
        let (mut parts, ()) = axum::http::Request::get(uri).body(()).unwrap().into_parts();
        let query = Query::from_request_parts(&mut parts, &()).await?;
        let mut headers = HeaderMap::new();
        if let Some(last) = last {
            headers.insert(LAST_EVENT_ID, HeaderValue::from_static(last));
        }
        parse(&query, &headers)
    }

    #[tokio::test]
    async fn last_event_id_wins() {
        assert_eq!(read("/?from=5", None).await.unwrap().from, 5);
        assert_eq!(read("/?from=5", Some("9")).await.unwrap().from, 9);
        assert_eq!(read("/", None).await.unwrap().from, 0);
    }

    #[tokio::test]
    async fn offsets_that_are_none() {
        for from in ["-1", "abc", "1.5", "99999999999999999999"] {
            let error = read(&format!("/?from={from}"), None).await.unwrap_err();
            assert_eq!(error.field.as_deref(), Some("from"), "{from}");
        }
        assert!(read("/", Some("-1")).await.is_err());
        assert!(read("/", Some("")).await.is_err());
        assert!(read("/?max_bytes=0", None).await.is_err());
        assert!(read("/?interval_ms=60001", None).await.is_err());
        assert_eq!(read("/?max_bytes=18446744073709551615", None).await.unwrap().max_event, BATCH);
    }
}
