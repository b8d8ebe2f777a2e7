//! `postern exec SESSION -- COMMAND`: a command in a session that is there.

use super::follow::{self, Leave};
use super::request::{self, Program};
use super::resolve;
use crate::args::Exec;
use crate::connect;
use crate::error::Error;
use crate::signals::Signals;
use crate::terminal;

pub(crate) async fn run(args: Exec) -> Result<u8, Error> {
    let options = &args.command;
    follow::check_terminal(options.tty && !args.detach, options.interactive)?;
    let mut signals = Signals::take()?;
    // Without a daemon the call's own broker answers: it knows the sessions that
    // outlived their broker, once there is a store of them.
    let (client, embedded) = connect::or_embed(None).await?;
    let session = resolve::session(&client, &args.session).await?;
    let exec = request::Exec {
        program: program(&args.argv, options.login),
        process: &options.process,
        limits: &args.limits,
        stdin: options.interactive,
        tty: options.tty.then(terminal::size),
        followed: !args.detach,
    };
    let no_daemon = embedded.is_some();
    if args.detach {
        let started = client.start(&session, &exec.body()).await;
        println!("{}", started.map_err(|e| explain(e, &session, no_daemon))?.command_id);
        return Ok(0);
    }
    let leave = if no_daemon { Leave::CanNot } else { Leave::May };
    let ending =
        follow::start_and_attend(&client, &session, &exec, &options.detach, leave, &mut signals);
    ending.await.map(follow::code).map_err(|e| explain(e, &session, no_daemon))
}

/// The words of the command line as what is started.
pub(super) fn program(argv: &[String], login: bool) -> Program<'_> {
    if login { Program::Login(argv) } else { Program::Argv(argv) }
}

fn explain(error: Error, session: &str, no_daemon: bool) -> Error {
    match error {
        Error::Api { failure, .. } if no_daemon && failure.code == "not_found" => Error::Usage {
            message: format!("there is no session {session}, and no daemon that could have it"),
            hint: Some(
                "`postern serve --allow-anonymous` starts one; POSTERN_URL points to another",
            ),
        },
        other => other,
    }
}
