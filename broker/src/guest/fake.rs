//! An agent made of the protocol's crate only, that does what a test tells it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use postern_proto::limits::{MAX_CONTROL_FRAME, MAX_HELLO_FRAME, MAX_OPEN_FRAME};
use postern_proto::{
    CommandInfo, CommandState, Error, FromAgent, Hello, OutputStream, Purpose, Reply, Request,
    StdinState, StreamEnd, StreamEvent, StreamHeader, StreamKind, StreamOpen, StreamReply,
    take_frame,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::client::{ConnectOptions, Guest};
use crate::transport::Unix;

/// Decides what happens on one connection.
pub(super) type Script = Arc<dyn Fn(Peer) -> BoxFuture<'static, ()> + Send + Sync>;

/// The agent's side of one connection, greeted.
pub(super) struct Peer {
    pub(super) stream: UnixStream,
    buf: BytesMut,
    pub(super) purpose: Purpose,
    /// How many connections of this purpose came before.
    pub(super) number: usize,
}

pub(super) struct FakeAgent {
    dir: tempfile::TempDir,
    /// Part of the instance id: a change is a restart.
    pub(super) instance: Arc<AtomicU64>,
    pub(super) refusal: Arc<Mutex<Option<Error>>>,
}

impl FakeAgent {
    pub(super) fn start(
        script: impl Fn(Peer) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("agent.sock")).unwrap();
        let agent = Self { dir, instance: Arc::default(), refusal: Arc::default() };
        let (instance, refusal) = (agent.instance.clone(), agent.refusal.clone());
        let script: Script = Arc::new(script);
        tokio::spawn(async move {
            let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
            while let Ok((stream, _)) = listener.accept().await {
                let refusal = refusal.lock().unwrap().clone();
                let (instance, counts, script) = (instance.clone(), counts.clone(), script.clone());
                tokio::spawn(async move {
                    if let Some(peer) = Peer::greet(stream, &instance, refusal, &counts).await {
                        script(peer).await;
                    }
                });
            }
        });
        agent
    }

    pub(super) fn dial(&self) -> Arc<Unix> {
        Arc::new(Unix { path: self.dir.path().join("agent.sock") })
    }

    pub(super) async fn client(&self) -> Guest {
        let deadline = Duration::from_secs(10);
        let options = ConnectOptions { deadline, hint: None, epoch: None };
        Guest::connect(self.dial(), options).await.unwrap()
    }
}

impl Peer {
    async fn greet(
        mut stream: UnixStream,
        instance: &AtomicU64,
        refusal: Option<Error>,
        counts: &[Arc<AtomicUsize>; 2],
    ) -> Option<Self> {
        let mut buf = BytesMut::new();
        let frame = read_frame(&mut stream, &mut buf, MAX_HELLO_FRAME).await?;
        let host = Hello::decode(frame).unwrap();
        let refused = refusal.is_some();
        let hello = Hello {
            boot_id: "boot".to_owned(),
            instance_id: format!("instance {}", instance.load(Ordering::SeqCst)),
            refusal,
            ..Hello::host(host.purpose, 0, "fake")
        };
        let mut out = BytesMut::new();
        hello.encode(&mut out).unwrap();
        stream.write_all(&out).await.ok()?;
        if refused {
            return None;
        }
        let count = &counts[usize::from(host.purpose == Purpose::Stream)];
        let number = count.fetch_add(1, Ordering::SeqCst);
        Some(Self { stream, buf, purpose: host.purpose, number })
    }

    pub(super) async fn request(&mut self) -> Option<(u64, Request)> {
        let frame = read_frame(&mut self.stream, &mut self.buf, MAX_CONTROL_FRAME).await?;
        Some(Request::decode(frame).unwrap())
    }

    pub(super) async fn opening(&mut self) -> Option<StreamOpen> {
        let frame = read_frame(&mut self.stream, &mut self.buf, MAX_OPEN_FRAME).await?;
        Some(StreamOpen::decode(frame).unwrap())
    }

    /// A frame of a stream.
    pub(super) async fn frame(&mut self) -> Option<(StreamHeader, Bytes)> {
        loop {
            if let Some(frame) = StreamHeader::take(&mut self.buf).unwrap() {
                return Some(frame);
            }
            if self.stream.read_buf(&mut self.buf).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// How far stdin was taken.
    pub(super) async fn took(&mut self, offset: u64) {
        let mut out = BytesMut::new();
        StreamEvent::Stdin(stdin(offset)).encode(&mut out).unwrap();
        self.raw(&out).await;
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        // The broker may have hung up on a liar: that is what is tested.
        let _ = self.stream.write_all(bytes).await;
    }

    pub(super) async fn reply(&mut self, id: u64, reply: Reply) {
        let mut out = BytesMut::new();
        FromAgent::Reply { id, reply }.encode(&mut out).unwrap();
        self.raw(&out).await;
    }

    pub(super) async fn accept(&mut self, reply: StreamReply) {
        let mut out = BytesMut::new();
        reply.encode(&mut out).unwrap();
        self.raw(&out).await;
    }

    pub(super) async fn output(&mut self, offset: u64, data: &[u8]) {
        let kind = StreamKind::Data(Some(OutputStream::Stdout));
        let header =
            StreamHeader { kind, len: data.len().try_into().unwrap(), offset, aux: offset };
        self.raw(&[&header.encode()[..], data].concat()).await;
    }

    pub(super) async fn exited(&mut self, info: CommandInfo) {
        let mut out = BytesMut::new();
        StreamEvent::Exited(Box::new(info)).encode(&mut out).unwrap();
        self.raw(&out).await;
    }

    pub(super) async fn end(&mut self, end: StreamEnd) {
        let mut out = BytesMut::new();
        end.encode(&mut out).unwrap();
        self.raw(&out).await;
    }

    /// Reads until the broker hangs up.
    pub(super) async fn until_hangup(mut self) {
        let mut bytes = [0; 4096];
        while matches!(self.stream.read(&mut bytes).await, Ok(1..)) {}
    }
}

async fn read_frame(stream: &mut UnixStream, buf: &mut BytesMut, max: usize) -> Option<Bytes> {
    loop {
        if let Some(frame) = take_frame(buf, max).unwrap() {
            return Some(frame);
        }
        if stream.read_buf(buf).await.ok()? == 0 {
            return None;
        }
    }
}

/// stdin that stands at an offset.
pub(super) fn stdin(offset: u64) -> StdinState {
    StdinState { accepted: 0, offset, eof: false }
}

/// A command that runs.
pub(super) fn command(id: &str) -> CommandInfo {
    CommandInfo {
        command_id: id.to_owned(),
        pid: 7,
        state: CommandState::Running,
        cwd: "/".to_owned(),
        user: "root".to_owned(),
        started_unix_ms: 1,
        ..CommandInfo::default()
    }
}
