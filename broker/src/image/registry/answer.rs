//! Answers, each with an end: of bytes and of time.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, StatusCode};

use super::super::{ImageError, said};
use super::endpoint::Endpoint;

/// From asking for a document to its last byte. A blob has this much until its head.
pub(super) const DOCUMENT_DEADLINE: Duration = Duration::from_secs(120);

/// A body that gives nothing for so long is dead.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// The words that come with a refusal.
const MAX_REFUSAL: u64 = 16 << 10;

/// For the words of a refusal; the status says enough without them.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(5);

/// With a deadline over all of it.
pub(super) async fn within<T>(
    registry: &str,
    deadline: Duration,
    work: impl Future<Output = Result<T, ImageError>>,
) -> Result<T, ImageError> {
    match tokio::time::timeout(deadline, work).await {
        Ok(done) => done,
        Err(_) => Err(unreachable(registry, format!("no answer within {} s", deadline.as_secs()))),
    }
}

/// The whole body; over `cap` bytes it is a lie.
pub(super) async fn read_capped(
    registry: &str,
    mut response: Response,
    cap: u64,
) -> Result<Vec<u8>, ImageError> {
    let too_long = || ImageError::Lied {
        registry: registry.to_owned(),
        problem: format!("it gives more than {cap} bytes where no honest one does"),
    };
    if response.content_length().is_some_and(|length| length > cap) {
        return Err(too_long());
    }
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(piece) = next_piece(registry, &mut response).await? {
            if bytes.len() as u64 + piece.len() as u64 > cap {
                return Err(too_long());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    within(registry, DOCUMENT_DEADLINE, reading).await
}

/// The next piece of a body; None at its end.
pub(super) async fn next_piece(
    registry: &str,
    response: &mut Response,
) -> Result<Option<Bytes>, ImageError> {
    match tokio::time::timeout(IDLE_LIMIT, response.chunk()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(e)) => Err(ImageError::Unreachable {
            registry: registry.to_owned(),
            problem: "its answer broke off".to_owned(),
            source: Some(e.without_url().into()),
        }),
        Err(_) => Err(unreachable(registry, "its answer stands still".to_owned())),
    }
}

/// A success, or what the refusal means.
pub(super) async fn success(
    endpoint: &Endpoint,
    what: &str,
    response: Response,
) -> Result<Response, ImageError> {
    let status = response.status();
    if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        return Ok(response);
    }
    let (registry, what) = (endpoint.name.clone(), what.to_owned());
    let why = refusal(&registry, response).await;
    Err(match status {
        StatusCode::NOT_FOUND => ImageError::NotInRegistry { registry, what },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ImageError::Denied { registry, what, why }
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::RANGE_NOT_SATISFIABLE => unreachable(&registry, why),
        status if status.is_server_error() => unreachable(&registry, why),
        _ => ImageError::Lied { registry, problem: format!("{what}: {why}") },
    })
}

/// The status, and the words that came with it.
pub(super) async fn refusal(registry: &str, response: Response) -> String {
    let status = response.status();
    let reading = read_capped(registry, response, MAX_REFUSAL);
    let body = tokio::time::timeout(REFUSAL_DEADLINE, reading).await;
    let words = match body {
        Ok(Ok(bytes)) => words(&bytes),
        _ => String::new(),
    };
    if words.is_empty() { status.to_string() } else { format!("{status}: {words}") }
}

/// `{"errors":[{"message"}]}`, as the specification has it, or `{"details"}`, as
/// Docker Hub's tokens have it.
fn words(body: &[u8]) -> String {
    let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) else { return String::new() };
    let message = json["errors"][0]["message"].as_str().or_else(|| json["details"].as_str());
    said(message.unwrap_or_default())
}

fn unreachable(registry: &str, problem: String) -> ImageError {
    ImageError::Unreachable { registry: registry.to_owned(), problem, source: None }
}
