//! Logging in: `Basic`, or a token from whom the registry names (the
//! distribution specification's "token authentication").

use http_auth::parser::ChallengeParser;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::super::ImageError;
use super::answer::{read_capped, refusal};
use super::credentials::Credentials;
use super::endpoint::Endpoint;
use super::http::{check, send};

/// Tokens are some KiB; the longest seen carry lists of groups.
const MAX_TOKEN: u64 = 64 << 10;

/// What lets us in, as a header.
#[derive(Debug, Clone)]
pub(super) struct Authorization(HeaderValue);

impl Authorization {
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// None: it is no header, as a token with a line break is none.
    fn new(text: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(text).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

/// Every challenge of an answer.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<String> {
    let all = headers.get_all(WWW_AUTHENTICATE).iter();
    all.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
}

/// A login at one endpoint.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    pub(super) http: &'a Client,
    pub(super) endpoint: &'a Endpoint,
    pub(super) repository: &'a str,
    pub(super) credentials: &'a Credentials,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Bearer {
    realm: String,
    service: Option<String>,
}

/// Both names are in use.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Asking<'_> {
    /// What answers one of the challenges.
    pub(super) async fn authorization(
        &self,
        challenges: &[String],
    ) -> Result<Authorization, ImageError> {
        let (bearer, basic) = read(challenges);
        if let Some(bearer) = bearer {
            return self.token(&bearer).await;
        }
        match self.credentials {
            Credentials::Password { user, password } if basic => basic_header(user, password)
                .ok_or_else(|| self.denied("the user's name is no header".to_owned())),
            _ if basic => Err(self.denied("it wants a login, and there is none for it".to_owned())),
            _ => Err(self.denied("it wants a login of a kind that is not known".to_owned())),
        }
    }

    async fn token(&self, bearer: &Bearer) -> Result<Authorization, ImageError> {
        let realm = self.realm(bearer)?;
        let scope = format!("repository:{}:pull", self.repository);
        let service = bearer.service.as_deref().unwrap_or(&self.endpoint.name);
        let request = match self.credentials {
            Credentials::Identity { token } => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("service", service),
                    ("client_id", "postern"),
                    ("scope", &scope),
                    ("refresh_token", token),
                ];
                let body = Url::parse_with_params("http://form/", form);
                let body = body.map(|url| url.query().unwrap_or_default().to_owned());
                let post = self.http.post(realm);
                post.header("content-type", "application/x-www-form-urlencoded")
                    .body(body.unwrap_or_default())
            }
            other => {
                let mut url = realm;
                let pairs = [("service", service), ("scope", scope.as_str())];
                url.query_pairs_mut().extend_pairs(pairs);
                let get = self.http.get(url);
                match other {
                    Credentials::Password { user, password } => {
                        get.basic_auth(user, Some(password))
                    }
                    _ => get,
                }
            }
        };
        let response = send(self.endpoint, request).await?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(ImageError::Unreachable {
                    registry: self.endpoint.name.clone(),
                    problem: refusal(&self.endpoint.name, response).await,
                    source: None,
                });
            }
            _ => return Err(self.denied(refusal(&self.endpoint.name, response).await)),
        }
        let body = read_capped(&self.endpoint.name, response, MAX_TOKEN).await?;
        let token: Option<Token> = serde_json::from_slice(&body).ok();
        let token = token.and_then(|answer| answer.token.or(answer.access_token));
        let header = token.and_then(|token| Authorization::new(&format!("Bearer {token}")));
        header.ok_or_else(|| self.lied("who gives its tokens gives none".to_owned()))
    }

    /// Where the token is asked for. It is the registry's word alone, so it may
    /// lead nowhere that a redirect may not.
    fn realm(&self, bearer: &Bearer) -> Result<Url, ImageError> {
        let from = self.endpoint.url(self.repository, "")?;
        let realm = Url::parse(&bearer.realm)
            .map_err(|_| self.lied("it sends for a token to what is no URL".to_owned()))?;
        check(self.endpoint, &from, &realm)
            .map_err(|why| self.lied(format!("it sends for a token where {why}")))?;
        let in_the_clear = realm.scheme() != "https" && !self.endpoint.is_plain();
        if in_the_clear {
            return Err(self.lied("it wants a login sent in the clear".to_owned()));
        }
        Ok(realm)
    }

    fn denied(&self, why: String) -> ImageError {
        let registry = self.endpoint.name.clone();
        ImageError::Denied { registry, what: self.repository.to_owned(), why }
    }

    fn lied(&self, problem: String) -> ImageError {
        ImageError::Lied { registry: self.endpoint.name.clone(), problem }
    }
}

fn basic_header(user: &str, password: &str) -> Option<Authorization> {
    Authorization::new(&format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))
}

/// The first `Bearer` with a realm, and whether `Basic` will do.
fn read(challenges: &[String]) -> (Option<Bearer>, bool) {
    let (mut bearer, mut basic) = (None, false);
    for text in challenges {
        for challenge in ChallengeParser::new(text).map_while(Result::ok) {
            basic |= challenge.scheme.eq_ignore_ascii_case("basic");
            if bearer.is_some() || !challenge.scheme.eq_ignore_ascii_case("bearer") {
                continue;
            }
            let value = |wanted: &str| {
                let found = challenge.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(wanted));
                found.map(|(_, value)| value.to_unescaped())
            };
            bearer = value("realm").map(|realm| Bearer { realm, service: value("service") });
        }
    }
    (bearer, basic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://auth.example/token",service="r.example",scope="x""#;
        let (bearer, basic) = read(&[r#"Basic realm="x""#.to_owned(), text.to_owned()]);
        let wanted = Bearer {
            realm: "https://auth.example/token".to_owned(),
            service: Some("r.example".to_owned()),
        };
        assert_eq!((bearer, basic), (Some(wanted), true));
        for junk in ["", "Bearer", "Bearer realm", "=,=,=", "Negotiate", "Bearer realm=\"x"] {
            assert_eq!(read(&[junk.to_owned()]), (None, false), "{junk}");
        }
    }

    #[test]
    fn a_token_with_a_line_break_is_no_header() {
        assert!(Authorization::new("Bearer a\r\nX: y").is_none());
        assert!(format!("{:?}", Authorization::new("Bearer secret")).contains("ensitive"));
    }
}
