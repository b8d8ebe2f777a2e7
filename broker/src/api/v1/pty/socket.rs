//! One socket, from the upgrade to its end.

use axum::extract::ws::{Message, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};

use super::Held;
use super::incoming::{Gone, Incoming};
use super::outgoing::{End, Outgoing};
use super::{frames, incoming};
use crate::core::{CommandInfo, Follower, Session, StdinFeed};

/// Answers to what a client did that wait for it to read; a client that does not
/// read loses the next.
const MAX_ANSWERS: usize = 16;

/// From our last message to the client's own close. Closing at once could cut
/// off what the client has not read yet.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a socket carries.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) session: Session,
    pub(super) command: CommandInfo,
    pub(super) from: u64,
    pub(super) follower: Follower,
    pub(super) feed: Option<StdinFeed>,
    pub(super) claim: Option<Held>,
    pub(super) viewer: bool,
}

/// Carries it. Output and input do not wait for each other: a client that does
/// not read can still send a signal.
pub(super) async fn run(socket: WebSocket, attached: Attached) {
    let Attached { session, command, from, mut follower, mut feed, claim, viewer } = attached;
    let claim = match claim {
        // From here on somebody has seen it, and can come again.
        Some(Held::KeepOnceUp(claim)) => {
            claim.release();
            None
        }
        Some(Held::Kill(claim)) => Some(claim),
        None => None,
    };
    let (mut sink, mut stream) = socket.split();
    let (answers, to_send) = mpsc::channel(MAX_ANSWERS);
    // First the watch, so that nothing taken after `ready` goes untold.
    let progress = feed.as_ref().map(StdinFeed::progress);
    let stdin_offset = feed.as_mut().map_or(command.stdin_offset, StdinFeed::resume);
    let ready = frames::ready(&command, from, stdin_offset);
    let mut incoming = Incoming { session, command_id: command.command_id, feed, viewer, answers };
    let gone = {
        let outgoing =
            Outgoing { sink: &mut sink, follower: &mut follower, answers: to_send, progress };
        tokio::select! {
            end = outgoing.run(ready) => Err(end),
            gone = incoming.run(&mut stream) => Ok(gone),
        }
    };
    match gone {
        Err(End::Exit) => {
            if let Some(claim) = claim {
                claim.release();
            }
            say_goodbye(sink, stream, frames::close(frames::NORMAL, "exit")).await;
        }
        Err(End::Failed(code)) => {
            say_goodbye(sink, stream, frames::close(code, "error")).await;
        }
        Ok(Gone::Unusable(error)) => {
            let told = timeout(FAREWELL, sink.send(frames::error(&error))).await;
            if matches!(told, Ok(Ok(()))) {
                let close = frames::close(frames::POLICY, error.code.row().name);
                say_goodbye(sink, stream, close).await;
            }
        }
        // A viewer who says goodbye does not come again: nothing is held for it.
        Ok(Gone::Left) => {
            follower.leave();
            let _ = timeout(FAREWELL, sink.close()).await;
        }
        Ok(Gone::Vanished) | Err(End::Vanished) => {}
    }
}

async fn say_goodbye(
    mut sink: SplitSink<WebSocket, Message>,
    mut stream: SplitStream<WebSocket>,
    close: Message,
) {
    let goodbye = async {
        if sink.send(close).await.is_ok() {
            incoming::read_away(&mut stream).await;
        }
    };
    // A client that does not answer has had its time.
    let _ = timeout(FAREWELL, goodbye).await;
}
