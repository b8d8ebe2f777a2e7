//! What handlers take from a request: path parameters, the query, a JSON body.
//! Axum's own answer plain text when they fail; these answer an [`ApiError`].

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::api::serve::BODY_IDLE_LIMIT;
use crate::core::Code;

/// The largest JSON body. The largest real one is stdin as base64, of which one
/// call may carry some MiB; more belongs into `files/` or several calls.
pub(crate) const MAX_JSON_BODY: usize = 8 << 20;

/// Parameters of the path, percent-decoded.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Params<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(params)) => Ok(Self(params)),
            // Only bytes that are no UTF-8 get here; nothing has such a name.
            Err(_) => Err(ApiError::new(Code::NotFound, "the path is not UTF-8")),
        }
    }
}

/// A JSON object.
#[derive(Debug)]
pub(crate) struct Json(pub(crate) Fields);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = collect(&parts.headers, body, MAX_JSON_BODY).await?;
        Fields::parse(&bytes).map(Self)
    }
}

/// Reads a whole body, at most `cap` bytes of it; a body that stands still for
/// [`BODY_IDLE_LIMIT`] in all is given up, since a whole JSON body is one write.
async fn collect(headers: &HeaderMap, body: Body, cap: usize) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large(format!("the body is over {cap} bytes"));
    let claimed = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|length| length > cap as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_IDLE_LIMIT, Limited::new(body, cap).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(cause)) if cause.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::invalid("body", "the body broke off")),
        Err(_) => Err(ApiError::new(Code::DeadlineExceeded, "the body did not arrive in time")),
    }
}

/// The next piece of a body that is passed on as it comes; None at its end.
pub(crate) async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    loop {
        let frame = match tokio::time::timeout(BODY_IDLE_LIMIT, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(ApiError::invalid("body", "the body broke off")),
            Err(_) => {
                return Err(ApiError::new(Code::DeadlineExceeded, "the body stood still too long"));
            }
        };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// The query string; the last of several equal names counts.
#[derive(Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

impl Query {
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| ApiError::invalid("query", "the query is not UTF-8"))
        };
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self { pairs })
    }

    /// Text; an empty value is none.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.pairs.iter().rfind(|(key, _)| key == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number from 0.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.text(name).map(|text| parse_number(name, text)).transpose()
    }

    /// `true`, `1`, or the bare name; `false` or `0`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some((_, value)) = self.pairs.iter().rfind(|(key, _)| key == name) else {
            return Ok(None);
        };
        match value.as_str() {
            "" | "1" | "true" => Ok(Some(true)),
            "0" | "false" => Ok(Some(false)),
            _ => Err(ApiError::invalid(name, format!("{name} must be true or false"))),
        }
    }
}

/// A whole number from 0, of digits only: no sign, no space.
pub(crate) fn parse_number(name: &str, text: &str) -> Result<u64, ApiError> {
    let wrong = || ApiError::invalid(name, format!("{name} must be a whole number, 0 or more"));
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("path=%2Ftmp%2Fa+b&x&from=7&from=9&&e=").unwrap();
        assert_eq!(query.text("path"), Some("/tmp/a b"));
        assert_eq!(query.number("from").unwrap(), Some(9));
        assert_eq!(query.flag("x").unwrap(), Some(true));
        assert_eq!(query.text("e"), None);
        assert_eq!(query.number("absent").unwrap(), None);
        assert!(Query::parse("a=%ff").is_err());
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(parse_number("n", "18446744073709551615").unwrap(), u64::MAX);
        for bad in ["-1", "+1", "", " 1", "1e3", "0x1", "18446744073709551616", "NaN"] {
            assert_eq!(parse_number("n", bad).unwrap_err().field.as_deref(), Some("n"), "{bad}");
        }
    }

    #[test]
    fn flags() {
        let query = Query::parse("a=true&b=0&c=maybe").unwrap();
        assert_eq!(query.flag("a").unwrap(), Some(true));
        assert_eq!(query.flag("b").unwrap(), Some(false));
        assert!(query.flag("c").is_err());
        assert_eq!(query.flag("d").unwrap(), None);
    }
}
