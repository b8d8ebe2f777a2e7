//! `GET /v1/sessions/{id}/commands/{cid}/wait`: the command at its exit, or as
//! it stands when the time is over. A long poll for clients without streams.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::command_view;
use crate::api::error::ApiError;
use crate::api::extract::{Params, Query};
use crate::api::reply;
use crate::core::Broker;

/// Below the patience of common clients and proxies, which begins at 60 s.
const DEFAULT_WAIT_MS: u64 = 30_000;

/// Longer waits are made of several: a connection that says nothing for longer
/// is cut by whatever lies between.
const MAX_WAIT_MS: u64 = 600_000;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params((id, command_id)): Params<(String, String)>,
    query: Query,
) -> Result<Response, ApiError> {
    let (time, until_closed) = parse(&query)?;
    let session = broker.session(&id)?;
    let info = if until_closed {
        session.wait_closed(&command_id, Some(time)).await?
    } else {
        session.wait(&command_id, Some(time)).await?
    };
    let view = command_view::view(session.id(), &info);
    Ok(reply::json(StatusCode::OK, &Value::Object(view)))
}

/// How long, and whether for a final log instead of the exit.
fn parse(query: &Query) -> Result<(Duration, bool), ApiError> {
    let ms = query.number("timeout_ms")?.unwrap_or(DEFAULT_WAIT_MS);
    if ms > MAX_WAIT_MS {
        let message = format!("timeout_ms must be 0 to {MAX_WAIT_MS}");
        return Err(ApiError::invalid("timeout_ms", message));
    }
    let until_closed = match query.text("until") {
        None | Some("exit") => false,
        Some("closed") => true,
        Some(_) => return Err(ApiError::invalid("until", "until must be exit or closed")),
    };
    Ok((Duration::from_millis(ms), until_closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<(Duration, bool), ApiError> {
        parse(&Query::parse(query).unwrap())
    }

    #[test]
    fn times_and_ends() {
        assert_eq!(read("").unwrap(), (Duration::from_secs(30), false));
        assert_eq!(read("timeout_ms=0&until=closed").unwrap(), (Duration::ZERO, true));
        for (query, field) in [
            ("timeout_ms=600001", "timeout_ms"),
            ("timeout_ms=-1", "timeout_ms"),
            ("timeout_ms=1s", "timeout_ms"),
            ("until=end", "until"),
        ] {
            assert_eq!(read(query).unwrap_err().field.as_deref(), Some(field), "{query}");
        }
    }
}
