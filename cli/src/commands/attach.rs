//! `postern attach [SESSION] COMMAND`: back to a command that runs, with what it
//! wrote meanwhile.

use super::{follow, resolve};
use crate::args;
use crate::attach::{Attach, Ending, Stdin};
use crate::client::types::Command;
use crate::connect;
use crate::error::Error;
use crate::signals::Signals;

pub(crate) async fn run(args: args::Attach) -> Result<u8, Error> {
    let mut signals = Signals::take()?;
    let client = connect::daemon().await?;
    let command = match args.ids.as_slice() {
        [session, command] => {
            let session = resolve::session(&client, session).await?;
            resolve::command_in(&client, &[session], command).await?
        }
        [command] => {
            let sessions = client.sessions().await?.into_iter();
            let running = sessions.filter(|session| session.status == "running");
            let ids: Vec<_> = running.map(|session| session.id).collect();
            resolve::command_in(&client, &ids, command).await?
        }
        _ => return Err(Error::usage("give a session and a command, or a command alone")),
    };
    let stdin = stdin(&args, &command)?;
    let attach = Attach {
        client,
        session: command.session_id.clone(),
        command: command.command_id.clone(),
        from: args.from,
        stdin,
        detach_keys: args.detach.keys(),
        ours: false,
    };
    let ending = attach.attend(&mut signals).await?;
    if !matches!(ending, Ending::Exited(_)) {
        follow::tell_the_way_back(&command.session_id, &command.command_id);
    }
    Ok(follow::code(ending))
}

/// A command that takes no stdin is only looked at.
fn stdin(args: &args::Attach, command: &Command) -> Result<Stdin, Error> {
    if args.no_stdin || !command.stdin_open {
        return Ok(Stdin::Nothing);
    }
    follow::check_terminal(command.tty.is_some() && !command.is_over(), true)?;
    Ok(Stdin::FromNow)
}
