//! `POST /v1/images/prune` {`all`?, `max_bytes`?}: deletes what no image needs;
//! with `all` every image that is not in use; with `max_bytes` those that were not
//! used for the longest time, until the rest is within it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::api::error::ApiError;
use crate::api::extract::Json;
use crate::api::reply;
use crate::core::Broker;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Json(mut fields): Json,
) -> Result<Response, ApiError> {
    let all = fields.flag("all")?.unwrap_or(false);
    let max_bytes = fields.number("max_bytes")?;
    let pruned = broker.prune_images(all, max_bytes).await?;
    let body = json!({"removed": pruned.images, "freed_bytes": pruned.bytes});
    Ok(reply::json(StatusCode::OK, &body))
}
