//! A registry for tests that answers whatever it is told to: a few lines of HTTP
//! on loopback, so that sizes, digests and ends can be wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::Digest;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What is answered to one path.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// None: as long as the body is.
    pub(super) length: Option<u64>,
    /// The body comes again and again, in chunks, until the client has enough.
    pub(super) endless: bool,
    /// After the body nothing comes, and no end either.
    pub(super) stalls: bool,
    /// The connection ends after so many bytes, once.
    pub(super) cut: Arc<Mutex<Option<usize>>>,
    /// Whether a range is honoured.
    pub(super) ranges: bool,
}

impl Reply {
    pub(super) fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            body: body.into(),
            length: None,
            endless: false,
            stalls: false,
            cut: Arc::default(),
            ranges: true,
        }
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::new("") }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn cut_after(self, bytes: usize) -> Self {
        *self.cut.lock().unwrap() = Some(bytes);
        self
    }
}

/// A request as it came: path, and the headers that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) range: Option<String>,
    pub(super) authorization: Option<String>,
}

type Replies = Arc<Mutex<HashMap<String, Reply>>>;

/// The server; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub(super) struct Liar {
    pub(super) host: String,
    replies: Replies,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Liar {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let liar = Self { host, replies: Arc::default(), seen: Arc::default() };
        let server = liar.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = server.clone();
                // A client that hangs up has heard enough.
                tokio::spawn(async move { server.serve(socket).await.ok() });
            }
        });
        liar
    }

    pub(super) fn says(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// What is answered to a path now.
    pub(super) fn reply_to(&self, path: &str) -> Reply {
        self.replies.lock().unwrap()[path].clone()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn asked_for(&self, part: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.contains(part)).collect()
    }

    pub(super) fn blob(&self, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.says(&format!("/v2/a/blobs/{digest}"), Reply::new(bytes));
        json!({"digest": digest.as_str(), "size": bytes.len(),
               "mediaType": "application/vnd.oci.image.layer.v1.tar"})
    }

    /// An honest image of such layers as `a:TAG`; gives its manifest.
    pub(super) fn image(&self, tag: &str, layers: &[&[u8]]) -> Value {
        self.image_for("amd64", tag, layers)
    }

    /// The same for another architecture.
    pub(super) fn image_for(&self, architecture: &str, tag: &str, layers: &[&[u8]]) -> Value {
        let diff_ids: Vec<_> = layers.iter().map(|l| Digest::of(l).to_string()).collect();
        let config = json!({"architecture": architecture, "os": "linux", "config": {"Env": [format!("TAG={tag}")]},
                            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let mut config = self.blob(config.to_string().as_bytes());
        config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(layer)).collect();
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.document(tag, MANIFEST, &manifest);
        manifest
    }

    /// A manifest or index under a tag and its digest.
    pub(super) fn document(&self, tag: &str, kind: &str, document: &Value) -> Digest {
        let bytes = document.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        let reply = Reply::new(bytes).header("content-type", kind);
        self.says(&format!("/v2/a/manifests/{digest}"), reply.clone());
        self.says(&format!("/v2/a/manifests/{tag}"), reply);
        digest
    }

    async fn serve(&self, socket: TcpStream) -> std::io::Result<()> {
        let mut socket = BufReader::new(socket);
        loop {
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if socket.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let header = |name: &str| {
                let of = |line: &String| {
                    let (key, value) = line.split_once(": ")?;
                    key.eq_ignore_ascii_case(name).then(|| value.to_owned())
                };
                lines.iter().find_map(of)
            };
            let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
            let (range, authorization) = (header("range"), header("authorization"));
            let seen = Seen { path: path.clone(), range: range.clone(), authorization };
            let reply = self.reply(&seen);
            self.seen.lock().unwrap().push(seen);
            if !answer(&mut socket, &reply, range.as_deref()).await? {
                return Ok(());
            }
        }
    }

    fn reply(&self, seen: &Seen) -> Reply {
        let replies = self.replies.lock().unwrap();
        let path = seen.path.split('?').next().unwrap_or_default();
        // Where a login is asked for: one path for with, one for without.
        let with = seen.authorization.as_ref().and_then(|a| replies.get(&format!("{path} {a}")));
        with.or_else(|| replies.get(path)).cloned().unwrap_or_else(|| Reply::status(404))
    }
}

/// False when the connection ends with it.
async fn answer(
    socket: &mut BufReader<TcpStream>,
    reply: &Reply,
    range: Option<&str>,
) -> std::io::Result<bool> {
    let from = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = from.filter(|_| reply.ranges && reply.status == 200).unwrap_or(0);
    let body = reply.body.get(from..).unwrap_or_default();
    let status = if from > 0 { 206 } else { reply.status };
    let mut head = format!("HTTP/1.1 {status} x\r\n");
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if from > 0 {
        let (last, all) = (reply.body.len() - 1, reply.body.len());
        head.push_str(&format!("content-range: bytes {from}-{last}/{all}\r\n"));
    }
    if reply.endless {
        head.push_str("transfer-encoding: chunked\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        loop {
            socket.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await?;
            socket.write_all(body).await?;
            socket.write_all(b"\r\n").await?;
        }
    }
    let length = reply.length.unwrap_or(body.len() as u64);
    head.push_str(&format!("content-length: {length}\r\n\r\n"));
    socket.write_all(head.as_bytes()).await?;
    let cut = reply.cut.lock().unwrap().take();
    let body = cut.map_or(body, |cut| &body[..cut.min(body.len())]);
    socket.write_all(body).await?;
    socket.flush().await?;
    if reply.stalls {
        // Until the client hangs up.
        socket.read_line(&mut String::new()).await?;
    }
    Ok(cut.is_none() && length == body.len() as u64)
}
