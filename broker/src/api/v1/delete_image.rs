//! `DELETE /v1/images/{image}`: forget an image of the store. Answers the bytes
//! that became free; what other images need stays.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::api::error::ApiError;
use crate::api::extract::Params;
use crate::api::reply;
use crate::core::Broker;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(image): Params<String>,
) -> Result<Response, ApiError> {
    let freed = broker.remove_image(&image).await?;
    Ok(reply::json(StatusCode::OK, &json!({"freed_bytes": freed})))
}
