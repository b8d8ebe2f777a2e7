//! The opening of every connection.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use postern_proto::limits::{MAX_CONTROL_FRAME, MAX_HELLO_FRAME};
use postern_proto::{Code, Hello, Purpose, take_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::{Fault, GuestError};
use crate::transport::Stream;

/// From a connection to the agent's `Hello`. The agent answers before it does
/// anything else, so only a guest that stands still needs longer.
pub(crate) const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// What agents see of us.
pub(crate) const SOFTWARE: &str = concat!("postern-broker/", env!("CARGO_PKG_VERSION"));

/// The first read of a connection: a `Hello` and a reply or two.
const FIRST_READ: usize = 4 << 10;

/// The longest id of a boot or an instance that is kept.
const MAX_PEER_ID: usize = 128;

/// Sends our `Hello` and whatever may follow it at once, and reads the agent's.
/// `rest` receives what came behind it.
pub(crate) async fn greet(
    stream: &mut Stream,
    purpose: Purpose,
    epoch: u64,
    follow_up: impl FnOnce(&mut BytesMut) -> Result<(), GuestError>,
    rest: &mut BytesMut,
) -> Result<Hello, GuestError> {
    let doing = "greeting";
    let mut out = BytesMut::with_capacity(512);
    Hello::host(purpose, epoch, SOFTWARE).encode(&mut out).map_err(GuestError::Unsendable)?;
    follow_up(&mut out)?;
    stream.write_all(&out).await.map_err(|e| GuestError::lost(doing, e))?;
    let frame = read_frame(stream, rest, MAX_HELLO_FRAME, doing).await?;
    let hello = Hello::decode(frame).map_err(|e| GuestError::fault(doing, e))?;
    if let Some(refusal) = hello.refusal {
        // Fencing is the only precondition that an opening can fail.
        return Err(match refusal.code {
            Code::FailedPrecondition => GuestError::Fenced(refusal),
            _ => GuestError::Agent(refusal),
        });
    }
    if hello.purpose != purpose {
        return Err(GuestError::fault(doing, Fault::WrongFrame("a Hello of another purpose")));
    }
    if hello.boot_id.len() > MAX_PEER_ID || hello.instance_id.len() > MAX_PEER_ID {
        return Err(GuestError::fault(doing, Fault::WrongFrame("an id without end")));
    }
    Ok(hello)
}

/// Reads one length-prefixed frame. The caller bounds the time.
pub(crate) async fn read_frame(
    stream: &mut Stream,
    buf: &mut BytesMut,
    max: usize,
    doing: &'static str,
) -> Result<Bytes, GuestError> {
    debug_assert!(max <= MAX_CONTROL_FRAME);
    loop {
        if let Some(frame) = take_frame(buf, max).map_err(|e| GuestError::fault(doing, e))? {
            return Ok(frame);
        }
        buf.reserve(FIRST_READ);
        match stream.read_buf(buf).await {
            Ok(0) => return Err(GuestError::lost(doing, io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => {}
            Err(e) => return Err(GuestError::lost(doing, e)),
        }
    }
}
