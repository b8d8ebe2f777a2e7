//! Following a command's output.

use postern_proto::{CommandInfo, OutputChunk, OutputStream};

use super::Result;

/// From where, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct FollowOptions {
    /// The first byte that is wanted.
    pub from: u64,
    /// Only this stream; `from` and all offsets then count that stream's bytes.
    pub only: Option<OutputStream>,
    /// The command waits for this reader.
    pub lossless: bool,
    /// End after the exit; late output is read with another follower.
    pub until_exit: bool,
    /// Carry what is there now, and end.
    pub no_wait: bool,
}

/// What a follower meets, in order.
#[derive(Debug, Clone)]
pub enum FollowItem {
    /// Output. With `only`, `offset` counts that stream's bytes.
    Data(OutputChunk),
    /// `[from, to)` is gone.
    Gap {
        /// The first byte that is gone.
        from: u64,
        /// The first byte that is not.
        to: u64,
    },
    /// The process is dead; output after this is late output of descendants.
    Exited(CommandInfo),
    /// All that was asked for was carried: the last item. `info.closed` tells
    /// whether the log is final.
    Closed(CommandInfo),
}

/// A cursor in a command's output.
#[derive(Debug)]
pub struct Follower {}

impl Follower {
    /// The command when the follower was opened.
    pub fn opened(&self) -> &CommandInfo {
        todo!()
    }

    /// Where the next byte will be.
    pub fn next_offset(&self) -> u64 {
        todo!()
    }

    /// The next item; None after `Closed`. A broken link is resumed from the
    /// next offset; an error is final. Safe to cancel: a dropped call loses nothing.
    pub async fn next(&mut self) -> Result<Option<FollowItem>> {
        todo!()
    }

    /// Leaves on purpose: a lossless hold is lifted now and not after a grace.
    pub async fn leave(self) {
        todo!()
    }
}
