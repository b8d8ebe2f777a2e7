//! `GET /v1/images/{image}`: what an image consists of. The name is as a session
//! has it; its slashes need no escaping.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::image_view;
use crate::api::error::ApiError;
use crate::api::extract::Params;
use crate::api::reply;
use crate::core::Broker;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(image): Params<String>,
) -> Result<Response, ApiError> {
    let detail = broker.inspect_image(&image).await?;
    Ok(reply::json(StatusCode::OK, &image_view::detail(&detail)))
}
