//! The one HTTP client of every subcommand: typed calls of the native dialect
//! over TCP or a Unix socket.

mod calls;
pub(crate) mod events;
mod images;
pub(crate) mod socket;
pub(crate) mod transfer;
pub(crate) mod types;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::client::types::Failure;
use crate::error::Error;

/// A broker that is there takes a connection at once.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// For calls that only ask or tell.
pub(crate) const SHORT: Duration = Duration::from_secs(60);

/// The largest JSON answer; the broker caps output in answers far below.
const MAX_ANSWER: usize = 256 << 20;

/// A body on its way out.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `HOST:PORT`.
    Tcp(String),
    /// A socket of this machine.
    Unix(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(authority) => write!(f, "http://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A client of one broker. Each call has a connection of its own: calls that
/// last (streams, copies) never wait for one another.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    target: Target,
    key: Option<String>,
}

impl Client {
    pub(crate) fn new(target: Target, key: Option<String>) -> Self {
        Self { target, key }
    }

    /// A request with the headers that all have.
    pub(crate) fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        let host = match &self.target {
            Target::Tcp(authority) => authority.as_str(),
            Target::Unix(_) => "localhost",
        };
        let agent = concat!("postern/", env!("CARGO_PKG_VERSION"));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, agent);
        match &self.key {
            Some(key) => request.header(AUTHORIZATION, format!("Bearer {key}")),
            None => request,
        }
    }

    /// Sends a request; an answer that is an error becomes one.
    pub(crate) async fn send(
        &self,
        doing: &str,
        request: Result<Request<Body>, hyper::http::Error>,
        deadline: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let request = request.map_err(|e| Error::usage(format!("{doing}: {e}")))?;
        let late = |_| Error::Late { doing: doing.to_owned(), seconds: deadline.as_secs() };
        let response =
            tokio::time::timeout(deadline, self.exchange(doing, request)).await.map_err(late)??;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let body = tokio::time::timeout(SHORT, read_all(doing, response)).await.map_err(late)??;
        match serde_json::from_slice::<Failure>(&body) {
            Ok(failure) => Err(Error::Api { doing: doing.to_owned(), failure: Box::new(failure) }),
            Err(_) => {
                Err(Error::Answer { doing: doing.to_owned(), what: format!("status {status}") })
            }
        }
    }

    async fn exchange(
        &self,
        doing: &str,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Error> {
        let unreachable = |source| Error::Unreachable { target: self.target.to_string(), source };
        match &self.target {
            Target::Tcp(authority) => {
                let stream = in_time(TcpStream::connect(authority)).await.map_err(unreachable)?;
                // Small requests must not wait for one another (Nagle); the
                // connection works without it.
                let _ = stream.set_nodelay(true);
                speak(doing, stream, request).await
            }
            Target::Unix(path) => {
                let stream = in_time(UnixStream::connect(path)).await.map_err(unreachable)?;
                speak(doing, stream, request).await
            }
        }
    }

    /// A call with a JSON body, or none, and a JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        doing: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        deadline: Duration,
    ) -> Result<T, Error> {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => {
                request.header(CONTENT_TYPE, "application/json").body(full(body.to_string()))
            }
            None => request.body(empty()),
        };
        let response = self.send(doing, request, deadline).await?;
        let late = |_| Error::Late { doing: doing.to_owned(), seconds: deadline.as_secs() };
        let read = tokio::time::timeout(deadline, read_all(doing, response));
        let bytes = read.await.map_err(late)??;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::Answer { doing: doing.to_owned(), what: e.to_string() })
    }
}

async fn speak<S>(
    doing: &str,
    stream: S,
    request: Request<Body>,
) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let http = |e: hyper::Error| Error::Http { doing: doing.to_owned(), source: e.into() };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    // Drives the connection until the answer's body is read or dropped; what
    // goes wrong there comes out of the body, too.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(http)
}

async fn in_time<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(CONNECT_DEADLINE, connecting).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    }
}

async fn read_all(doing: &str, response: Response<Incoming>) -> Result<Bytes, Error> {
    match Limited::new(response.into_body(), MAX_ANSWER).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(source) => Err(Error::Http { doing: doing.to_owned(), source }),
    }
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// One segment of a path, escaped.
pub(crate) fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
