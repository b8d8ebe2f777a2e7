//! `ReadOutput`: a range of a log, without a stream.

use bytes::Bytes;
use postern_proto::limits::MAX_INLINE_OUTPUT;
use postern_proto::{Code, Error, Output, OutputChunk, OutputStream, Reply};

use crate::guest::State;
use crate::output::{Cursor, Log, Next};

/// Runs of one reply: each costs some bytes beside its data.
const MAX_CHUNKS: usize = 4_096;

pub(super) fn handle(
    state: &State,
    command_id: &str,
    from: u64,
    only: Option<OutputStream>,
    max_bytes: u32,
) -> Result<Reply, Error> {
    let command = state.commands.table.get(command_id)?;
    let log = command.log.borrow();
    let end = only.map_or(log.end(), |stream| log.stream_end(stream));
    let first = only.map_or(log.first(), |stream| log.stream_first(stream));
    let out_of_range = |message: String| Error {
        first_available: Some(first),
        field: Some("from".to_owned()),
        ..Error::new(Code::OutOfRange, message)
    };
    if from < first {
        return Err(out_of_range(format!("offset {from} is gone, {first} is the first left")));
    }
    let mut cursor = log
        .cursor(from, only)
        .ok_or_else(|| out_of_range(format!("offset {from} is beyond the end, {end}")))?;
    let max = match max_bytes as usize {
        0 => MAX_INLINE_OUTPUT,
        max => max.min(MAX_INLINE_OUTPUT),
    };
    let chunks = chunks(&log, &mut cursor, max);
    let next = cursor.position();
    Ok(Reply::Output(Output { chunks, next, end, closed: log.is_closed() }))
}

/// What is there from the cursor on, up to `max` bytes, neighbours joined.
pub(super) fn chunks(log: &Log, cursor: &mut Cursor, max: usize) -> Vec<OutputChunk> {
    let mut chunks: Vec<OutputChunk> = Vec::new();
    let mut left = max;
    while left > 0 && chunks.len() < MAX_CHUNKS {
        let (chunk, n) = match log.next(cursor, left) {
            Next::Data { stream, offset, stream_offset, bytes } => {
                let data = Bytes::copy_from_slice(bytes);
                (OutputChunk { stream, offset, stream_offset, data }, bytes.len())
            }
            Next::Gap { .. } => {
                log.skip_gap(cursor);
                continue;
            }
            Next::Pending | Next::End => break,
        };
        log.advance(cursor, n);
        left -= n;
        chunks.push(chunk);
    }
    chunks
}
