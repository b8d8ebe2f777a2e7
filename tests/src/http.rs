//! HTTP/1.1 as a client that sees everything: a body that ends early is an
//! error, and a connection can be cut wherever a test wants.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::wait;

/// The longest line of a head.
const MAX_LINE: u64 = 64 << 10;

/// A server.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    address: SocketAddr,
}

impl Http {
    /// At an address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// What goes into `Host`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// A bare connection with deadlines.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(wait::seconds(120)))?;
        socket.set_write_timeout(Some(wait::seconds(120)))?;
        Ok(socket)
    }

    /// One request on a connection of its own. `headers` win over the usual ones.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut socket = self.connect()?;
        let length = body.len().to_string();
        let head = self.head(method, path, headers, Some(("Content-Length", length.as_str())));
        socket.write_all(head.as_bytes())?;
        // A server that has heard enough may answer before it has everything.
        let written = socket.write_all(body);
        Response::read(socket).map_err(|e| written.err().unwrap_or(e))
    }

    /// The head of a request.
    pub fn head(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        framing: Option<(&str, &str)>,
    ) -> String {
        use std::fmt::Write;
        let host = self.authority();
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        let given = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let usual = [("Host", host.as_str()), ("Connection", "close")];
        let usual = usual.into_iter().chain(framing).filter(|(name, _)| !given(name));
        for (name, value) in usual.chain(headers.iter().copied()) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        head
    }
}

/// An answer whose body is read as it comes.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Debug)]
struct Body {
    socket: BufReader<TcpStream>,
    framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Bytes left.
    Length(u64),
    /// Bytes left of this chunk; the next line is a chunk's size when it is 0.
    Chunked(u64),
    ToTheEnd,
    Done,
}

impl Response {
    /// Reads the head.
    pub fn read(socket: TcpStream) -> io::Result<Self> {
        let mut socket = BufReader::with_capacity(256 << 10, socket);
        let first = line(&mut socket)?;
        let status = first.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no HTTP: {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let text = line(&mut socket)?;
            let Some((name, value)) = text.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response =
            Self { status, headers, body: Body { socket, framing: Framing::ToTheEnd } };
        let length = response.header("content-length").map(|text| text.parse().unwrap());
        response.body.framing = match (length, response.header("transfer-encoding")) {
            (_, Some("chunked")) => Framing::Chunked(0),
            (Some(0), _) => Framing::Done,
            (Some(n), _) => Framing::Length(n),
            (None, _) if status == 204 => Framing::Done,
            (None, _) => Framing::ToTheEnd,
        };
        Ok(response)
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The rest of the body.
    pub fn whole(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.read_to_end(&mut all)?;
        Ok(all)
    }

    /// The body as JSON; Null if it is empty.
    pub fn json(&mut self) -> io::Result<Value> {
        let bytes = self.whole()?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| io::Error::other(format!("{e}: {}", String::from_utf8_lossy(&bytes))))
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.framing == Framing::Chunked(0) {
            let size = line(&mut self.socket)?;
            let size = u64::from_str_radix(size.trim(), 16)
                .map_err(|_| io::Error::other(format!("no chunk size: {size:?}")))?;
            self.framing = Framing::Chunked(size);
            if size == 0 {
                line(&mut self.socket)?;
                self.framing = Framing::Done;
            }
        }
        let left = match self.framing {
            Framing::Done => return Ok(0),
            Framing::ToTheEnd => return self.socket.read(buffer),
            Framing::Length(left) | Framing::Chunked(left) => left,
        };
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.socket.read(&mut buffer[..most])?;
        if n == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body was cut off"));
        }
        let left = left - n as u64;
        self.framing = match self.framing {
            Framing::Chunked(_) if left == 0 => {
                line(&mut self.socket)?;
                Framing::Chunked(0)
            }
            Framing::Chunked(_) => Framing::Chunked(left),
            _ if left == 0 => Framing::Done,
            _ => Framing::Length(left),
        };
        Ok(n)
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.take(MAX_LINE).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(text) => Ok(text.trim_end_matches('\r').to_owned()),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a line was cut off")),
    }
}
