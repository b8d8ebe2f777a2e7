//! `GET /v1/sessions/{id}/files/{path}`: a file of any size out of a sandbox, or
//! a range of it.

use axum::extract::State;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::file_body;
use crate::api::error::ApiError;
use crate::api::extract::Query;
use crate::core::{Broker, Code, FileReader, ReadFile, Session};

/// The permission bits of the file, octal, for clients that copy them.
const MODE: HeaderName = HeaderName::from_static("x-postern-mode");

pub(crate) async fn handle(
    State(broker): State<Broker>,
    uri: Uri,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (id, path) = target(&uri)?;
    let user = query.text("user").unwrap_or_default().to_owned();
    let whole = ReadFile { path, user, ..ReadFile::default() };
    let session = broker.session(&id)?;
    let asked = headers.get(RANGE).and_then(|range| parse_range(range.to_str().ok()?));
    match asked {
        None => {
            let reader = session.read_file(whole).await?;
            Ok(answer(StatusCode::OK, reader, None))
        }
        Some(asked) => part(&session, whole, asked).await,
    }
}

/// The session's id and the path of the file, from the raw path of the URL: a
/// name in a sandbox need not be UTF-8.
pub(super) fn target(uri: &Uri) -> Result<(String, Bytes), ApiError> {
    let missing = || ApiError::new(Code::NotFound, "the API has no such path");
    let rest = uri.path().strip_prefix("/v1/sessions/").ok_or_else(missing)?;
    let (id, path) = rest.split_once("/files").ok_or_else(missing)?;
    let id = percent_decode_str(id).decode_utf8().map_err(|_| missing())?;
    let path: Bytes = percent_decode_str(path).collect::<Vec<u8>>().into();
    Ok((id.into_owned(), file_body::checked("path", path)?))
}

/// One range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// From an offset, to an offset that is included or to the end.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Last(u64),
}

/// What is no single valid range is ignored, as RFC 9110 (14.2) wants it.
fn parse_range(text: &str) -> Option<Asked> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
    };
    match (first, last) {
        ("", last) => Some(Asked::Last(number(last)?)),
        (first, "") => Some(Asked::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::From(first, Some(last)))
        }
    }
}

async fn part(session: &Session, whole: ReadFile, asked: Asked) -> Result<Response, ApiError> {
    let (offset, length) = match asked {
        Asked::From(first, None) => (first, None),
        Asked::From(first, Some(last)) => (first, Some((last - first).saturating_add(1))),
        Asked::Last(count) => {
            // Only the file itself tells where its last bytes begin.
            let probe = ReadFile { length: Some(0), ..whole.clone() };
            let size = session.read_file(probe).await?.info().size;
            (size.saturating_sub(count), Some(count))
        }
    };
    let reader = session.read_file(ReadFile { offset, length, ..whole }).await?;
    let size = reader.info().size;
    if offset >= size {
        let message = format!("the file has {size} bytes");
        let mut response = ApiError::new(Code::OutOfRange, message).into_response();
        if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
            response.headers_mut().insert(CONTENT_RANGE, value);
        }
        return Ok(response);
    }
    let carried = length.map_or(size - offset, |length| length.min(size - offset));
    let range = format!("bytes {offset}-{}/{size}", offset + carried.max(1) - 1);
    Ok(answer(StatusCode::PARTIAL_CONTENT, reader, Some(range)))
}

fn answer(status: StatusCode, reader: FileReader, range: Option<String>) -> Response {
    let info = *reader.info();
    let mut response = (status, file_body::body(reader, u64::MAX)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // 0 is also what a file of procfs claims, whose bytes come all the same.
    if info.length > 0 {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(info.length));
    }
    if let Ok(mode) = HeaderValue::try_from(format!("{:04o}", info.mode & 0o7777)) {
        headers.insert(MODE, mode);
    }
    if let Some(range) = range.and_then(|range| HeaderValue::try_from(range).ok()) {
        headers.insert(CONTENT_RANGE, range);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-9"), Some(Asked::From(0, Some(9))));
        assert_eq!(parse_range("bytes=5-"), Some(Asked::From(5, None)));
        assert_eq!(parse_range("bytes=-3"), Some(Asked::Last(3)));
        for ignored in
            ["bytes=9-0", "bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,3-4", "bytes=+1-2", ""]
        {
            assert_eq!(parse_range(ignored), None, "{ignored}");
        }
    }

    #[test]
    fn names_of_any_bytes() {
        let (id, path) =
            target(&Uri::from_static("/v1/sessions/s_1/files/tmp/a%20b%ff/files/x")).unwrap();
        assert_eq!((id.as_str(), path.as_ref()), ("s_1", &b"/tmp/a b\xff/files/x"[..]));
        assert!(target(&Uri::from_static("/v1/sessions/s/files/a%00b")).is_err());
        assert!(target(&Uri::from_static("/v1/sessions/s/filesx")).is_err());
    }
}
