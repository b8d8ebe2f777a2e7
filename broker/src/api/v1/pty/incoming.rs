//! From the client to the command.

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::sync::mpsc;
use tokio::time::{Duration, timeout};

use super::frames::{self, Control};
use crate::api::error::ApiError;
use crate::core::{Code, Session, StdinFeed};

/// A client that neither sends nor answers pings for this long is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Why nothing more comes from a client.
#[derive(Debug)]
pub(super) enum Gone {
    /// It closed the socket in order.
    Left,
    /// Its connection broke, or it fell silent.
    Vanished,
    /// What it sends is no use.
    Unusable(ApiError),
}

pub(super) struct Incoming {
    pub(super) session: Session,
    pub(super) command_id: String,
    /// None where stdin takes nothing.
    pub(super) feed: Option<StdinFeed>,
    pub(super) viewer: bool,
    pub(super) answers: mpsc::Sender<Message>,
}

impl Incoming {
    /// Takes messages until the client is gone. stdin waits for the process; what
    /// comes behind it on the same socket waits with it.
    pub(super) async fn run(&mut self, stream: &mut SplitStream<WebSocket>) -> Gone {
        loop {
            let message = match timeout(SILENCE, stream.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return unusable_or_broken(&error),
                Ok(None) | Err(_) => return Gone::Vanished,
            };
            let done = match message {
                Message::Binary(data) => self.stdin(data).await,
                Message::Text(text) => match Control::parse(&text) {
                    Ok(control) => self.control(control).await,
                    Err(error) => Err(error),
                },
                // The library answers pings.
                Message::Ping(_) | Message::Pong(_) => Ok(()),
                Message::Close(_) => return Gone::Left,
            };
            if let Err(error) = done {
                self.tell(&error);
            }
        }
    }

    async fn stdin(&mut self, data: Bytes) -> Result<(), ApiError> {
        self.not_a_viewer()?;
        match &mut self.feed {
            Some(feed) => Ok(feed.write(data).await?),
            None => Err(ApiError::new(Code::FailedPrecondition, "stdin takes nothing")),
        }
    }

    async fn control(&mut self, control: Control) -> Result<(), ApiError> {
        match control {
            Control::Ack(offset) => Ok(self.session.ack(&self.command_id, offset).await?),
            Control::Resize(size) => {
                self.not_a_viewer()?;
                Ok(self.session.resize(&self.command_id, size).await?)
            }
            Control::Signal(signal, scope) => {
                self.not_a_viewer()?;
                self.session.signal(&self.command_id, signal, scope).await?;
                Ok(())
            }
            Control::Eof => {
                self.not_a_viewer()?;
                self.end_stdin()
            }
        }
    }

    /// In a task: the end waits for all bytes before it, and a signal must not
    /// wait for that. It goes on without the socket.
    fn end_stdin(&mut self) -> Result<(), ApiError> {
        let Some(mut feed) = self.feed.take() else {
            return Err(ApiError::new(Code::FailedPrecondition, "stdin takes nothing"));
        };
        let answers = self.answers.clone();
        tokio::spawn(async move {
            if let Err(error) = feed.finish(true).await {
                // A client that does not read, or is gone, misses it.
                let _ = answers.try_send(frames::error(&error.into()));
            }
        });
        Ok(())
    }

    fn not_a_viewer(&self) -> Result<(), ApiError> {
        match self.viewer {
            true => Err(ApiError::new(Code::PermissionDenied, "this socket is a viewer's")),
            false => Ok(()),
        }
    }

    fn tell(&self, error: &ApiError) {
        // A client that does not read its answers misses the next.
        let _ = self.answers.try_send(frames::error(error));
    }
}

/// A message over the cap or against the protocol, or a connection that broke.
fn unusable_or_broken(error: &axum::Error) -> Gone {
    use std::error::Error;
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    if text.contains("too long") || text.contains("too big") {
        return Gone::Unusable(ApiError::too_large(format!(
            "a message is over {} bytes: send stdin in pieces",
            super::MAX_MESSAGE
        )));
    }
    tracing::debug!(why = text, "a terminal's socket broke");
    Gone::Vanished
}

/// Reads until the client has closed.
pub(super) async fn read_away(stream: &mut SplitStream<WebSocket>) {
    while let Some(Ok(_)) = stream.next().await {}
}
