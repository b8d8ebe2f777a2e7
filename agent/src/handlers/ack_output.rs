//! `AckOutput`: nothing from here on may be dropped.

use postern_proto::{Error, Reply};

use crate::guest::State;

pub(super) fn handle(state: &State, command_id: &str, offset: u64) -> Result<Reply, Error> {
    let command = state.commands.table.get(command_id)?;
    let end = command.log.borrow().end();
    if offset > end {
        let message = format!("offset {offset} is beyond the output's end, {end}");
        return Err(Error::new(postern_proto::Code::OutOfRange, message));
    }
    command.log.borrow_mut().ack(offset);
    command.room.notify_waiters();
    Ok(Reply::Done)
}
