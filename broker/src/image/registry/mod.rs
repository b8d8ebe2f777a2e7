//! A registry of the OCI distribution specification, as a client that trusts it
//! with nothing: each answer has a cap and a deadline, redirects are followed by
//! hand and take no credentials along, and what comes is checked by its digest.
//!
//! `oci-client` was looked at and left: it reads manifests, tokens and errors of
//! any length into memory, leaves redirects to a default, takes a refused login
//! for none, and panics on a token that is no header. What is left of such a
//! crate is below: three kinds of GET, by `reqwest`.

mod answer;
mod auth;
mod credentials;
mod endpoint;
mod http;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use oci_spec::distribution::Reference as RegistryReference;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap};
use reqwest::{Response, StatusCode};
use tokio::sync::Mutex;

use super::layout::MAX_DOCUMENT;
use super::{Digest, ImageError};
use answer::{DOCUMENT_DEADLINE, read_capped};
use auth::Authorization;
use endpoint::Endpoint;

/// A registry that is there takes a connection within seconds.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);

/// What this client reads as a manifest.
const ACCEPT_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// What an operator says about registries.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// By the registry's name (`docker.io`), the URL of a mirror, which is asked
    /// first. `http://` is spoken where the URL says so.
    pub mirrors: Vec<(String, String)>,
    /// Docker's `config.json` with logins and credential helpers. None:
    /// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
    pub docker_config: Option<PathBuf>,
}

/// The client of every registry.
#[derive(Debug)]
pub(crate) struct Registries {
    /// Made for the first pull: it reads the host's certificates.
    http: OnceLock<Result<reqwest::Client, String>>,
    options: RegistryOptions,
}

/// A manifest or an index, as it came.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
    /// As the answer's head has it; a document that says its own wins.
    pub(crate) content_type: String,
}

/// The bytes of a blob from `start` on.
#[derive(Debug)]
pub(crate) struct BlobBody {
    pub(crate) start: u64,
    response: Response,
    registry: String,
}

impl Registries {
    pub(crate) fn new(options: RegistryOptions) -> Result<Self, String> {
        endpoint::check_mirrors(&options.mirrors)?;
        Ok(Self { http: OnceLock::new(), options })
    }

    fn http(&self, registry: &str) -> Result<&reqwest::Client, ImageError> {
        let made = self.http.get_or_init(|| {
            // TLS by ring, unless whoever embeds us chose a provider before.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let builder = reqwest::Client::builder()
                .connect_timeout(CONNECT_DEADLINE)
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")));
            builder.build().map_err(|e| e.to_string())
        });
        made.as_ref().map_err(|e| ImageError::Unreachable {
            registry: registry.to_owned(),
            problem: "the client for it cannot be set up".to_owned(),
            source: Some(e.as_str().into()),
        })
    }

    /// The repository of a reference. Its logins last as long as the handle.
    pub(crate) fn repository(&self, of: &RegistryReference) -> Repository<'_> {
        let endpoints = endpoint::of(of.registry(), &self.options.mirrors);
        let logins = Mutex::new(vec![None; endpoints.len()]);
        Repository { registries: self, path: of.repository().to_owned(), endpoints, logins }
    }
}

/// One repository, at its mirrors and its registry.
#[derive(Debug)]
pub(crate) struct Repository<'a> {
    registries: &'a Registries,
    path: String,
    /// In the order of asking.
    endpoints: Vec<Endpoint>,
    logins: Mutex<Vec<Option<Authorization>>>,
}

impl Repository<'_> {
    /// A manifest or index by tag or digest; checked against the digest that it
    /// is asked by, and that the answer claims.
    pub(crate) async fn manifest(&self, which: &str) -> Result<Document, ImageError> {
        for at in 0..self.last() {
            match self.manifest_at(at, which).await {
                Ok(found) => return Ok(found),
                Err(error) => self.not_from(at, &error),
            }
        }
        self.manifest_at(self.last(), which).await
    }

    /// A blob from an offset on, or from its start where the registry knows no ranges.
    pub(crate) async fn blob(&self, digest: &Digest, from: u64) -> Result<BlobBody, ImageError> {
        for at in 0..self.last() {
            match self.blob_at(at, digest, from).await {
                Ok(found) => return Ok(found),
                Err(error) => self.not_from(at, &error),
            }
        }
        self.blob_at(self.last(), digest, from).await
    }

    /// The registry itself, after its mirrors.
    fn last(&self) -> usize {
        self.endpoints.len() - 1
    }

    /// A mirror may fail as it likes.
    fn not_from(&self, at: usize, error: &ImageError) {
        tracing::info!(mirror = self.endpoints[at].name, %error, "not from the mirror");
    }

    async fn manifest_at(&self, at: usize, which: &str) -> Result<Document, ImageError> {
        let what = format!("manifests/{which}");
        let asked = self.get(at, &what, Some(ACCEPT_MANIFEST), 0);
        let response = answer::within(&self.endpoints[at].name, DOCUMENT_DEADLINE, asked).await?;
        let registry = &self.endpoints[at].name;
        let lied = |problem| ImageError::Lied { registry: registry.clone(), problem };
        let header = |name| text_of(response.headers(), name);
        let claimed = header("docker-content-digest");
        let content_type = header(CONTENT_TYPE.as_str());
        let bytes = read_capped(registry, response, MAX_DOCUMENT).await?;
        let digest = Digest::of(&bytes);
        if which.contains(':') && which != digest.as_str() {
            return Err(lied(format!("asked for the manifest {which}, it gives {digest}")));
        }
        // Other algorithms are the registry's own affair.
        if claimed.starts_with("sha256:") && claimed != digest.as_str() {
            let problem =
                format!("it names a manifest {}, which is {digest}", super::said(&claimed));
            return Err(lied(problem));
        }
        Ok(Document { bytes, digest, content_type })
    }

    async fn blob_at(&self, at: usize, digest: &Digest, from: u64) -> Result<BlobBody, ImageError> {
        let what = format!("blobs/{digest}");
        let registry = self.endpoints[at].name.clone();
        let response =
            answer::within(&registry, DOCUMENT_DEADLINE, self.get(at, &what, None, from)).await?;
        let start = match response.status() {
            StatusCode::PARTIAL_CONTENT => match range_start(response.headers()) {
                Some(start) if start == from => start,
                other => {
                    let problem =
                        format!("asked for bytes from {from} on, it gives some from {other:?}");
                    return Err(ImageError::Lied { registry, problem });
                }
            },
            _ => 0,
        };
        Ok(BlobBody { start, response, registry })
    }

    /// A GET that succeeded; logs in when the registry asks for it.
    async fn get(
        &self,
        at: usize,
        what: &str,
        accept: Option<&str>,
        from: u64,
    ) -> Result<Response, ImageError> {
        let endpoint = &self.endpoints[at];
        let client = self.registries.http(&endpoint.name)?;
        let url = endpoint.url(&self.path, what)?;
        let known = self.logins.lock().await[at].clone();
        let request = http::Request { url: &url, accept, from, login: known.as_ref() };
        let mut response = http::get(client, endpoint, &request).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // A token that has run out, or none yet.
            let challenges = auth::challenges(response.headers());
            let login = self.log_in(at, challenges).await?;
            let request = http::Request { login: Some(&login), ..request };
            response = http::get(client, endpoint, &request).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                self.logins.lock().await[at] = Some(login);
            }
        }
        answer::success(endpoint, &format!("{}/{what}", self.path), response).await
    }

    async fn log_in(
        &self,
        at: usize,
        challenges: Vec<String>,
    ) -> Result<Authorization, ImageError> {
        let endpoint = &self.endpoints[at];
        let file = self.registries.options.docker_config.as_deref();
        let credentials = credentials::find(&endpoint.name, file).await?;
        let asking = auth::Asking {
            http: self.registries.http(&endpoint.name)?,
            endpoint,
            repository: &self.path,
            credentials: &credentials,
        };
        asking.authorization(&challenges).await
    }
}

impl BlobBody {
    /// The next piece; None at the end of the answer.
    pub(crate) async fn next(&mut self) -> Result<Option<bytes::Bytes>, ImageError> {
        answer::next_piece(&self.registry, &mut self.response).await
    }

    /// An error about who sends it.
    pub(crate) fn lied(&self, problem: String) -> ImageError {
        ImageError::Lied { registry: self.registry.clone(), problem }
    }

    /// It ended where more had to come.
    pub(crate) fn broke_off(&self, at: u64, size: u64) -> ImageError {
        ImageError::Unreachable {
            registry: self.registry.clone(),
            problem: format!("a blob broke off after {at} of {size} bytes"),
            source: None,
        }
    }
}

fn text_of(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Of `bytes FROM-TO/SIZE`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}
