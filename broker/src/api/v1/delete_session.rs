//! `DELETE /v1/sessions/{id}[?force=true]`: end a sandbox. The end goes on when
//! the client does not wait for it.

use axum::extract::State;
use axum::http::StatusCode;

use crate::api::error::ApiError;
use crate::api::extract::{Params, Query};
use crate::core::{Broker, Code};

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(id): Params<String>,
    query: Query,
) -> Result<StatusCode, ApiError> {
    let force = query.flag("force")?.unwrap_or(false);
    // A task of its own, so that a client who hangs up does not stop it half-way.
    let ended = tokio::spawn(async move { broker.delete_session(&id, force).await }).await;
    match ended {
        Ok(result) => result.map(|()| StatusCode::NO_CONTENT).map_err(ApiError::from),
        Err(_) => Err(ApiError::new(Code::Internal, "ending the session failed")),
    }
}
