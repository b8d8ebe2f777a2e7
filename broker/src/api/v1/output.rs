//! `GET /v1/sessions/{id}/commands/{cid}/output`: a command's output as it is,
//! from any offset. For people, pipes and speed: no copy, no framing of ours.
//!
//! A gap in mid-stream or a link that breaks aborts the body, so that what came
//! is never taken for all there is.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use crate::api::error::ApiError;
use crate::api::extract::{Params, Query};
use crate::core::{
    Broker, Code, CommandInfo, CommandState, FollowItem, FollowOptions, Follower, OutputStream,
};

/// The offset of the body's first byte: `from`, or what is left if that is gone.
const OFFSET: HeaderName = HeaderName::from_static("x-postern-offset");

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params((id, command_id)): Params<(String, String)>,
    query: Query,
) -> Result<Response, ApiError> {
    let options = parse(&query)?;
    let session = broker.session(&id)?;
    let mut follower = session.follow(&command_id, options).await?;
    let (first, end) = range(follower.opened(), options.only);
    if options.from > end {
        let message = format!("from {} is beyond the end of the output, {end}", options.from);
        return Err(ApiError {
            field: Some("from".into()),
            ..ApiError::new(Code::OutOfRange, message)
        });
    }
    // What is gone already is told by the header, not by an abort. The gap
    // itself says where output goes on, since more may be dropped by now.
    let mut ahead = None;
    let mut offset = options.from;
    if options.from < first {
        match follower.next().await? {
            Some(FollowItem::Gap { to, .. }) => offset = to,
            other => ahead = other,
        }
    }
    let piece = Pieces { follower, ahead, done: false };
    let body = stream::unfold(piece, |mut pieces| async move {
        let piece = pieces.next().await?;
        Some((piece, pieces))
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(OFFSET, HeaderValue::from(offset));
    Ok(response)
}

/// With `follow` the body goes on to the exit, or with `until=closed` to the end
/// of the log; else it is what is there now.
fn parse(query: &Query) -> Result<FollowOptions, ApiError> {
    let only = match query.text("stream") {
        None | Some("all") => None,
        Some("stdout") => Some(OutputStream::Stdout),
        Some("stderr") => Some(OutputStream::Stderr),
        Some("pty") => Some(OutputStream::Pty),
        Some(_) => return Err(ApiError::invalid("stream", "stream must be stdout, stderr or all")),
    };
    let until_exit = match query.text("until") {
        None | Some("exit") => true,
        Some("closed") => false,
        Some(_) => return Err(ApiError::invalid("until", "until must be exit or closed")),
    };
    Ok(FollowOptions {
        from: query.number("from")?.unwrap_or(0),
        only,
        lossless: query.flag("lossless")?.unwrap_or(false),
        until_exit,
        no_wait: !query.flag("follow")?.unwrap_or(false),
    })
}

/// The first offset that is left and the end, as the asked stream counts them.
fn range(info: &CommandInfo, only: Option<OutputStream>) -> (u64, u64) {
    match only {
        None => (info.output_first, info.output_end),
        Some(OutputStream::Stderr) => (info.output_first_stderr, info.stderr_end),
        Some(OutputStream::Stdout | OutputStream::Pty) => {
            (info.output_first_stdout, info.stdout_end)
        }
    }
}

/// A follower turned into a body.
struct Pieces {
    follower: Follower,
    /// An item that was read before the answer began.
    ahead: Option<FollowItem>,
    done: bool,
}

impl Pieces {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        while !self.done {
            let item = match self.ahead.take() {
                Some(item) => Ok(Some(item)),
                None => self.follower.next().await,
            };
            match item {
                Ok(Some(FollowItem::Data(chunk))) if chunk.data.is_empty() => {}
                Ok(Some(FollowItem::Data(chunk))) => return Some(Ok(chunk.data)),
                Ok(Some(FollowItem::Gap { from, to })) => {
                    return self.abort(format!("output from {from} to {to} is gone"));
                }
                Ok(Some(FollowItem::Exited(_))) => {}
                Ok(Some(FollowItem::Closed(info))) => {
                    self.done = true;
                    tracing::trace!(
                        command = info.command_id,
                        finished = finished(&info),
                        "output sent"
                    );
                }
                Ok(None) => self.done = true,
                Err(error) => return self.abort(error.private()),
            }
        }
        None
    }

    /// An error in the body makes hyper cut the connection without the last chunk.
    fn abort(&mut self, why: String) -> Option<io::Result<Bytes>> {
        self.done = true;
        tracing::debug!(why, "a body of output is cut off");
        Some(Err(io::Error::other(why)))
    }
}

fn finished(info: &CommandInfo) -> bool {
    matches!(info.state, CommandState::Exited(_) | CommandState::Failed(_))
}
