//! `ListCommands`: a page of what the agent remembers.

use postern_proto::Reply;

use crate::guest::State;

pub(super) fn handle(state: &State, after: &str, limit: u32) -> Reply {
    let (commands, more) = state.commands.table.page(after, limit);
    Reply::Commands { commands, more }
}
