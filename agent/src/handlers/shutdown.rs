//! `Shutdown`: everything ends, in order and in time.

use std::rc::Rc;
use std::time::Duration;

use postern_proto::{Error, Reply, SignalScope};
use tokio::time::Instant;

use crate::command;
use crate::guest::State;

/// The most that a caller may ask for between TERM and KILL.
const MAX_GRACE: Duration = Duration::from_secs(60);

/// After KILL the kernel needs a moment; and the answer has to leave.
const LAST_WORDS: Duration = Duration::from_millis(500);

pub(super) async fn handle(state: &Rc<State>, grace_ms: u64) -> Result<Reply, Error> {
    end_commands(state, Duration::from_millis(grace_ms).min(MAX_GRACE)).await;
    let state = Rc::clone(state);
    tokio::task::spawn_local(async move {
        // The reply goes out first; a reader of a log has the moment, too.
        tokio::time::sleep(Duration::from_millis(20)).await;
        state.finish();
    });
    Ok(Reply::Done)
}

/// Refuses new commands, then TERM, grace, KILL for those that run.
pub(crate) async fn end_commands(state: &Rc<State>, grace: Duration) {
    if !state.refuse() {
        return;
    }
    let live = state.commands.table.live();
    signal_all(state, &live, libc::SIGTERM).await;
    until_over(&live, grace).await;
    signal_all(state, &live, libc::SIGKILL).await;
    until_over(&live, LAST_WORDS).await;
}

async fn signal_all(state: &Rc<State>, live: &[Rc<command::Command>], signal: i32) {
    for command in live.iter().filter(|c| !c.is_final()) {
        let _ = command::signal(&state.commands, command, signal, SignalScope::Tree).await;
    }
}

async fn until_over(live: &[Rc<command::Command>], time: Duration) {
    let deadline = Instant::now() + time;
    for command in live {
        let over = command.until(command::Command::is_final);
        if tokio::time::timeout_at(deadline, over).await.is_err() {
            return;
        }
    }
}
