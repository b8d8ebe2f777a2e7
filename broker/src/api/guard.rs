//! Keeps web pages away from a broker that asks for no key.
//!
//! Without keys, whoever can open a connection may run commands. On loopback
//! that is the people of this machine, and also any web page that they visit:
//! by a request to 127.0.0.1 (which carries a foreign `Origin`) or by DNS
//! rebinding (which carries a foreign `Host`). Both are refused before anything
//! else looks at the request, WebSocket upgrades included.

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::error::ApiError;
use crate::core::Code;

/// Refuses requests that a web page could have sent.
pub(crate) async fn middleware(request: Request, next: Next) -> Response {
    match check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => return Err(refused("exactly one Host header is needed")),
    };
    if !is_loopback(host) {
        return Err(refused("the Host header does not name this machine's loopback"));
    }
    // In absolute form (as to a proxy) the target itself names a host.
    if uri.authority().is_some_and(|target| !is_loopback(target.as_str())) {
        return Err(refused("the request's target does not name this machine's loopback"));
    }
    for origin in headers.get_all(ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://"))
            .is_some_and(|authority| authority.eq_ignore_ascii_case(host));
        if !own {
            return Err(refused("requests from web pages of another origin are not allowed"));
        }
    }
    Ok(())
}

fn refused(why: &str) -> ApiError {
    ApiError::new(Code::PermissionDenied, format!("{why}; this broker runs without API keys"))
}

/// `localhost`, `127.0.0.1` or `[::1]`, with any port or none.
fn is_loopback(authority: &str) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn ask(uri: &'static str, pairs: &[(HeaderName, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        check(&Uri::from_static(uri), &headers).is_ok()
    }

    #[test]
    fn programs_of_this_machine_pass() {
        for host in
            ["localhost", "LOCALHOST:7070", "127.0.0.1:7070", "127.0.0.1", "[::1]:1", "[::1]"]
        {
            assert!(ask("/healthz", &[(HOST, host)]), "{host}");
        }
        assert!(ask("/x", &[(HOST, "localhost:7070"), (ORIGIN, "http://localhost:7070")]));
        assert!(ask("http://127.0.0.1:7070/x", &[(HOST, "127.0.0.1:7070")]));
    }

    #[test]
    fn rebinding_is_refused() {
        let hosts = [
            "evil.example",
            "evil.example:7070",
            "127.0.0.1.evil.example",
            "localhost.evil.example:1",
            "10.0.0.1",
            "0.0.0.0:7070",
            "",
            "localhost:",
            "localhost:7070@evil.example",
            "user@localhost",
        ];
        for host in hosts {
            assert!(!ask("/healthz", &[(HOST, host)]), "{host}");
        }
        assert!(!ask("/healthz", &[]));
        assert!(!ask("/healthz", &[(HOST, "localhost"), (HOST, "evil.example")]));
        assert!(!ask("http://evil.example/x", &[(HOST, "localhost")]));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        for origin in
            ["http://evil.example", "null", "http://localhost:3000", "https://localhost:7070", ""]
        {
            assert!(!ask("/x", &[(HOST, "localhost:7070"), (ORIGIN, origin)]), "{origin}");
        }
    }
}
