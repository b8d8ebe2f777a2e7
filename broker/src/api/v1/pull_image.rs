//! `POST /v1/images` {`image`, `pull_policy`: always (default)|missing|never}: an
//! image into the store. With `Accept: text/event-stream` the answer tells how far
//! each layer is. A client that goes away ends the pull; what has arrived is kept.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::create_session::{name, pull_policy};
use super::{image_view, progress};
use crate::api::error::ApiError;
use crate::api::extract::Json;
use crate::api::reply;
use crate::core::{Broker, PullPolicy};

pub(crate) async fn handle(
    State(broker): State<Broker>,
    headers: HeaderMap,
    Json(mut fields): Json,
) -> Result<Response, ApiError> {
    let Some(image) = name(&mut fields, "image")? else {
        return Err(fields.invalid("image", "is missing"));
    };
    // Whoever asks for a pull wants what the registry has now.
    let policy = pull_policy(&mut fields, "pull_policy")?.unwrap_or(PullPolicy::Always);
    if progress::is_wanted(&headers) {
        return Ok(progress::answer("image", |sender| async move {
            let info = broker.pull_image(&image, policy, Some(sender)).await?;
            Ok(image_view::view(&info))
        }));
    }
    let info = broker.pull_image(&image, policy, None).await?;
    Ok(reply::json(StatusCode::OK, &image_view::view(&info)))
}
