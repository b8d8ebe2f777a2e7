//! Files and raw output: bodies that are not JSON.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::Method;
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::calls::command_path;
use super::types::Written;
use super::{Client, SHORT, empty, segment};
use crate::error::Error;

/// Everything but what a path needs as it is.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A body must bring its next bytes in this time. A command that is followed
/// may be silent for longer, which [`Download::next_patiently`] is for.
const SILENCE: Duration = Duration::from_secs(60);

/// An upload as a whole; a day is as good as no limit and still one.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// Bytes on their way here.
#[derive(Debug)]
pub(crate) struct Download {
    doing: String,
    body: Incoming,
    /// As the broker announced it.
    pub(crate) length: Option<u64>,
    /// Permission bits of a file.
    pub(crate) mode: Option<u32>,
    /// For output: the offset of the first byte.
    pub(crate) offset: Option<u64>,
}

impl Download {
    /// The next piece; None at the orderly end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match tokio::time::timeout(SILENCE, self.next_patiently()).await {
            Ok(piece) => piece,
            Err(_) => Err(Error::Late { doing: self.doing.clone(), seconds: SILENCE.as_secs() }),
        }
    }

    /// Likewise, for bodies whose silence means nothing.
    pub(crate) async fn next_patiently(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(e)) => {
                    return Err(Error::Http { doing: self.doing.clone(), source: e.into() });
                }
            }
        }
    }
}

impl Client {
    /// A file out of a session.
    pub(crate) async fn get_file(
        &self,
        session: &str,
        path: &str,
        user: Option<&str>,
    ) -> Result<Download, Error> {
        let mut url = file_path(session, path);
        if let Some(user) = user {
            url.push_str(&format!("?user={}", segment(user)));
        }
        self.download(&format!("reading {path}"), &url).await
    }

    /// A file into a session.
    pub(crate) async fn put_file(
        &self,
        session: &str,
        path: &str,
        user: Option<&str>,
        mode: Option<u32>,
        size: Option<u64>,
        pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<Written, Error> {
        let doing = format!("writing {path}");
        let mut url = format!("{}?parents=true", file_path(session, path));
        if let Some(mode) = mode {
            url.push_str(&format!("&mode={mode:o}"));
        }
        if let Some(user) = user {
            url.push_str(&format!("&user={}", segment(user)));
        }
        let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync();
        let mut request = self.request(Method::PUT, &url);
        if let Some(size) = size {
            request = request.header(CONTENT_LENGTH, size);
        }
        let response = self.send(&doing, request.body(body), UPLOAD_DEADLINE).await?;
        let bytes = super::read_all(&doing, response).await?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Answer { doing, what: e.to_string() })
    }

    /// A command's raw output.
    pub(crate) async fn output(
        &self,
        session: &str,
        command: &str,
        from: u64,
        stream: &str,
        follow: bool,
    ) -> Result<Download, Error> {
        let url = format!(
            "{}/output?from={from}&stream={stream}&follow={follow}&lossless={follow}",
            command_path(session, command)
        );
        self.download("reading output", &url).await
    }

    async fn download(&self, doing: &str, url: &str) -> Result<Download, Error> {
        let request = self.request(Method::GET, url).body(empty());
        let response = self.send(doing, request, SHORT).await?;
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let length = header("content-length").and_then(|v| v.parse().ok());
        let mode = header("x-postern-mode").and_then(|v| u32::from_str_radix(v, 8).ok());
        let offset = header("x-postern-offset").and_then(|v| v.parse().ok());
        Ok(Download { doing: doing.to_owned(), body: response.into_body(), length, mode, offset })
    }
}

/// `path` is absolute.
fn file_path(session: &str, path: &str) -> String {
    format!("/v1/sessions/{}/files{}", segment(session), utf8_percent_encode(path, PATH))
}
