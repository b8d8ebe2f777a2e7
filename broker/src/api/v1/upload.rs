//! `POST /v1/sessions/{id}/upload`: a small file into a sandbox, as a multipart
//! form with the fields `path` and `file`.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde_json::json;

use super::file_body::{self, MAX_SMALL_FILE, USE_FILES};
use crate::api::error::ApiError;
use crate::api::extract::Params;
use crate::api::reply;
use crate::api::serve::BODY_IDLE_LIMIT;
use crate::core::{Broker, Code, FileInfo, Session, WriteFile};

/// Paths of Linux are at most this long.
const MAX_PATH: u64 = 4096;

/// Boundaries and headers of the parts.
const MAX_FRAMING: u64 = 64 << 10;

/// A form has two parts; a flood of tiny ones is no form.
const MAX_PARTS: usize = 16;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(id): Params<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let session = broker.session(&id)?;
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|_| {
        ApiError::invalid("content-type", "an upload must be multipart/form-data with a boundary")
    })?;
    let limit = SizeLimit::new()
        .whole_stream(MAX_SMALL_FILE + MAX_PATH + MAX_FRAMING)
        .for_field("path", MAX_PATH)
        .for_field("file", MAX_SMALL_FILE);
    let constraints = Constraints::new().size_limit(limit);
    let form = Multipart::with_constraints(body.into_data_stream(), boundary, constraints);
    let (path, size) = receive(&session, form).await?;
    Ok(reply::json(StatusCode::OK, &json!({"path": path, "size": size})))
}

/// The usual order is `path`, then `file`, which is then streamed; the other way
/// round the file is kept until its path comes.
async fn receive(session: &Session, mut form: Multipart<'_>) -> Result<(String, u64), ApiError> {
    let mut path: Option<String> = None;
    let mut early: Option<Bytes> = None;
    for _ in 0..MAX_PARTS {
        let Some(mut field) = timely(form.next_field()).await? else { break };
        match (field.name(), &path) {
            (Some("path"), _) => path = Some(timely(field.text()).await?),
            (Some("file"), Some(path)) => {
                let done = stream_in(session, path, field).await?;
                return Ok((path.clone(), done.size));
            }
            (Some("file"), None) => {
                let mut data = BytesMut::new();
                while let Some(piece) = timely(field.chunk()).await? {
                    data.extend_from_slice(&piece);
                }
                early = Some(data.freeze());
            }
            _ => {}
        }
        if let (Some(path), Some(data)) = (&path, early.take_if(|_| path.is_some())) {
            let mut writer = session.write_file(request(path, Some(data.len() as u64))?).await?;
            writer.write(data).await?;
            return Ok((path.clone(), writer.finish().await?.size));
        }
    }
    let missing = if path.is_none() { "path" } else { "file" };
    Err(ApiError::invalid(missing, format!("the form has no part named {missing}")))
}

async fn stream_in(
    session: &Session,
    path: &str,
    mut field: Field<'_>,
) -> Result<FileInfo, ApiError> {
    let mut writer = session.write_file(request(path, None)?).await?;
    while let Some(piece) = timely(field.chunk()).await? {
        writer.write(piece).await?;
    }
    Ok(writer.finish().await?)
}

fn request(path: &str, size: Option<u64>) -> Result<WriteFile, ApiError> {
    let path = file_body::path("path", path)?;
    Ok(WriteFile { path, make_parents: true, size, ..WriteFile::default() })
}

/// A step of reading the form, with the deadline that every wait has.
async fn timely<T>(step: impl Future<Output = multer::Result<T>>) -> Result<T, ApiError> {
    match tokio::time::timeout(BODY_IDLE_LIMIT, step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(multer::Error::FieldSizeExceeded { field_name, .. }))
            if field_name.as_deref() == Some("path") =>
        {
            Err(ApiError::invalid("path", format!("path is over {MAX_PATH} bytes")))
        }
        Ok(Err(
            multer::Error::FieldSizeExceeded { .. } | multer::Error::StreamSizeExceeded { .. },
        )) => Err(ApiError::too_large(format!(
            "the file is over {MAX_SMALL_FILE} bytes: {USE_FILES}"
        ))),
        Ok(Err(cause)) => {
            Err(ApiError::invalid("body", format!("the form cannot be read: {cause}")))
        }
        Err(_) => Err(ApiError::new(Code::DeadlineExceeded, "the form did not arrive in time")),
    }
}
