//! `postern shell [SESSION]`: the user's login shell on this terminal, in the
//! newest session, or in a new one that ends with it.

use super::follow::{self, Leave};
use super::request::{self, Program};
use super::{making, resolve};
use crate::args::{LimitOptions, Shell};
use crate::attach::Ending;
use crate::client::Client;
use crate::connect;
use crate::error::Error;
use crate::signals::Signals;
use crate::terminal;

pub(crate) async fn run(args: Shell) -> Result<u8, Error> {
    if args.target.is_some() && args.options.any() {
        return Err(Error::usage("what a session is given is for a new one: name none"));
    }
    if !terminal::is_typed() {
        return Err(Error::Usage {
            message: "the input device is not a terminal".to_owned(),
            hint: Some("`postern exec -i SESSION -- sh` runs what is piped into it"),
        });
    }
    let mut signals = Signals::take()?;
    let (client, embedded) = connect::or_embed(args.images.as_deref()).await?;
    if args.keep && embedded.is_some() {
        return Err(making::keep_needs_a_daemon());
    }
    let there = found(&client, &args).await?;
    let made = there.is_none();
    let session = match there {
        Some(id) => id,
        None => {
            let image = args.image.as_deref();
            making::session(&client, image, &args.options, &mut signals).await?.id
        }
    };
    if args.keep && made {
        eprintln!("postern: session {session}");
    }
    let exec = request::Exec {
        program: Program::Login(&[]),
        process: &args.process,
        limits: &LimitOptions::default(),
        stdin: true,
        tty: Some(terminal::size()),
        followed: true,
    };
    let leave = if embedded.is_some() { Leave::CanNot } else { Leave::May };
    let ended =
        follow::start_and_attend(&client, &session, &exec, &args.detach, leave, &mut signals).await;
    let goes = made && !args.keep && !matches!(ended, Ok(Ending::Detached));
    if goes && embedded.is_none() {
        making::hand_over(&client, &session).await;
    }
    ended.map(follow::code)
}

/// The session that is meant; None if there has to be a new one.
async fn found(client: &Client, args: &Shell) -> Result<Option<String>, Error> {
    if let Some(given) = &args.target {
        return resolve::session(client, given).await.map(Some);
    }
    if args.image.is_some() || args.keep || args.options.any() {
        return Ok(None);
    }
    let sessions = client.sessions().await?.into_iter();
    let running = sessions.filter(|session| session.status == "running");
    // RFC 3339 in UTC sorts as time does.
    let newest = running.max_by(|a, b| a.created_at.cmp(&b.created_at));
    if let Some(session) = &newest {
        eprintln!("postern: session {} ({})", session.id, session.image);
    }
    Ok(newest.map(|session| session.id))
}
