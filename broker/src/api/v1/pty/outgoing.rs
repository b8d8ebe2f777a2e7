//! From the command to the client.

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use super::frames;
use crate::api::error::ApiError;
use crate::core::{
    Code, CommandInfo, CommandState, Error, FollowItem, Follower, Result, StdinWatch,
};

/// Between two pings: three of them are missed before a peer counts as gone.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Between two words about stdin: each keystroke is taken by itself, and a client
/// wants to know it soon, not at once.
const STDIN_WORD_EVERY: Duration = Duration::from_millis(50);

/// How the way out ended.
#[derive(Debug)]
pub(super) enum End {
    /// The command has ended, and its exit was told.
    Exit,
    /// An error was told; close with this code.
    Failed(u16),
    /// The client cannot be written to.
    Vanished,
}

pub(super) struct Outgoing<'a> {
    pub(super) sink: &'a mut SplitSink<WebSocket, Message>,
    pub(super) follower: &'a mut Follower,
    pub(super) answers: mpsc::Receiver<Message>,
    pub(super) progress: Option<StdinWatch>,
}

impl Outgoing<'_> {
    /// Writes until the command or the socket ends. One message at a time: what
    /// the socket does not take is not read from the agent either.
    pub(super) async fn run(mut self, ready: Message) -> End {
        match self.carry(ready).await {
            Ok(end) => end,
            Err(Stop) => End::Vanished,
        }
    }

    async fn carry(&mut self, ready: Message) -> std::result::Result<End, Stop> {
        self.send(ready).await?;
        let mut ping = pings();
        let mut stdin_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                Some(answer) = self.answers.recv() => self.send(answer).await?,
                _ = ping.tick() => self.send(Message::Ping(Bytes::new())).await?,
                offset = taken(&mut self.progress, stdin_at) => {
                    self.send(frames::stdin(offset)).await?;
                    stdin_at = Instant::now() + STDIN_WORD_EVERY;
                }
                item = self.follower.next() => if let Some(end) = self.item(item).await? {
                    return Ok(end);
                }
            }
        }
    }

    async fn item(
        &mut self,
        item: Result<Option<FollowItem>>,
    ) -> std::result::Result<Option<End>, Stop> {
        match item {
            Ok(Some(FollowItem::Data(chunk))) => {
                self.send(frames::output(chunk)).await?;
                Ok(None)
            }
            Ok(Some(FollowItem::Gap { from, to })) => {
                self.send(frames::gap(from, to)).await?;
                Ok(None)
            }
            // All output up to it comes before the last item.
            Ok(Some(FollowItem::Exited(_))) => Ok(None),
            Ok(Some(FollowItem::Closed(info))) => self.ended(&info).await.map(Some),
            Ok(None) => self.failed(broke_off()).await.map(Some),
            Err(error) => self.failed(error).await.map(Some),
        }
    }

    async fn ended(&mut self, info: &CommandInfo) -> std::result::Result<End, Stop> {
        match &info.state {
            CommandState::Exited(exit) => {
                self.send(frames::exit(info, exit)).await?;
                Ok(End::Exit)
            }
            CommandState::Failed(error) => self.failed(Error::from(error.clone())).await,
            // The agent ended the stream of a command that still runs: that is no
            // exit, and must not look like one.
            CommandState::Starting | CommandState::Running => self.failed(broke_off()).await,
        }
    }

    async fn failed(&mut self, error: Error) -> std::result::Result<End, Stop> {
        self.send(frames::error(&ApiError::from(error))).await?;
        Ok(End::Failed(frames::ERROR))
    }

    async fn send(&mut self, message: Message) -> std::result::Result<(), Stop> {
        self.sink.send(message).await.map_err(|_| Stop)
    }
}

/// The socket takes nothing more.
struct Stop;

fn broke_off() -> Error {
    Error::new(Code::Unavailable, "the stream ended before the command")
}

fn pings() -> Interval {
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

/// The next word about stdin, not before `at`. Safe to cancel.
async fn taken(progress: &mut Option<StdinWatch>, at: Instant) -> u64 {
    match progress {
        Some(watch) => {
            sleep_until(at).await;
            watch.next().await
        }
        None => std::future::pending().await,
    }
}
