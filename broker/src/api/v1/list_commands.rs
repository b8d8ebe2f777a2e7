//! `GET /v1/sessions/{id}/commands`: every command that is known, in the order
//! of their start.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::command_view;
use crate::api::error::ApiError;
use crate::api::extract::Params;
use crate::api::reply;
use crate::core::Broker;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(id): Params<String>,
) -> Result<Response, ApiError> {
    let session = broker.session(&id)?;
    let commands = session.commands().await?;
    let views: Vec<_> =
        commands.iter().map(|info| Value::Object(command_view::view(session.id(), info))).collect();
    Ok(reply::json(StatusCode::OK, &json!({"commands": views})))
}
