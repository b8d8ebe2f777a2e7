//! `postern run IMAGE -- COMMAND`: a session for one command. It ends with the
//! command; the session's teardown goes on behind it.

use super::follow::{self, Leave};
use super::{exec, making, request};
use crate::args::{LimitOptions, Run};
use crate::attach::Ending;
use crate::connect;
use crate::error::Error;
use crate::signals::Signals;
use crate::terminal;

pub(crate) async fn run(args: Run) -> Result<u8, Error> {
    let options = &args.command;
    follow::check_terminal(options.tty, options.interactive)?;
    let mut signals = Signals::take()?;
    let (client, embedded) = connect::or_embed(args.images.as_deref()).await?;
    if args.keep && embedded.is_some() {
        return Err(making::keep_needs_a_daemon());
    }
    let session = making::session(&client, Some(&args.image), &args.session, &mut signals).await?;
    let exec = request::Exec {
        program: exec::program(&args.argv, options.login),
        process: &options.process,
        limits: &LimitOptions::default(),
        stdin: options.interactive,
        tty: options.tty.then(terminal::size),
        followed: true,
    };
    let leave = if embedded.is_some() { Leave::CanNot } else { Leave::May };
    let ended =
        follow::start_and_attend(&client, &session.id, &exec, &options.detach, leave, &mut signals)
            .await;
    if args.keep {
        eprintln!("postern: session {}", session.id);
    } else if embedded.is_none() && !matches!(ended, Ok(Ending::Detached)) {
        making::hand_over(&client, &session.id).await;
    }
    ended.map(follow::code)
}
