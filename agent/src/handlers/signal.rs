//! `Signal`: to a process, a group or a tree.

use std::rc::Rc;

use postern_proto::{Error, Reply, SignalScope};

use crate::command;
use crate::guest::State;

pub(super) async fn handle(
    state: &Rc<State>,
    command_id: &str,
    signal: u32,
    scope: SignalScope,
) -> Result<Reply, Error> {
    let command = state.commands.table.get(command_id)?;
    let number = i32::try_from(signal)
        .map_err(|_| Error::invalid("signal", format!("{signal} is no signal")))?;
    // A signal that comes while the process is being born is for it, too.
    command.until(|c| !c.is_starting()).await;
    Ok(Reply::Delivered(command::signal(&state.commands, &command, number, scope).await?))
}
