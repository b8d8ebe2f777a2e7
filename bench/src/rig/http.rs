//! HTTP/1.1 on one kept connection, by hand: a library's own time would be
//! counted as ours.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

const BUFFER: usize = 260 << 10;

/// A hang becomes an error; a VM boots slowly.
const PATIENCE: Duration = Duration::from_secs(180);

/// Of a body only the end is kept: that is where events tell how it ended.
const TAIL: usize = 2048;

#[derive(Debug)]
pub(crate) struct Http {
    socket: TcpStream,
    host: SocketAddr,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// An answer; its body is counted, and its end kept.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) length: u64,
    pub(crate) tail: Vec<u8>,
}

enum Body {
    Length(u64),
    Chunks,
}

impl Http {
    pub(crate) fn connect(host: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(host)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, host, buffer: vec![0; BUFFER], start: 0, end: 0 })
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.socket.write_all(head.as_bytes())?;
        self.answer()
    }

    /// Asks with a JSON body for a JSON answer.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> io::Result<Value> {
        self.ask("POST", path, &body.to_string())
    }

    pub(crate) fn delete(&mut self, path: &str) -> io::Result<Value> {
        self.ask("DELETE", path, "")
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<Value> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.socket.write_all(request.as_bytes())?;
        let answer = self.answer()?;
        Ok(serde_json::from_slice(&answer.tail).unwrap_or(Value::Null))
    }

    /// Uploads `size` bytes.
    pub(crate) fn put(&mut self, path: &str, size: u64) -> io::Result<Answer> {
        let head =
            format!("PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {size}\r\n\r\n", self.host);
        self.socket.write_all(head.as_bytes())?;
        let piece = vec![b'x'; 256 << 10];
        let mut left = size;
        while left > 0 {
            let n = left.min(piece.len() as u64);
            if let Err(e) = self.socket.write_all(&piece[..n as usize]) {
                // It did not want the rest, and may have said why.
                return Err(self.answer().err().unwrap_or(e));
            }
            left -= n;
        }
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let head = self.line_block()?;
        let mut lines = head.lines();
        let status: u16 = lines.next().and_then(|l| l.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let mut body = Body::Length(0);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body = Body::Length(value.trim().parse().map_err(io::Error::other)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                body = Body::Chunks;
            }
        }
        let mut answer = Answer::default();
        match body {
            Body::Length(length) => self.take(length, &mut answer)?,
            Body::Chunks => self.chunks(&mut answer)?,
        }
        if status / 100 == 2 {
            return Ok(answer);
        }
        Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(&answer.tail))))
    }

    fn chunks(&mut self, answer: &mut Answer) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            self.take(size, answer)?;
            self.line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// The head of an answer, without the empty line.
    fn line_block(&mut self) -> io::Result<String> {
        let mut block = String::new();
        loop {
            let line = self.line()?;
            if line == "\r\n" {
                return Ok(block);
            }
            block.push_str(&line);
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            self.fill()?;
            let ahead = &self.buffer[self.start..self.end];
            let end = ahead.iter().position(|byte| *byte == b'\n');
            let part = &ahead[..end.map_or(ahead.len(), |at| at + 1)];
            line.extend_from_slice(part);
            self.start += part.len();
            if end.is_some() {
                return String::from_utf8(line).map_err(io::Error::other);
            }
        }
    }

    fn take(&mut self, mut length: u64, answer: &mut Answer) -> io::Result<()> {
        answer.length += length;
        while length > 0 {
            self.fill()?;
            let n = (self.end - self.start).min(usize::try_from(length).unwrap_or(usize::MAX));
            let piece = &self.buffer[self.start..self.start + n];
            answer.tail.extend_from_slice(&piece[piece.len().saturating_sub(TAIL * 2)..]);
            if answer.tail.len() > TAIL * 2 {
                let surplus = answer.tail.len() - TAIL * 2;
                answer.tail.drain(..surplus);
            }
            self.start += n;
            length -= n as u64;
        }
        Ok(())
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            self.start = 0;
            self.end = self.socket.read(&mut self.buffer)?;
            if self.end == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}
