//! `GET /v1/images`: every image at hand, and how full the store is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::image_view;
use crate::api::error::ApiError;
use crate::api::reply;
use crate::core::Broker;

pub(crate) async fn handle(State(broker): State<Broker>) -> Result<Response, ApiError> {
    let (images, store) = broker.images().await?;
    let images: Vec<Value> = images.iter().map(image_view::view).collect();
    let total = images.len();
    let body = json!({
        "images": images,
        "total": total,
        "store": {"bytes": store.bytes, "max_bytes": store.max_bytes},
    });
    Ok(reply::json(StatusCode::OK, &body))
}
