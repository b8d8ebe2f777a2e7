//! `POST /v1/sessions/{id}/resize`: Chaser's resize, which names no command. It
//! means the terminal that was opened last and still runs.

use axum::extract::State;
use axum::response::Response;

use super::resize;
use crate::api::error::ApiError;
use crate::api::extract::{Json, Params};
use crate::core::Broker;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(id): Params<String>,
    Json(mut fields): Json,
) -> Result<Response, ApiError> {
    let size = resize::size(&mut fields)?;
    let session = broker.session(&id)?;
    let command_id = session.newest_terminal().await?.command_id;
    session.resize(&command_id, size).await?;
    Ok(resize::answer(&command_id, size))
}
