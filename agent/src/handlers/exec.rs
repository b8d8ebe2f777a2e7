//! `Exec`: start a command, and perhaps wait for its end.

use std::rc::Rc;

use postern_proto::limits::MAX_INLINE_OUTPUT;
use postern_proto::{CommandState, Error, Exec, ExecResult, OutputChunk, Reply};

use super::follow::Hold;
use super::read_output::chunks;
use crate::command::{Command, check, fail, prepare, start};
use crate::guest::State;

pub(super) async fn handle(state: &Rc<State>, exec: Exec) -> Result<Reply, Error> {
    let limit = (exec.inline_limit as usize).min(MAX_INLINE_OUTPUT);
    let wish = Wish { wait: exec.wait, lossless: exec.lossless, limit };
    if let Some(command) = state.commands.table.existing(&exec) {
        return answer(&command, wish, true).await;
    }
    check(&exec)?;
    let session = state.session()?;
    let command = state.commands.table.insert(&exec)?;
    let starting = {
        let (state, command) = (Rc::clone(state), Rc::clone(&command));
        // A task of its own: the caller may go away, the start goes through.
        tokio::task::spawn_local(async move {
            match prepare(&session, &exec) {
                Ok(prepared) => {
                    command.resolved(prepared.cwd(), prepared.user());
                    start(&state.commands, &command, prepared).await;
                }
                Err(error) => fail(&state.commands, &command, error),
            }
        })
    };
    let _ = starting.await;
    answer(&command, wish, false).await
}

/// How the caller wants its answer.
#[derive(Clone, Copy)]
struct Wish {
    wait: bool,
    lossless: bool,
    limit: usize,
}

/// With `wait`: at the exit, or once there is more output than the reply may
/// carry. A start that failed is an error in either case.
async fn answer(command: &Rc<Command>, wish: Wish, existing: bool) -> Result<Reply, Error> {
    // While it waits, the caller is the lossless reader; what the reply does not
    // carry it has a grace to come for.
    let mut hold = Hold::new(command, (wish.wait && wish.lossless).then_some(0), 0);
    if wish.wait {
        let _awaited = command.awaited();
        command.until(|c| c.is_final() || is_more(c, wish.limit)).await;
    } else {
        // One that was asked for before may still be on its way.
        command.until(|c| !c.is_starting()).await;
    }
    let info = command.info();
    if let CommandState::Failed(error) = info.state {
        hold.release();
        return Err(error);
    }
    let mut output: Vec<OutputChunk> = Vec::new();
    if wish.wait {
        let log = command.log.borrow();
        let cursor = log.cursor(0, None);
        output = cursor.map_or_else(Vec::new, |mut c| chunks(&log, &mut c, wish.limit));
    }
    if info.closed && output.iter().map(|c| c.data.len() as u64).sum::<u64>() == info.output_end {
        hold.release();
    }
    drop(hold);
    Ok(Reply::Exec(Box::new(ExecResult { command: info, output, existing })))
}

/// More than the reply may carry, or a log that waits for its reader.
fn is_more(command: &Command, limit: usize) -> bool {
    let log = command.log.borrow();
    log.end() > limit as u64 || log.room() == 0
}
