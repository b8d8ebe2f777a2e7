//! What `run`, `exec` and `shell` have in common: a command is started and
//! attended to, on a terminal or not.

use super::request;
use crate::args::DetachOptions;
use crate::attach::{Attach, Ending, Stdin};
use crate::client::Client;
use crate::error::Error;
use crate::signals::Signals;
use crate::terminal;
use crate::terminal::keys::DetachKeys;

/// Before anything is made for it: whether a command can be on a terminal here.
pub(super) fn check_terminal(tty: bool, stdin: bool) -> Result<(), Error> {
    if tty && stdin && !terminal::is_typed() {
        return Err(Error::not_a_terminal());
    }
    Ok(())
}

/// Whether the command may be left running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    May,
    /// Its broker ends with this call: the keys are the command's.
    CanNot,
}

/// Starts a command and stays with it.
pub(super) async fn start_and_attend(
    client: &Client,
    session: &str,
    exec: &request::Exec<'_>,
    detach: &DetachOptions,
    leave: Leave,
    signals: &mut Signals,
) -> Result<Ending, Error> {
    let started = client.start(session, &exec.body()).await?;
    let keys = match leave {
        Leave::May if exec.tty.is_some() => detach.keys(),
        _ => DetachKeys::none(),
    };
    let attach = Attach {
        client: client.clone(),
        session: session.to_owned(),
        command: started.command_id,
        from: Some(0),
        stdin: if exec.stdin { Stdin::Whole } else { Stdin::Nothing },
        detach_keys: keys,
        ours: true,
    };
    let (session, command) = (attach.session.clone(), attach.command.clone());
    let ending = attach.attend(signals).await?;
    if ending == Ending::Detached {
        tell_the_way_back(&session, &command);
    }
    Ok(ending)
}

/// How to come back, once the terminal is ours again.
pub(super) fn tell_the_way_back(session: &str, command: &str) {
    eprintln!("\npostern: left running; come back with: postern attach {session} {command}");
}

/// As a shell counts.
pub(super) fn code(ending: Ending) -> u8 {
    match ending {
        Ending::Exited(code) => code,
        Ending::Detached => 0,
        Ending::SentAway(signal) => 128 + signal,
    }
}
