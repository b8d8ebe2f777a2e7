//! What can be asked of any broker at any time.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::api::reply;
use crate::core::PROTOCOL_GENERATION;

/// `GET /healthz`: the broker takes requests.
pub(crate) async fn healthz() -> Response {
    reply::json(StatusCode::OK, &json!({"status": "ok"}))
}

/// `GET /v1/version`.
pub(crate) async fn version() -> Response {
    let body = json!({
        "name": "postern",
        "version": env!("CARGO_PKG_VERSION"),
        "api": "v1",
        "protocol_generation": PROTOCOL_GENERATION,
    });
    reply::json(StatusCode::OK, &body)
}
