//! `LeaveOutput`: a lossless reader is gone, whatever its stream says.

use std::time::Instant;

use postern_proto::{Error, Reply};

use crate::command::READER_GRACE;
use crate::guest::State;

pub(super) fn handle(
    state: &State,
    command_id: &str,
    reader: u64,
    for_good: bool,
) -> Result<Reply, Error> {
    let command = state.commands.table.get(command_id)?;
    let until = (!for_good).then(|| Instant::now() + READER_GRACE);
    command.log.borrow_mut().left(reader, until);
    // There may be room now, or the pumps have a new deadline to learn of.
    command.room.notify_waiters();
    Ok(Reply::Done)
}
