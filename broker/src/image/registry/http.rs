//! One GET, with redirects followed by hand.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE};
use reqwest::{Client, Response, Url};

use super::super::ImageError;
use super::auth::Authorization;
use super::endpoint::Endpoint;
use super::endpoint::url_host::is_own;

/// Registries send blobs to a store of objects by one redirect, some by two.
const MAX_REDIRECTS: usize = 5;

/// From a request to the head of its answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) url: &'a Url,
    pub(super) accept: Option<&'a str>,
    /// The first byte that is wanted.
    pub(super) from: u64,
    pub(super) login: Option<&'a Authorization>,
}

/// The answer that is no redirect.
pub(super) async fn get(
    http: &Client,
    endpoint: &Endpoint,
    request: &Request<'_>,
) -> Result<Response, ImageError> {
    let mut url = request.url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let mut built = http.get(url.clone());
        if let Some(accept) = request.accept {
            built = built.header(ACCEPT, accept);
        }
        if request.from > 0 {
            built = built.header(RANGE, format!("bytes={}-", request.from));
        }
        // Whoever is sent to must not learn what lets us in here.
        if let Some(login) = request.login.filter(|_| url.origin() == request.url.origin()) {
            built = built.header(AUTHORIZATION, login.header());
        }
        let response = send(endpoint, built).await?;
        if !response.status().is_redirection() {
            return Ok(response);
        }
        url = next(endpoint, &url, &response)?;
    }
    Err(lied(endpoint, format!("it redirects more than {MAX_REDIRECTS} times")))
}

/// Sends a request to the registry, or to who gives its tokens.
pub(super) async fn send(
    endpoint: &Endpoint,
    request: reqwest::RequestBuilder,
) -> Result<Response, ImageError> {
    let unreachable = |problem: &str, source| ImageError::Unreachable {
        registry: endpoint.name.clone(),
        problem: problem.to_owned(),
        source,
    };
    match tokio::time::timeout(ANSWER_DEADLINE, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        // The URL may hold a signature that lets in whoever has it.
        Ok(Err(e)) => {
            let problem = if e.is_connect() { "it cannot be reached" } else { "no answer" };
            Err(unreachable(problem, Some(e.without_url().into())))
        }
        Err(_) => Err(unreachable("no answer in time", None)),
    }
}

fn next(endpoint: &Endpoint, from: &Url, response: &Response) -> Result<Url, ImageError> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let to = location.and_then(|location| from.join(location).ok());
    let Some(to) = to else {
        return Err(lied(endpoint, "it redirects to nowhere".to_owned()));
    };
    check(endpoint, from, &to).map_err(|why| lied(endpoint, why.to_owned()))?;
    Ok(to)
}

/// Whether an answer from `from` may lead to `to`.
pub(super) fn check(endpoint: &Endpoint, from: &Url, to: &Url) -> Result<(), &'static str> {
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("it leads from https to http"),
        _ => return Err("it leads to what is no http"),
    }
    if is_own(to) && !endpoint.is_own() {
        return Err("it leads back to this host");
    }
    Ok(())
}

fn lied(endpoint: &Endpoint, problem: String) -> ImageError {
    ImageError::Lied { registry: endpoint.name.clone(), problem }
}

#[cfg(test)]
mod tests {
    use super::super::endpoint::of;
    use super::*;

    #[test]
    fn where_a_redirect_may_lead() {
        let (far, own) = (&of("a.example", &[])[0], &of("127.0.0.1:5000", &[])[0]);
        let may = |endpoint, from: &str, to: &str| {
            check(endpoint, &Url::parse(from).unwrap(), &Url::parse(to).unwrap()).is_ok()
        };
        assert!(may(far, "https://a.example/x", "https://b.example/y"));
        assert!(!may(far, "https://a.example/x", "http://a.example/x"));
        assert!(!may(far, "https://a.example/x", "file:///etc/passwd"));
        assert!(!may(far, "https://a.example/x", "https://127.0.0.1/x"));
        assert!(!may(far, "https://a.example/x", "https://[::1]/x"));
        assert!(may(own, "http://127.0.0.1:5000/x", "http://127.0.0.1:6000/x"));
    }
}
