//! `GET /v1/sessions/{id}/download?path=`: a small file out of a sandbox.

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::file_body::{self, MAX_SMALL_FILE, USE_FILES};
use crate::api::error::ApiError;
use crate::api::extract::{Params, Query};
use crate::core::{Broker, ReadFile};

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(id): Params<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let Some(path) = query.text("path") else {
        return Err(ApiError::invalid("path", "path is missing"));
    };
    let request = ReadFile {
        path: file_body::path("path", path)?,
        user: query.text("user").unwrap_or_default().to_owned(),
        ..ReadFile::default()
    };
    let session = broker.session(&id)?;
    let reader = session.read_file(request).await?;
    let length = reader.info().length;
    if length > MAX_SMALL_FILE {
        let message = format!("{path} has {length} bytes, more than {MAX_SMALL_FILE}: {USE_FILES}");
        return Err(ApiError::too_large(message));
    }
    let mut response = file_body::body(reader, MAX_SMALL_FILE).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if length > 0 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}
