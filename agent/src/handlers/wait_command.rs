//! `WaitCommand`: the exit, the end of the log, or the end of patience.

use std::time::Duration;

use postern_proto::{Error, Reply};

use crate::guest::State;

pub(super) async fn handle(
    state: &State,
    command_id: &str,
    timeout_ms: Option<u64>,
    until_closed: bool,
) -> Result<Reply, Error> {
    let command = state.commands.table.get(command_id)?;
    let _awaited = command.awaited();
    let over = command.until(|c| if until_closed { c.is_closed() } else { c.is_final() });
    match timeout_ms {
        None => over.await,
        // What there is by then is the answer.
        Some(ms) => drop(tokio::time::timeout(Duration::from_millis(ms), over).await),
    }
    Ok(Reply::Command(Box::new(command.info())))
}
