//! `GET /v1/sessions/{id}/pty`: a command's terminal, or its pipes, as a WebSocket.
//! `docs/pty.md` is the contract.
//!
//! ```text
//! request ──► command started or found ──► output cursor, stdin feed ──► upgrade
//!                                               │                          │
//!                                               └──────► socket ◄──────────┘
//! ```
//!
//! Everything that can fail does so before the upgrade, as an HTTP error.

mod frames;
mod incoming;
mod modes;
mod outgoing;
mod request;
mod socket;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;

use self::request::{Asked, Target};
use self::socket::Attached;
use crate::api::error::ApiError;
use crate::api::extract::{Params, Query};
use crate::core::{
    Broker, Claim, Code, CommandInfo, FollowOptions, OnDisconnect, Session, StdinFeed,
};

/// The largest message from a client. A paste is smaller, and bulk comes in
/// pieces anyway.
const MAX_MESSAGE: usize = 1 << 20;

/// What a socket reads at once: thousands of idle ones must cost little.
const READ_BUFFER: usize = 16 << 10;

/// What may wait in the broker for a client that does not read: one message of
/// output, which is a quarter of this at the most, and the small ones.
const MAX_WRITE_BUFFER: usize = 1 << 20;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(id): Params<String>,
    query: Query,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let asked = request::parse(&query)?;
    let session = broker.session(&id)?;
    let upgrade = upgrade.map_err(|rejection| {
        let message = format!("this path is a WebSocket: {}", rejection.body_text());
        ApiError::invalid("upgrade", message)
    })?;
    let attached = attach(session, asked).await?;
    Ok(upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .on_upgrade(move |socket| socket::run(socket, attached)))
}

async fn attach(session: Session, asked: Asked) -> Result<Attached, ApiError> {
    let (command, claim, started) = match asked.target {
        Target::Start(request) => {
            let command = session.exec(*request).await?.info;
            // Whatever its mode: a command whose socket never came is ended.
            let claim = session.claim(&command.command_id)?;
            (command, Some(claim), true)
        }
        Target::Attach(command_id) => {
            let command = session.command(&command_id).await?;
            let claim = session.claim_again(&command)?;
            (command, claim, false)
        }
    };
    let options = FollowOptions {
        from: asked.from.unwrap_or(command.output_first),
        lossless: asked.lossless,
        until_exit: true,
        ..FollowOptions::default()
    };
    let follower = session.follow(&command.command_id, options).await?;
    let feed = if asked.viewer { None } else { feed(&session, &command, asked.stdin_from).await? };
    let claim = claim.map(|claim| keep_or_kill(claim, &command, started));
    Ok(Attached {
        session,
        command,
        from: options.from,
        follower,
        feed,
        claim,
        viewer: asked.viewer,
    })
}

/// None where stdin takes nothing, unless the caller counts on it.
async fn feed(
    session: &Session,
    command: &CommandInfo,
    from: Option<u64>,
) -> Result<Option<StdinFeed>, ApiError> {
    if from.is_none() && !command.stdin_open {
        return Ok(None);
    }
    match session.feed_stdin(&command.command_id, from).await {
        Ok(feed) => Ok(Some(feed)),
        // It ended since it was looked at.
        Err(error) if error.code == Code::FailedPrecondition && from.is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the socket holds of its command.
#[derive(Debug)]
enum Held {
    /// The command is ended when its socket goes.
    Kill(Claim),
    /// It goes on once the socket was there.
    KeepOnceUp(Claim),
}

fn keep_or_kill(claim: Claim, command: &CommandInfo, started: bool) -> Held {
    match command.on_disconnect {
        OnDisconnect::Keep if started => Held::KeepOnceUp(claim),
        _ => Held::Kill(claim),
    }
}
