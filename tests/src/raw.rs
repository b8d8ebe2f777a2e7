//! The agent's protocol without a broker: blocking, and made of `postern-proto`
//! only, so that what the broker takes for granted is tested without it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use postern_proto::limits::{MAX_CONTROL_FRAME, MAX_HELLO_FRAME, MAX_OPEN_FRAME};
use postern_proto::{
    Error, FromAgent, Hello, Purpose, Reply, Request, StreamEnd, StreamEvent, StreamHeader,
    StreamKind, StreamOpen, StreamReply, take_frame,
};

/// Longer than anything here takes; a hang becomes an error.
const PATIENCE: Duration = Duration::from_secs(120);

/// How to reach an agent.
#[derive(Debug, Clone)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A Unix socket that multiplexes vsock ports: `CONNECT <port>`.
    Hybrid(PathBuf, u32),
}

impl Address {
    /// Opens a connection.
    pub fn dial(&self) -> io::Result<UnixStream> {
        let (path, port) = match self {
            Self::Unix(path) => (path, None),
            Self::Hybrid(path, port) => (path, Some(port)),
        };
        let mut socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        if let Some(port) = port {
            socket.write_all(format!("CONNECT {port}\n").as_bytes())?;
            let mut line = Vec::new();
            let mut byte = [0];
            while line.last() != Some(&b'\n') {
                socket.read_exact(&mut byte)?;
                line.push(byte[0]);
            }
            if !line.starts_with(b"OK ") {
                return Err(io::Error::other(String::from_utf8_lossy(&line).into_owned()));
            }
        }
        Ok(socket)
    }
}

/// A connection that has exchanged `Hello`s.
#[derive(Debug)]
pub struct Raw {
    /// The socket, for tests that want to misuse it.
    pub socket: UnixStream,
    /// What the agent said of itself.
    pub hello: Hello,
    ahead: BytesMut,
    next_id: u64,
}

/// A frame of a stream.
#[derive(Debug)]
pub enum Item {
    /// Output or file contents.
    Data(StreamHeader, bytes::Bytes),
    /// Dropped output.
    Gap(u64, u64),
    /// In-band news.
    Event(StreamEvent),
    /// The last.
    End(StreamEnd),
}

impl Raw {
    /// Connects for `purpose`.
    pub fn connect(address: &Address, purpose: Purpose, epoch: u64) -> io::Result<Self> {
        let mut socket = address.dial()?;
        let mut out = BytesMut::new();
        Hello::host(purpose, epoch, "postern-tests").encode(&mut out).map_err(io::Error::other)?;
        socket.write_all(&out)?;
        let mut ahead = BytesMut::new();
        let frame = read_frame(&mut socket, &mut ahead, MAX_HELLO_FRAME)?;
        let hello = Hello::decode(frame).map_err(io::Error::other)?;
        Ok(Self { socket, hello, ahead, next_id: 1 })
    }

    /// Opens a control connection.
    pub fn control(address: &Address) -> io::Result<Self> {
        Self::connect(address, Purpose::Control, 1)
    }

    /// Asks, and waits for the answer; events in between are dropped.
    pub fn ask(&mut self, request: &Request) -> io::Result<Result<Reply, Error>> {
        let id = self.send(request)?;
        loop {
            if let (got, reply) = self.reply()?
                && got == id
            {
                return Ok(match reply {
                    Reply::Error(e) => Err(e),
                    reply => Ok(reply),
                });
            }
        }
    }

    /// Asks without waiting.
    pub fn send(&mut self, request: &Request) -> io::Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let mut out = BytesMut::new();
        request.encode(id, &mut out).map_err(io::Error::other)?;
        self.socket.write_all(&out)?;
        Ok(id)
    }

    /// The next reply, whatever it belongs to.
    pub fn reply(&mut self) -> io::Result<(u64, Reply)> {
        loop {
            let frame = read_frame(&mut self.socket, &mut self.ahead, MAX_CONTROL_FRAME)?;
            if let FromAgent::Reply { id, reply } =
                FromAgent::decode(frame).map_err(io::Error::other)?
            {
                return Ok((id, reply));
            }
        }
    }

    /// Opens a stream.
    pub fn stream(address: &Address, open: &StreamOpen) -> io::Result<(Self, StreamReply)> {
        let mut raw = Self::connect(address, Purpose::Stream, 0)?;
        let mut out = BytesMut::new();
        open.encode(&mut out).map_err(io::Error::other)?;
        raw.socket.write_all(&out)?;
        let reply = raw.stream_reply()?;
        Ok((raw, reply))
    }

    /// The answer to a stream's opening.
    pub fn stream_reply(&mut self) -> io::Result<StreamReply> {
        let frame = read_frame(&mut self.socket, &mut self.ahead, MAX_OPEN_FRAME)?;
        StreamReply::decode(frame).map_err(io::Error::other)
    }

    /// The next stream frame.
    pub fn item(&mut self) -> io::Result<Item> {
        loop {
            let taken = StreamHeader::take(&mut self.ahead).map_err(io::Error::other)?;
            if let Some((header, payload)) = taken {
                return Ok(match header.kind {
                    StreamKind::Data(_) => Item::Data(header, payload),
                    StreamKind::Gap => Item::Gap(header.offset, header.aux),
                    StreamKind::Message => {
                        Item::Event(StreamEvent::decode(payload).map_err(io::Error::other)?)
                    }
                    StreamKind::End => {
                        Item::End(StreamEnd::decode(payload).map_err(io::Error::other)?)
                    }
                });
            }
            fill(&mut self.socket, &mut self.ahead)?;
        }
    }

    /// Sends a file's or a layer's bytes and the end, and waits for the agent's.
    pub fn upload(&mut self, mut from: impl Read) -> io::Result<StreamEnd> {
        let mut buffer = vec![0; 256 << 10];
        let mut offset = 0;
        loop {
            let n = from.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            let len = u32::try_from(n).map_err(io::Error::other)?;
            let header = StreamHeader { kind: StreamKind::Data(None), len, offset, aux: 0 };
            self.socket.write_all(&header.encode())?;
            self.socket.write_all(&buffer[..n])?;
            offset += n as u64;
        }
        let mut end = BytesMut::new();
        StreamEnd::Done.encode(&mut end).map_err(io::Error::other)?;
        self.socket.write_all(&end)?;
        match self.item()? {
            Item::End(end) => Ok(end),
            other => Err(io::Error::other(format!("expected the end, got {other:?}"))),
        }
    }
}

fn fill(socket: &mut UnixStream, ahead: &mut BytesMut) -> io::Result<()> {
    const STEP: usize = 256 << 10;
    let start = ahead.len();
    ahead.resize(start + STEP, 0);
    let result = socket.read(&mut ahead[start..]);
    ahead.truncate(start + *result.as_ref().unwrap_or(&0));
    match result? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn read_frame(
    socket: &mut UnixStream,
    ahead: &mut BytesMut,
    max: usize,
) -> io::Result<bytes::Bytes> {
    loop {
        if let Some(frame) = take_frame(ahead, max).map_err(io::Error::other)? {
            return Ok(frame);
        }
        fill(socket, ahead)?;
    }
}

/// Loads a local OCI layout into an agent, as the broker does.
pub fn load_image(address: &Address, control: &mut Raw, layout: &Path) -> io::Result<()> {
    let read = |path: PathBuf| -> io::Result<serde_json::Value> {
        serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
    };
    let blob = |digest: &str| layout.join("blobs").join(digest.replace(':', "/"));
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let index = read(layout.join("index.json"))?;
    let manifest = read(blob(&text(&index["manifests"][0]["digest"])))?;
    let config = read(blob(&text(&manifest["config"]["digest"])))?;
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    let count = u32::try_from(layers.len()).map_err(io::Error::other)?;
    ok(control.ask(&Request::PrepareImage { layers: count })?)?;
    for (index, layer) in (0..).zip(&layers) {
        let open = postern_proto::Layer {
            index,
            media_type: text(&layer["mediaType"]),
            digest: text(&layer["digest"]),
            diff_id: text(&config["rootfs"]["diff_ids"][index as usize]),
            size: layer["size"].as_u64().unwrap_or(0),
        };
        let file = std::fs::File::open(blob(&open.digest))?;
        let (mut stream, reply) = Raw::stream(address, &StreamOpen::Layer(open))?;
        if reply != StreamReply::Done {
            return Err(io::Error::other(format!("{reply:?}")));
        }
        match stream.upload(file)? {
            StreamEnd::Layer(_) => {}
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
    }
    let image = image_config(&config["config"]);
    ok(control.ask(&Request::CommitImage(image))?).map(drop)
}

fn image_config(config: &serde_json::Value) -> postern_proto::ImageConfig {
    let list = |v: &serde_json::Value| -> Vec<String> {
        let items = v.as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|i| i.as_str().map(str::to_owned)).collect()
    };
    let bytes = |v| list(v).into_iter().map(bytes::Bytes::from).collect();
    let env = list(&config["Env"]).into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some(postern_proto::EnvVar::new(name, value))
    });
    postern_proto::ImageConfig {
        env: env.collect(),
        user: config["User"].as_str().unwrap_or_default().to_owned(),
        working_dir: config["WorkingDir"].as_str().unwrap_or_default().to_owned(),
        entrypoint: bytes(&config["Entrypoint"]),
        cmd: bytes(&config["Cmd"]),
    }
}

/// An answer that must not be an error.
pub fn ok(result: Result<Reply, Error>) -> io::Result<Reply> {
    result.map_err(|e| io::Error::other(format!("the agent answered: {e:?}")))
}
