//! The first words of every connection, and the doorbell.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use postern_proto::hello::GENERATION;
use postern_proto::limits::{HOST_CID, MAX_HELLO_FRAME, MAX_OPEN_FRAME};
use postern_proto::{Hello, Purpose, StreamOpen};

use super::control;
use crate::SOFTWARE;
use crate::guest::State;
use crate::handlers;
use crate::link::{Conn, ConnError};

/// A peer that has not said what it wants by then takes a place from others.
const DEADLINE: Duration = Duration::from_secs(10);

/// Reads the peer's `Hello`, answers, and goes on as it asks.
pub(super) async fn greet(fd: OwnedFd, state: &Rc<State>) -> Result<(), ConnError> {
    let mut conn = Conn::new(fd)?;
    let silent = |_| ConnError::Deadline("its Hello was due");
    let first = tokio::time::timeout(DEADLINE, conn.read_frame(MAX_HELLO_FRAME));
    let Some(frame) = first.await.map_err(silent)?? else {
        return Ok(());
    };
    let theirs = Hello::decode(frame)?;
    match theirs.purpose {
        Purpose::Control => {
            let seat = state.take_control(theirs.epoch);
            let refusal = seat.as_ref().err().cloned();
            conn.write_all(&encode(&ours(state, &theirs, refusal))?).await?;
            match seat {
                Ok(seat) => control::serve(conn, state, &seat).await,
                Err(_) => Ok(()),
            }
        }
        Purpose::Stream => {
            conn.write_all(&encode(&ours(state, &theirs, None))?).await?;
            let silent = |_| ConnError::Deadline("its StreamOpen was due");
            let open = tokio::time::timeout(DEADLINE, conn.read_frame(MAX_OPEN_FRAME));
            let Some(frame) = open.await.map_err(silent)?? else {
                return Ok(());
            };
            let open = StreamOpen::decode(frame)?;
            // A process may wait for this reader, whose host was killed and whose stream
            // is not known to be cut (vhost-device-vsock does not always tell).
            let waited_for = matches!(open, StreamOpen::Follow(_));
            tokio::select! {
                served = handlers::open_stream(conn, open, state) => served,
                () = state.succeeded(theirs.epoch), if waited_for => Ok(()),
            }
        }
    }
}

fn ours(state: &State, theirs: &Hello, refusal: Option<postern_proto::Error>) -> Hello {
    Hello {
        generation: GENERATION,
        features: 0,
        software: SOFTWARE.to_owned(),
        purpose: theirs.purpose,
        epoch: theirs.epoch,
        boot_id: state.boot_id().to_owned(),
        instance_id: state.instance_id().to_owned(),
        refusal,
    }
}

fn encode(hello: &Hello) -> Result<BytesMut, ConnError> {
    let mut frame = BytesMut::new();
    hello.encode(&mut frame)?;
    Ok(frame)
}

/// Tells the host that the agent listens: it saves the host polling. Nobody may
/// be there to hear it, and that is no fault.
pub(super) async fn ring_doorbell(port: Option<u32>) {
    let Some(port) = port else { return };
    // Connecting can take long where nobody listens, and has no async form here.
    let ring = std::thread::Builder::new().stack_size(32 << 10).spawn(move || {
        let _ = crate::sys::net::vsock_connect(HOST_CID, port);
    });
    drop(ring);
}
