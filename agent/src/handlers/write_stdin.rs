//! `WriteStdin`: bytes for a process, exactly once.

use postern_proto::limits::MAX_STDIN_WRITE;
use postern_proto::{Error, Reply, WriteStdin};

use crate::guest::State;

pub(super) fn handle(state: &State, write: &WriteStdin) -> Result<Reply, Error> {
    if write.data.len() > MAX_STDIN_WRITE {
        let message = format!("{} bytes, the cap is {MAX_STDIN_WRITE}", write.data.len());
        return Err(Error::invalid("data", message));
    }
    let command = state.commands.table.get(&write.command_id)?;
    let result = command.stdin.borrow_mut().write(write.offset, &write.data, write.eof);
    command.stdin_changed.notify_waiters();
    Ok(Reply::Stdin(result?))
}
