//! `GET /v1/sessions/{id}/commands/{cid}`: one command, with what its log holds.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::{command_view, output_view};
use crate::api::error::ApiError;
use crate::api::extract::{Params, Query};
use crate::api::reply;
use crate::core::{Broker, Code, CommandInfo, OutputRange, Session};

/// The most output in one answer; as much as the window of a log keeps by
/// default. What is more is read from `output` or `stream`.
const MAX_OUTPUT: usize = 1 << 20;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params((id, command_id)): Params<(String, String)>,
    query: Query,
) -> Result<Response, ApiError> {
    let session = broker.session(&id)?;
    let info = session.command(&command_id).await?;
    let mut view = command_view::view(session.id(), &info);
    if query.flag("output")?.unwrap_or(true) {
        let (bytes, truncated) = output(&session, &info).await?;
        output_view::put(&mut view, "output", bytes);
        view.insert("output_truncated".to_owned(), truncated.into());
    }
    Ok(reply::json(StatusCode::OK, &Value::Object(view)))
}

/// What the log holds at this moment, and whether that is not all of it.
async fn output(session: &Session, info: &CommandInfo) -> Result<(Vec<u8>, bool), ApiError> {
    let mut from = info.output_first;
    let mut bytes = Vec::new();
    while from < info.output_end && bytes.len() < MAX_OUTPUT {
        let range = OutputRange { from, only: None, max_bytes: None };
        let read = match session.read_output(&info.command_id, range).await {
            Ok(read) => read,
            // Dropped since; what is left begins there.
            Err(error) if error.code == Code::OutOfRange => match error.first_available {
                Some(first) if first > from => {
                    bytes.clear();
                    from = first;
                    continue;
                }
                _ => break,
            },
            Err(error) => return Err(error.into()),
        };
        for chunk in &read.chunks {
            bytes.extend_from_slice(&chunk.data);
        }
        if read.next <= from {
            break;
        }
        from = read.next;
    }
    bytes.truncate(MAX_OUTPUT);
    let whole = bytes.len() as u64 >= info.output_end;
    Ok((bytes, !whole))
}
