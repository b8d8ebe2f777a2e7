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

/// Refuses new commands, then TERM, grace, KILL for those that run; in the place
/// of TERM the signal that a command was started with, as docker stop does it.
pub(crate) async fn end_commands(state: &Rc<State>, grace: Duration) {
    if !state.refuse() {
        return;
    }
    let live = state.commands.table.live();
    signal_all(state, &live, stop).await;
    until_over(&live, grace).await;
    signal_all(state, &live, |_| (libc::SIGKILL, SignalScope::Tree)).await;
    until_over(&live, LAST_WORDS).await;
}

/// A signal of its own means something to the first process only: SIGQUIT would
/// kill the helpers of a server that it asks to finish.
fn stop(command: &command::Command) -> (i32, SignalScope) {
    match command.stop_signal() {
        Some(signal) => (signal, SignalScope::Process),
        None => (libc::SIGTERM, SignalScope::Tree),
    }
}

async fn signal_all(
    state: &Rc<State>,
    live: &[Rc<command::Command>],
    which: impl Fn(&command::Command) -> (i32, SignalScope),
) {
    for command in live.iter().filter(|c| !c.is_final()) {
        let (signal, scope) = which(command);
        let _ = command::signal(&state.commands, command, signal, scope).await;
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
