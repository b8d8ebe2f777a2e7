//! `GET /v1/sessions/{id}`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::session_view;
use crate::api::error::ApiError;
use crate::api::extract::Params;
use crate::api::reply;
use crate::core::Broker;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(id): Params<String>,
) -> Result<Response, ApiError> {
    let session = broker.session(&id)?;
    Ok(reply::json(StatusCode::OK, &session_view::detail(&session.info())))
}
