//! Reading a log: cursors, and what comes next at one.

use postern_proto::OutputStream;

use super::Log;

/// Where a reader stands. Plain data: a reader that goes away leaves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The canonical offset of the next byte to look at.
    offset: u64,
    /// For a reader of one stream: which, and its next byte there.
    only: Option<(OutputStream, u64)>,
}

impl Cursor {
    /// The canonical offset.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The offset in the reader's own count: canonical, or its stream's.
    pub fn position(&self) -> u64 {
        self.only.map_or(self.offset, |(_, at)| at)
    }
}

/// What a reader gets next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// Bytes of one stream.
    Data {
        /// Which.
        stream: OutputStream,
        /// In the reader's own count.
        offset: u64,
        /// Within `stream`.
        stream_offset: u64,
        /// At least one.
        bytes: &'a [u8],
    },
    /// Bytes that are gone, in the reader's own count.
    Gap {
        /// The first.
        from: u64,
        /// One after the last.
        to: u64,
    },
    /// Nothing yet.
    Pending,
    /// Nothing ever.
    End,
}

impl Log {
    /// A cursor at `from`, in the reader's own count.
    ///
    /// `None` when `from` lies beyond what was written.
    pub fn cursor(&self, from: u64, only: Option<OutputStream>) -> Option<Cursor> {
        let Some(stream) = only else {
            return (from <= self.end).then_some(Cursor { offset: from, only: None });
        };
        if from > self.stream_end(stream) {
            return None;
        }
        let offset = self
            .runs
            .iter()
            .find(|r| r.stream == stream && r.stream_end() > from)
            .map_or(self.end, |r| r.offset + from.saturating_sub(r.stream_offset));
        Some(Cursor { offset, only: Some((stream, from)) })
    }

    /// What comes next at `cursor`, at most `max` bytes.
    pub fn next(&self, cursor: &mut Cursor, max: usize) -> Next<'_> {
        if let Some(gap) = self.gap(cursor) {
            return gap;
        }
        let mut index = self.runs.partition_point(|r| r.end() <= cursor.offset);
        if let Some((stream, _)) = cursor.only {
            while self.runs.get(index).is_some_and(|r| r.stream != stream) {
                index += 1;
            }
        }
        let Some(run) = self.runs.get(index) else {
            cursor.offset = self.end;
            return if self.closed { Next::End } else { Next::Pending };
        };
        // A filtered reader skips the other streams' runs.
        cursor.offset = cursor.offset.max(run.offset);
        let within = cursor.offset - run.offset;
        let bytes = self.blocks.at(cursor.offset);
        let len = usize::try_from(run.len - within).unwrap_or(usize::MAX).min(bytes.len()).min(max);
        Next::Data {
            stream: run.stream,
            offset: cursor.position(),
            stream_offset: run.stream_offset + within,
            bytes: &bytes[..len],
        }
    }

    fn gap(&self, cursor: &Cursor) -> Option<Next<'static>> {
        let (from, to) = match cursor.only {
            None => (cursor.offset, self.first),
            Some((stream, at)) => (at, self.stream_first(stream)),
        };
        (from < to).then_some(Next::Gap { from, to })
    }

    /// The canonical offset before which nothing is left for this cursor.
    pub fn settled(&self, cursor: &Cursor) -> u64 {
        let Some((stream, _)) = cursor.only else {
            return cursor.offset;
        };
        let start = self.runs.partition_point(|r| r.end() <= cursor.offset);
        let own = self.runs.range(start..).find(|r| r.stream == stream);
        own.map_or(self.end, |r| r.offset.max(cursor.offset))
    }

    /// Up to `max` bytes at the cursor, of those that [`Self::next`] gave.
    pub fn piece(&self, cursor: &Cursor, max: usize) -> &[u8] {
        let bytes = self.blocks.at(cursor.offset);
        &bytes[..bytes.len().min(max)]
    }

    /// Nothing at the cursor has been dropped.
    pub fn cursor_is_whole(&self, cursor: &Cursor) -> bool {
        self.gap(cursor).is_none()
    }

    /// The reader has taken `n` bytes of the last [`Next::Data`].
    pub fn advance(&self, cursor: &mut Cursor, n: usize) {
        let n = n as u64;
        cursor.offset += n;
        if let Some((_, at)) = &mut cursor.only {
            *at += n;
        }
    }

    /// The reader has taken note of the last [`Next::Gap`].
    pub fn skip_gap(&self, cursor: &mut Cursor) {
        match &mut cursor.only {
            None => cursor.offset = cursor.offset.max(self.first),
            Some((stream, at)) => {
                *at = self.stream_first(*stream);
                cursor.offset = cursor.offset.max(self.first);
            }
        }
    }
}
