//! A file of a sandbox as a body, and the names of files in requests.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use crate::api::error::ApiError;
use crate::core::FileReader;

/// Chaser's contract: 16 MB for one upload or download.
pub(super) const MAX_SMALL_FILE: u64 = 16 << 20;

/// Where files without that limit go.
pub(super) const USE_FILES: &str =
    "use PUT or GET /v1/sessions/{id}/files/{path}, which have no limit";

/// A path in the sandbox from text.
pub(super) fn path(field: &str, text: &str) -> Result<Bytes, ApiError> {
    checked(field, Bytes::copy_from_slice(text.as_bytes()))
}

/// A path must be absolute: there is no working directory to start from.
pub(super) fn checked(field: &str, path: Bytes) -> Result<Bytes, ApiError> {
    if path.contains(&0) {
        return Err(ApiError::invalid(field, format!("{field} must not hold a NUL byte")));
    }
    if path.first() != Some(&b'/') {
        return Err(ApiError::invalid(field, format!("{field} must be absolute (begin with /)")));
    }
    Ok(path)
}

/// Reads `reader` to its end, and no more than `max` bytes. An error aborts the
/// body: what came is not the whole file.
pub(super) fn body(reader: FileReader, max: u64) -> Body {
    Body::from_stream(stream::unfold(Some((reader, max)), |state| async move {
        let (mut reader, left) = state?;
        match reader.next().await {
            Ok(Some(data)) => match left.checked_sub(data.len() as u64) {
                Some(left) => Some((Ok(data), Some((reader, left)))),
                None => Some((Err(io::Error::other("the file is over the limit")), None)),
            },
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(why = error.private(), "a download is cut off");
                Some((Err(io::Error::other(error.private())), None))
            }
        }
    }))
}
