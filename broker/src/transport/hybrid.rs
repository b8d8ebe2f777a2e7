//! Vsock behind a Unix socket, as Firecracker, Cloud Hypervisor and
//! vhost-device-vsock have it: the host says `CONNECT <port>\n`, is answered
//! `OK <number>\n`, and is through to the guest.

use std::io;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Dial, DialError, Stream, within};

/// The longest answer that is read: `OK `, a number of 32 bits, a newline, and
/// some room for an error's words.
const MAX_ANSWER: usize = 64;

/// A VMM's Unix socket with the handshake.
#[derive(Debug, Clone)]
pub struct Hybrid {
    /// The socket.
    pub path: PathBuf,
    /// The agent's port.
    pub port: u32,
}

impl Dial for Hybrid {
    fn dial(&self) -> BoxFuture<'_, Result<Stream, DialError>> {
        let target = format!("{} port {}", self.path.display(), self.port);
        Box::pin(within(target, "connecting through the VMM", connect(&self.path, self.port)))
    }
}

async fn connect(path: &Path, port: u32) -> io::Result<Stream> {
    let mut stream = Stream::connect(path).await?;
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
    let answer = read_line(&mut stream).await?;
    if !answer.starts_with(b"OK ") {
        let text = String::from_utf8_lossy(&answer).escape_debug().to_string();
        return Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            format!("the VMM answered {text:?} instead of OK"),
        ));
    }
    Ok(stream)
}

/// The agent speaks only after the host's `Hello`, so nothing of it can be
/// behind the newline: whatever is there is not from an agent of ours.
async fn read_line(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(MAX_ANSWER);
    loop {
        let mut part = [0; MAX_ANSWER];
        let room = MAX_ANSWER - line.len();
        match stream.read(&mut part[..room]).await? {
            0 if room == 0 => return Err(io::Error::other("the VMM's answer does not end")),
            // What a VMM does when nobody in the guest listens on the port.
            0 => return Err(io::ErrorKind::ConnectionRefused.into()),
            read => line.extend_from_slice(&part[..read]),
        }
        match line.iter().position(|byte| *byte == b'\n') {
            Some(at) if at + 1 == line.len() => {
                line.truncate(at);
                return Ok(line);
            }
            Some(_) => return Err(io::Error::other("bytes came before they were asked for")),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// A VMM that answers every handshake with `answer`.
    async fn dial_a_vmm_that_says(answer: &'static [u8]) -> Result<Stream, DialError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.vsock");
        let listener = UnixListener::bind(&path).unwrap();
        let vmm = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 13];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"CONNECT 1000\n");
            for byte in answer {
                // Who reads enough of an endless answer hangs up.
                let _ = stream.write_all(&[*byte]).await;
                tokio::task::yield_now().await;
            }
        });
        let result = Hybrid { path, port: 1000 }.dial().await;
        vmm.await.unwrap();
        result
    }

    #[tokio::test]
    async fn an_ok_cut_at_every_byte_is_through() {
        dial_a_vmm_that_says(b"OK 1073741824\n").await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_a_hang_up_and_an_endless_answer_are_errors() {
        for answer in [&b"NO\n"[..], b"", b"OK 12", &[b'x'; 200]] {
            let error = dial_a_vmm_that_says(answer).await.unwrap_err();
            assert!(error.to_string().contains("port 1000"), "{error}");
        }
    }
}
