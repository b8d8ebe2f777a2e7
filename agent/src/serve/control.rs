//! The control connection: requests in, replies and events out.

use std::rc::Rc;

use postern_proto::limits::MAX_CONTROL_FRAME;
use postern_proto::{Code, Error, FromAgent, Reply, Request};
use tokio::task::JoinSet;

use crate::guest::{Seat, State};
use crate::handlers;
use crate::link::{Conn, ConnError, Outbox};

/// Requests that wait for something at once; the host's own calls are fewer.
const MAX_IN_FLIGHT: usize = 8_192;

/// Serves until the host ends, breaks the protocol, or is fenced by another.
pub(super) async fn serve(conn: Conn, state: &Rc<State>, seat: &Seat) -> Result<(), ConnError> {
    let (reader, writer) = conn.split();
    let outbox = Outbox::new(writer);
    state.set_outbox(seat, &outbox);
    // Dropped at the end, and the waiting handlers with it.
    let mut in_flight = JoinSet::new();
    let read = read(reader, state, &outbox, &mut in_flight);
    tokio::select! {
        result = read => result,
        result = outbox.run() => result,
        () = seat.fenced() => Ok(()),
    }
}

async fn read(
    mut conn: Conn,
    state: &Rc<State>,
    outbox: &Rc<Outbox>,
    in_flight: &mut JoinSet<()>,
) -> Result<(), ConnError> {
    while let Some(frame) = conn.read_frame(MAX_CONTROL_FRAME).await? {
        let (id, request) = Request::decode(frame)?;
        while in_flight.try_join_next().is_some() {}
        if in_flight.len() >= MAX_IN_FLIGHT {
            let error = Error::new(Code::ResourceExhausted, "too many requests are waiting");
            outbox.send(&FromAgent::Reply { id, reply: Reply::Error(error) });
            continue;
        }
        let (state, outbox) = (Rc::clone(state), Rc::clone(outbox));
        in_flight.spawn_local(async move {
            let reply = handlers::handle(&state, request).await.unwrap_or_else(Reply::Error);
            outbox.send(&FromAgent::Reply { id, reply });
        });
    }
    Ok(())
}
