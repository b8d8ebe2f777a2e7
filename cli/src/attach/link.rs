//! One WebSocket: a task that shows what comes, and one that sends what goes. Each
//! waits for its own side only, so that output which nobody reads keeps no
//! keystroke from the command.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::screen::Screen;
use super::wire::{Exit, Ready, Said};
use crate::client::socket::Socket;
use crate::client::types::Failure;
use crate::error::Error;
use crate::terminal;

/// The broker pings every 20 s: after two of them missed, the link is dead.
const SILENCE: Duration = Duration::from_secs(45);

/// For the broker to be told that we leave on purpose.
const GOODBYE: Duration = Duration::from_secs(1);

/// Messages on their way to the socket; each is at most one piece of stdin.
const QUEUE: usize = 4;

pub(super) const DOING: &str = "following the command";

/// News from the task that reads.
#[derive(Debug)]
pub(super) enum News {
    /// Nothing is shown before it is answered: whoever sees output may type, and
    /// the terminal has to be the command's by then.
    Ready(Ready, oneshot::Sender<()>),
    /// So much of stdin was taken.
    Stdin(u64),
    /// The last: why there is no more, and the screen for the next link.
    Over(Box<Screen>, Over),
}

#[derive(Debug)]
pub(super) enum Over {
    Exit(Exit),
    /// The link is at fault: it may be tried again.
    Lost(Error),
    /// It may not.
    Failed(Error),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) out: mpsc::Sender<Message>,
    pub(super) news: mpsc::Receiver<News>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Link {
    pub(super) fn new(socket: Socket, screen: Box<Screen>) -> Self {
        let (sink, stream) = socket.split();
        let (out, queue) = mpsc::channel(QUEUE);
        let (tell, news) = mpsc::channel(QUEUE);
        let writer = tokio::spawn(send(sink, queue));
        let reader = tokio::spawn(show(stream, screen, tell));
        Self { out, news, reader, writer }
    }

    /// Leaves on purpose: the broker then need not wait for us to come back.
    pub(super) async fn close(mut self) {
        let (closed, _) = mpsc::channel(1);
        // The writer says goodbye when nobody can send any more.
        self.out = closed;
        let _ = tokio::time::timeout(GOODBYE, &mut self.writer).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

async fn send(mut sink: SplitSink<Socket, Message>, mut queue: mpsc::Receiver<Message>) {
    while let Some(message) = queue.recv().await {
        if sink.send(message).await.is_err() {
            // The reader sees it, too, and says so. What could not be sent is sent
            // again on the next link.
            return;
        }
    }
    let _ = sink.send(Message::Close(None)).await;
}

async fn show(stream: SplitStream<Socket>, screen: Box<Screen>, tell: mpsc::Sender<News>) {
    let mut reader = Reader { stream, screen, told: None };
    let over = loop {
        match reader.one().await {
            Ok(None) => {}
            Ok(Some(Step::Ready(ready))) => {
                let (go_on, answer) = oneshot::channel();
                if tell.send(News::Ready(ready, go_on)).await.is_err() || answer.await.is_err() {
                    return;
                }
            }
            Ok(Some(Step::Stdin(offset))) => {
                if tell.send(News::Stdin(offset)).await.is_err() {
                    return;
                }
            }
            Ok(Some(Step::Exit(exit))) => {
                let finished = reader.screen.finish().await;
                break finished.map_or_else(Over::Failed, |()| Over::Exit(exit));
            }
            Err(error) if may_pass(&error) => break Over::Lost(error),
            Err(error) => break Over::Failed(error),
        }
    };
    // Nobody listens any more once they leave on their own.
    let _ = tell.send(News::Over(reader.screen, over)).await;
}

/// The connection is at fault, or the broker has lost its agent, or is on its way
/// down or up.
pub(super) fn may_pass(error: &Error) -> bool {
    error.is_link() || matches!(error, Error::Api { failure, .. } if failure.code == "unavailable")
}

struct Reader {
    stream: SplitStream<Socket>,
    screen: Box<Screen>,
    /// An error alone is about one message of ours, such as stdin that a command
    /// no longer takes; one before the socket's end is why it ends.
    told: Option<Failure>,
}

enum Step {
    Ready(Ready),
    Stdin(u64),
    Exit(Exit),
}

impl Reader {
    async fn one(&mut self) -> Result<Option<Step>, Error> {
        let message = match tokio::time::timeout(SILENCE, self.stream.next()).await {
            Err(_) => {
                return Err(Error::Late { doing: DOING.to_owned(), seconds: SILENCE.as_secs() });
            }
            Ok(None) => return Err(lost("it ended before the command")),
            Ok(Some(Err(error))) => return Err(lost(error)),
            Ok(Some(Ok(message))) => message,
        };
        match message {
            Message::Binary(frame) => self.screen.show(&frame).await.map(|()| None),
            Message::Text(text) => self.said(&text),
            Message::Close(frame) => Err(self.closed(frame)),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
        }
    }

    fn said(&mut self, text: &str) -> Result<Option<Step>, Error> {
        let said = serde_json::from_str(text)
            .map_err(|e| Error::Answer { doing: DOING.to_owned(), what: e.to_string() })?;
        Ok(match said {
            Said::Ready(ready) => {
                self.screen.begins(ready);
                Some(Step::Ready(ready))
            }
            Said::Gap { from, to } => {
                terminal::say(&format!("postern: output from {from} to {to} is gone"));
                self.screen.at = Some(to);
                None
            }
            Said::Stdin { offset } => Some(Step::Stdin(offset)),
            Said::Exit(exit) => Some(Step::Exit(exit)),
            Said::Error(failure) => {
                self.told = Some(failure);
                None
            }
            Said::Other => None,
        })
    }

    fn closed(&mut self, frame: Option<CloseFrame>) -> Error {
        let Some(frame) = frame else { return lost("the broker closed it") };
        match (frame.code, self.told.take()) {
            (CloseCode::Error | CloseCode::Policy, Some(failure)) => {
                Error::Api { doing: DOING.to_owned(), failure: Box::new(failure) }
            }
            (code, _) => lost(format!("the broker closed it: {code} {}", frame.reason)),
        }
    }
}

fn lost(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Http { doing: DOING.to_owned(), source: source.into() }
}
