//! The public HTTP API: one folder per dialect over the same core.

mod error;
mod escape;
mod extract;
mod fields;
mod guard;
mod health;
mod reply;
mod request_id;
mod serve;
mod sse;
mod v1;

pub use crate::signal::{name as signal_name, parse as parse_signal};
pub use error::{ApiError, ErrorCode, Row, TABLE};
pub use serve::{Listener, serve};

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post};

use crate::core::{Broker, Code};

/// Who may use the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// No keys: only requests to loopback names that no web page of another
    /// origin sent. The listener must be bound to loopback, or be a private socket.
    #[default]
    Loopback,
    /// Every request is let in: an embedder's own layers have looked at it.
    Embedder,
}

impl Broker {
    /// The whole API, for a listener on loopback or a private socket; see
    /// [`Access::Loopback`].
    pub fn router(&self) -> Router {
        router(self.clone(), Access::Loopback)
    }
}

/// The whole API.
pub fn router(broker: Broker, access: Access) -> Router {
    let routes = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/v1/version", get(health::version))
        .route("/v1/sessions", post(v1::create_session::handle).get(v1::list_sessions::handle))
        .route("/v1/sessions/{id}", get(v1::get_session::handle).delete(v1::delete_session::handle))
        .route("/v1/sessions/{id}/resume", post(v1::resume::handle))
        .route("/v1/sessions/{id}/self-test", post(v1::self_test::handle))
        .route("/v1/sessions/{id}/exec", post(v1::exec::handle))
        .route("/v1/sessions/{id}/pty", get(v1::pty::handle))
        .route("/v1/sessions/{id}/resize", post(v1::resize_session::handle))
        .route("/v1/sessions/{id}/commands", get(v1::list_commands::handle))
        .route("/v1/sessions/{id}/commands/{cid}", get(v1::get_command::handle))
        .route("/v1/sessions/{id}/commands/{cid}/stream", get(v1::stream::handle))
        .route("/v1/sessions/{id}/commands/{cid}/output", get(v1::output::handle))
        .route(
            "/v1/sessions/{id}/commands/{cid}/stdin",
            post(v1::stdin::handle).put(v1::put_stdin::handle),
        )
        .route("/v1/sessions/{id}/commands/{cid}/wait", get(v1::wait::handle))
        .route("/v1/sessions/{id}/commands/{cid}/kill", post(v1::kill::handle))
        .route("/v1/sessions/{id}/commands/{cid}/resize", post(v1::resize::handle))
        .route("/v1/sessions/{id}/commands/{cid}/ack", post(v1::ack::handle))
        .route("/v1/sessions/{id}/upload", post(v1::upload::handle))
        .route("/v1/sessions/{id}/download", get(v1::download::handle))
        .route("/v1/sessions/{id}/files/", get(v1::get_file::handle).put(v1::put_file::handle))
        .route(
            "/v1/sessions/{id}/files/{*path}",
            get(v1::get_file::handle).put(v1::put_file::handle),
        )
        .route("/v1/images", post(v1::pull_image::handle).get(v1::list_images::handle))
        .route("/v1/images/prune", post(v1::prune_images::handle))
        .route("/v1/images/{*image}", get(v1::get_image::handle).delete(v1::delete_image::handle))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(broker);
    // The last layer is the first to see a request.
    let routes = match access {
        Access::Loopback => routes.layer(from_fn(guard::middleware)),
        Access::Embedder => routes,
    };
    routes.layer(from_fn(request_id::middleware))
}

async fn not_found() -> ApiError {
    ApiError::new(Code::NotFound, "the API has no such path")
}

async fn method_not_allowed() -> ApiError {
    ApiError::with_code(ErrorCode::MethodNotAllowed, "this path does not have this method")
}
