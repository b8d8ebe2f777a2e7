//! `PUT /v1/sessions/{id}/commands/{cid}/stdin?from=N&eof=true`: stdin as the
//! body, of any length and as fast as the process reads.
//!
//! A body that breaks off leaves stdin open; `stdin_offset` of the command tells
//! how far it came, and a repeated body with the same `from` skips that part.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::api::error::ApiError;
use crate::api::extract::{Params, Query, next_piece};
use crate::api::reply;
use crate::core::Broker;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params((id, command_id)): Params<(String, String)>,
    query: Query,
    mut body: Body,
) -> Result<Response, ApiError> {
    let from = query.number("from")?;
    let eof = query.flag("eof")?.unwrap_or(false);
    let mut feed = broker.session(&id)?.feed_stdin(&command_id, from).await?;
    let mut accepted = 0;
    while let Some(piece) = next_piece(&mut body).await? {
        let len = piece.len() as u64;
        feed.write(piece).await?;
        accepted += len;
    }
    let state = feed.finish(eof).await?;
    let body = json!({"accepted": accepted, "offset": state.offset, "eof": state.eof});
    Ok(reply::json(StatusCode::OK, &body))
}
