//! `PUT /v1/sessions/{id}/files/{path}`: a file of any size into a sandbox, as
//! the body. It is published whole at the end, or not at all.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde_json::json;

use super::get_file::target;
use crate::api::error::ApiError;
use crate::api::extract::{Query, next_piece};
use crate::api::reply;
use crate::core::{Broker, WriteFile};

/// Permissions and the three bits above them (chmod(2)).
const MAX_MODE: u32 = 0o7777;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    uri: Uri,
    query: Query,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, ApiError> {
    let (id, path) = target(&uri)?;
    let request = WriteFile {
        path: path.clone(),
        mode: query.text("mode").map(parse_mode).transpose()?,
        user: query.text("user").unwrap_or_default().to_owned(),
        make_parents: query.flag("parents")?.unwrap_or(true),
        size: headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()),
    };
    let session = broker.session(&id)?;
    let mut writer = session.write_file(request).await?;
    while let Some(piece) = next_piece(&mut body).await? {
        writer.write(piece).await?;
    }
    let info = writer.finish().await?;
    let body = json!({
        "path": String::from_utf8_lossy(&path),
        "size": info.size,
        "mode": format!("{:04o}", info.mode & MAX_MODE),
        "uid": info.uid,
        "gid": info.gid,
    });
    Ok(reply::json(StatusCode::OK, &body))
}

/// Octal, as chmod(1) takes it.
fn parse_mode(text: &str) -> Result<u32, ApiError> {
    let digits = !text.starts_with(['+', '-']);
    match u32::from_str_radix(text, 8) {
        Ok(mode) if digits && mode <= MAX_MODE => Ok(mode),
        _ => Err(ApiError::invalid("mode", "mode must be octal, 0 to 7777")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        assert_eq!(parse_mode("755").unwrap(), 0o755);
        assert_eq!(parse_mode("04755").unwrap(), 0o4755);
        for bad in ["8", "+7", "-1", "10000", "rwx"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }
}
