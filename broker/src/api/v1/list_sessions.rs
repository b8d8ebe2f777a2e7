//! `GET /v1/sessions`: every session that is known, oldest first.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::session_view;
use crate::api::reply;
use crate::core::Broker;

pub(crate) async fn handle(State(broker): State<Broker>) -> Response {
    let sessions: Vec<Value> = broker.sessions().iter().map(session_view::view).collect();
    let total = sessions.len();
    reply::json(StatusCode::OK, &json!({"sessions": sessions, "total": total}))
}
