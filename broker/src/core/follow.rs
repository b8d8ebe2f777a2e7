//! Following a command's output.

use postern_proto::{CommandInfo, Follow, OutputStream};

use super::Result;
use crate::guest::{FollowItem, FollowStream};

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

impl FollowOptions {
    pub(super) fn to_request(self, command_id: &str) -> Follow {
        Follow {
            command_id: command_id.to_owned(),
            from: self.from,
            only: self.only,
            lossless: self.lossless,
            until_exit: self.until_exit,
            no_wait: self.no_wait,
            ..Follow::default()
        }
    }
}

/// A cursor in a command's output. Dropped, a lossless hold stays for the
/// agent's grace, so that the reader may come back.
#[derive(Debug)]
pub struct Follower {
    stream: FollowStream,
}

impl Follower {
    pub(super) fn new(stream: FollowStream) -> Self {
        Self { stream }
    }

    /// The command when the follower was last opened.
    pub fn opened(&self) -> &CommandInfo {
        self.stream.opened()
    }

    /// Where the next byte will be.
    pub fn next_offset(&self) -> u64 {
        self.stream.next_offset()
    }

    /// The next item; None after `Closed`. A broken link is resumed from the
    /// next offset; an error is final. Safe to cancel: a dropped call loses nothing.
    pub async fn next(&mut self) -> Result<Option<FollowItem>> {
        Ok(self.stream.next().await?)
    }

    /// Leaves on purpose: a lossless hold is lifted now and not after a grace.
    pub fn leave(self) {
        self.stream.leave();
    }
}
