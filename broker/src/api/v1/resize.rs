//! `POST /v1/sessions/{id}/commands/{cid}/resize`: the size of a command's terminal.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::process_setup::cells;
use crate::api::error::ApiError;
use crate::api::extract::{Json, Params};
use crate::api::fields::Fields;
use crate::api::reply;
use crate::core::{Broker, TtySize};

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params((id, command_id)): Params<(String, String)>,
    Json(mut fields): Json,
) -> Result<Response, ApiError> {
    let size = size(&mut fields)?;
    broker.session(&id)?.resize(&command_id, size).await?;
    Ok(answer(&command_id, size))
}

/// Both sides must be given: a size of which a half is guessed is none.
pub(super) fn size(fields: &mut Fields) -> Result<TtySize, ApiError> {
    match (cells(fields, "rows")?, cells(fields, "cols")?) {
        (Some(rows), Some(cols)) => Ok(TtySize { rows, cols }),
        (None, _) => Err(fields.invalid("rows", "is missing")),
        (_, None) => Err(fields.invalid("cols", "is missing")),
    }
}

pub(super) fn answer(command_id: &str, size: TtySize) -> Response {
    let body = json!({"command_id": command_id, "rows": size.rows, "cols": size.cols});
    reply::json(StatusCode::OK, &body)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read(json: &'static str) -> Result<TtySize, ApiError> {
        size(&mut Fields::parse(&Bytes::from_static(json.as_bytes())).unwrap())
    }

    #[test]
    fn a_size_has_two_sides() {
        assert_eq!(read(r#"{"rows":1,"cols":65535}"#).unwrap(), TtySize { rows: 1, cols: 65535 });
        for (json, field) in [
            ("{}", "rows"),
            (r#"{"rows":5}"#, "cols"),
            (r#"{"rows":0,"cols":5}"#, "rows"),
            (r#"{"rows":5,"cols":70000}"#, "cols"),
            (r#"{"rows":"5","cols":5}"#, "rows"),
        ] {
            assert_eq!(read(json).unwrap_err().field.as_deref(), Some(field), "{json}");
        }
    }
}
