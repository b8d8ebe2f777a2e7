//! `POST /v1/sessions/{id}/commands/{cid}/ack`: everything before an offset has
//! arrived; nothing from it on may be dropped any more.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::api::error::ApiError;
use crate::api::extract::{Json, Params};
use crate::api::reply;
use crate::core::Broker;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params((id, command_id)): Params<(String, String)>,
    Json(mut fields): Json,
) -> Result<Response, ApiError> {
    let Some(offset) = fields.number("offset")? else {
        return Err(fields.invalid("offset", "is missing"));
    };
    broker.session(&id)?.ack(&command_id, offset).await?;
    Ok(reply::json(StatusCode::OK, &json!({"command_id": command_id, "offset": offset})))
}
