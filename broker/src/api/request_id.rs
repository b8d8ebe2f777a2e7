//! Every answer carries an `x-request-id`: the caller's own if it sent a sane
//! one, else one made here. Errors repeat it in their body.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

/// The header, both ways.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A longer id of a caller is replaced: ids are copied into logs and answers,
/// and the longest common form (a UUID with a prefix) is far below this.
const MAX_CALLERS_ID: usize = 128;

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request that this task works for; empty outside of one.
pub(crate) fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Gives the request its id, and the answer the same.
pub(crate) async fn middleware(request: Request, next: Next) -> Response {
    let id = callers(request.headers()).map_or_else(make, str::to_owned);
    let value = HeaderValue::from_str(&id);
    let mut response = CURRENT.scope(id, next.run(request)).await;
    if let Ok(value) = value {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

fn callers(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(HEADER)?.to_str().ok()?;
    let sane =
        !id.is_empty() && id.len() <= MAX_CALLERS_ID && id.bytes().all(|b| b.is_ascii_graphic());
    sane.then_some(id)
}

/// Unique across brokers (a random half) and within this one (a counter).
fn make() -> String {
    static RANDOM: OnceLock<u32> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The standard library's hash seed is the one source of randomness that
    // needs no crate; ids are labels, not secrets.
    #[allow(clippy::cast_possible_truncation, reason = "half of the hash is enough for a label")]
    let random = RANDOM.get_or_init(|| RandomState::new().hash_one(std::process::id()) as u32);
    format!("req_{random:08x}{:08x}", COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        headers
    }

    #[test]
    fn a_sane_id_of_the_caller_is_kept() {
        assert_eq!(callers(&with("abc-123")), Some("abc-123"));
        assert_eq!(callers(&HeaderMap::new()), None);
        assert_eq!(callers(&with("")), None);
        assert_eq!(callers(&with("two words")), None);
        assert_eq!(callers(&with(&"x".repeat(MAX_CALLERS_ID + 1))), None);
    }

    #[test]
    fn made_ids_differ() {
        assert_ne!(make(), make());
    }

    #[tokio::test]
    async fn outside_of_a_request_there_is_none() {
        assert_eq!(current(), "");
    }
}
