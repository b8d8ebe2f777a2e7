//! `ResizeTty`: the size of a command's terminal.

use std::rc::Rc;

use postern_proto::{Error, Reply, TtySize};

use crate::guest::State;

pub(super) async fn handle(
    state: &Rc<State>,
    command_id: &str,
    size: TtySize,
) -> Result<Reply, Error> {
    let command = state.commands.table.get(command_id)?;
    // One that comes while the process is being born is for its terminal, too.
    command.until(|c| !c.is_starting()).await;
    command.terminal.resize(size)?;
    Ok(Reply::Done)
}
