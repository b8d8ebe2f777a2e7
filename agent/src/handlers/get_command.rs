//! `GetCommand`: one command as it stands.

use postern_proto::{Error, Reply};

use crate::guest::State;

pub(super) fn handle(state: &State, command_id: &str) -> Result<Reply, Error> {
    Ok(Reply::Command(Box::new(state.commands.table.get(command_id)?.info())))
}
