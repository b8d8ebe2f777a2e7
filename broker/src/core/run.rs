//! Running a command to its exit, and its output with it.
//!
//! One round trip for a short command: the reply brings exit and output. What
//! is longer goes on as a lossless follower from where the reply ended, up to
//! the caller's cap; beyond it the hold is lifted and only the exit awaited.

use bytes::{Bytes, BytesMut};
use postern_proto::{CommandInfo, CommandState, Follow, OnDisconnect, OutputChunk};

use super::abandon::Caller;
use super::{ExecRequest, Finished, Result, Session, Started};
use crate::guest::{FollowItem, FollowStream, Guest, GuestError};

/// The most output in the reply itself. From about this size on a stream, whose
/// payload passes no protobuf, is cheaper than its set-up.
const INLINE: usize = 64 << 10;

/// Starts a command.
pub(super) async fn start(session: &Session, request: ExecRequest) -> Result<Started> {
    let guest = session.guest()?;
    let exec = request.to_exec(session.command_id(&guest), OnDisconnect::Keep)?;
    let instance = session.claim_key(&guest, &exec)?;
    let result = guest.exec_by(exec, instance).await?;
    session.key_is_for(&result.command);
    Ok(Started { info: started(result.command)?, existing: result.existing })
}

/// Runs a command to its exit.
pub(super) async fn run(session: &Session, request: ExecRequest, cap: usize) -> Result<Finished> {
    let guest = session.guest()?;
    let mut exec = request.to_exec(session.command_id(&guest), OnDisconnect::Kill)?;
    exec.wait = true;
    exec.lossless = true;
    exec.inline_limit = u32::try_from(INLINE.min(cap)).unwrap_or(u32::MAX);
    let instance = session.claim_key(&guest, &exec)?;
    let kill = exec.on_disconnect == OnDisconnect::Kill;
    // Noted before the request leaves: from then on the command may exist.
    let mut caller = kill
        .then(|| session.callers().enter(guest.clone(), &exec.idempotency_key, &exec.command_id));
    let result = match guest.exec_by(exec, instance).await {
        Ok(result) => result,
        // The agent has answered that there is no command.
        Err(answered @ GuestError::Agent(_)) => {
            done(caller);
            return Err(answered.into());
        }
        Err(unknown) => return Err(unknown.into()),
    };
    session.key_is_for(&result.command);
    if let Some(caller) = &mut caller {
        caller.is_about(&result.command.command_id);
    }
    let info = match started(result.command) {
        Ok(info) => info,
        Err(failed) => {
            done(caller);
            return Err(failed);
        }
    };
    let mut output = Collected::new(cap);
    result.output.into_iter().for_each(|chunk| output.push(chunk));
    let info = if info.state.is_final() && output.next >= info.output_end {
        info
    } else {
        session.explain(&info.command_id, &guest, to_exit(&guest, &info, &mut output).await)?
    };
    done(caller);
    output.flush();
    Ok(Finished {
        truncated: output.full || output.next < info.output_end,
        info,
        chunks: output.chunks,
        gaps: output.gaps,
        existing: result.existing,
    })
}

async fn to_exit(
    guest: &Guest,
    info: &CommandInfo,
    output: &mut Collected,
) -> Result<CommandInfo, GuestError> {
    if !output.full {
        let request = Follow {
            command_id: info.command_id.clone(),
            from: output.next,
            lossless: true,
            until_exit: true,
            ..Follow::default()
        };
        let mut follower = FollowStream::open(guest.clone(), request).await?;
        while let Some(item) = follower.next().await? {
            match item {
                FollowItem::Data(chunk) => output.push(chunk),
                FollowItem::Gap { from, to } => output.gap(from, to),
                FollowItem::Exited(info) if output.next >= info.output_end => return Ok(*info),
                FollowItem::Exited(_) => {}
                FollowItem::Closed(info) => return Ok(*info),
            }
            if output.full {
                follower.leave();
                break;
            }
        }
    }
    guest.wait(&info.command_id, false, None).await
}

/// The caller has its answer, so nothing is ended behind it.
fn done(caller: Option<Caller>) {
    if let Some(caller) = caller {
        caller.done();
    }
}

/// A start that failed is an error, with its stage and errno.
fn started(info: CommandInfo) -> Result<CommandInfo> {
    match info.state {
        CommandState::Failed(failure) => Err(failure.into()),
        _ => Ok(info),
    }
}

/// Pieces up to this size are joined with their neighbours: a command that
/// writes byte by byte must not cost a hundred bytes for each, nor keep a large
/// read buffer alive for it.
const SMALL: usize = 16 << 10;

/// The most pieces. Only output that changes between stdout and stderr at every
/// few bytes reaches it; it counts as cut off there.
const MAX_CHUNKS: usize = 128 << 10;

/// The most gaps that are named; a flood that outruns its reader makes many,
/// and the first ones tell what happened.
const MAX_GAPS: usize = 1000;

/// Output up to a cap.
#[derive(Debug)]
struct Collected {
    chunks: Vec<OutputChunk>,
    /// Small pieces that follow the last chunk, without their bytes.
    tail: Option<OutputChunk>,
    tail_bytes: BytesMut,
    gaps: Vec<(u64, u64)>,
    /// Where the next byte is due.
    next: u64,
    room: usize,
    /// A byte did not fit.
    full: bool,
}

impl Collected {
    fn new(cap: usize) -> Self {
        Self {
            chunks: Vec::new(),
            tail: None,
            tail_bytes: BytesMut::new(),
            gaps: Vec::new(),
            next: 0,
            room: cap,
            full: false,
        }
    }

    fn push(&mut self, mut chunk: OutputChunk) {
        if self.full {
            return;
        }
        if chunk.offset > self.next {
            self.gap(self.next, chunk.offset);
        }
        if chunk.data.len() > self.room {
            self.full = true;
            chunk.data.truncate(self.room);
        }
        self.room -= chunk.data.len();
        self.next = chunk.offset.saturating_add(chunk.data.len() as u64);
        if !chunk.data.is_empty() {
            self.keep(chunk);
        }
    }

    fn keep(&mut self, chunk: OutputChunk) {
        let held = self.tail_bytes.len() as u64;
        let goes_on = self.tail.as_ref().is_some_and(|tail| {
            tail.stream == chunk.stream
                && tail.offset + held == chunk.offset
                && tail.stream_offset + held == chunk.stream_offset
        });
        if chunk.data.len() <= SMALL {
            if !goes_on {
                self.flush();
                self.tail = Some(OutputChunk { data: Bytes::new(), ..chunk });
            }
            self.tail_bytes.extend_from_slice(&chunk.data);
        } else {
            self.flush();
            self.chunks.push(chunk);
        }
        self.full |= self.chunks.len() >= MAX_CHUNKS;
    }

    fn flush(&mut self) {
        if let Some(mut tail) = self.tail.take() {
            tail.data = self.tail_bytes.split().freeze();
            self.chunks.push(tail);
        }
    }

    fn gap(&mut self, from: u64, to: u64) {
        if self.gaps.len() < MAX_GAPS {
            self.gaps.push((from, to));
        }
        self.next = self.next.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_proto::OutputStream;

    fn chunk(offset: u64, data: &'static str) -> OutputChunk {
        let data = Bytes::from_static(data.as_bytes());
        OutputChunk { stream: OutputStream::Stdout, offset, stream_offset: offset, data }
    }

    #[test]
    fn output_ends_at_the_cap_and_names_holes() {
        let mut output = Collected::new(5);
        output.push(chunk(0, "ab"));
        output.push(chunk(4, "cd"));
        assert_eq!((output.next, output.full), (6, false));
        assert_eq!(output.gaps, [(2, 4)]);
        output.push(chunk(6, "efg"));
        assert!(output.full);
        output.push(chunk(9, "h"));
        output.flush();
        assert_eq!(output.next, 7);
        let data: Vec<_> = output.chunks.iter().map(|c| (c.offset, &c.data[..])).collect();
        assert_eq!(data, [(0, &b"ab"[..]), (4, b"cde")]);
    }

    #[test]
    fn exactly_the_cap_is_not_too_much() {
        let mut output = Collected::new(2);
        output.push(chunk(0, "ab"));
        assert!(!output.full);
    }
}
