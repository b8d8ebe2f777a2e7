//! Files out of a guest, files and layers into it.

use bytes::Bytes;
use postern_proto::limits::MAX_STREAM_DATA;
use postern_proto::{
    FileInfo, Layer, LayerDone, ReadFile, StreamEnd, StreamHeader, StreamKind, StreamOpen,
    StreamReply, WriteFile,
};

use super::client::Guest;
use super::error::{Fault, GuestError};
use super::stream::{STALL, StreamConn, Written};

/// Before a file is published nothing of it is there, so an end without the
/// file's state is a fault.
const WRITING: &str = "writing a file";
const READING: &str = "reading a file";
const SENDING_LAYER: &str = "sending a layer";

/// A file's bytes from the guest.
#[derive(Debug)]
pub struct ReadStream {
    guest: Guest,
    conn: StreamConn,
    info: FileInfo,
    /// Where the next byte is; known with the first frame.
    next: Option<u64>,
    asked_offset: u64,
    got: u64,
    /// The most that may come: what was asked for, or what the agent promised.
    max: Option<u64>,
    over: bool,
}

impl ReadStream {
    /// Opens the file.
    pub async fn open(guest: Guest, request: ReadFile) -> Result<Self, GuestError> {
        let (asked_offset, asked_length) = (request.offset, request.length);
        let opening = StreamOpen::ReadFile(request);
        let (conn, reply) = StreamConn::open(&guest, &opening, READING).await?;
        let StreamReply::File(info) = reply else {
            return Err(guest.wrong(READING, Fault::WrongReply("file")));
        };
        // Files of procfs have no size before they are read.
        let promised = (info.size > 0).then_some(info.length);
        let max = [promised, asked_length].into_iter().flatten().min();
        Ok(Self { guest, conn, info, next: None, asked_offset, got: 0, max, over: false })
    }

    /// The file as it was found.
    pub fn info(&self) -> &FileInfo {
        &self.info
    }

    /// The next piece; None at the end. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<Bytes>, GuestError> {
        if self.over {
            return Ok(None);
        }
        let piece = self.piece().await;
        if let Err(error) = &piece {
            self.guest.count_fault(error);
            self.over = true;
        }
        piece
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, GuestError> {
        loop {
            let frame = tokio::time::timeout(STALL, self.conn.next(READING)).await;
            let stalled = GuestError::Deadline { doing: READING, after: STALL };
            let (header, payload) = frame.map_err(|_| stalled)??;
            match header.kind {
                StreamKind::Data(None) => {
                    self.check_data(header.offset, payload.len() as u64)?;
                    if !payload.is_empty() {
                        return Ok(Some(payload));
                    }
                }
                StreamKind::End => return self.end(payload).map(|()| None),
                _ => return Err(GuestError::fault(READING, Fault::WrongFrame("not data"))),
            }
        }
    }

    fn check_data(&mut self, offset: u64, len: u64) -> Result<(), GuestError> {
        // Offsets count from the file's start or from the range's; both are
        // without ambiguity as long as they go on.
        let first = if offset == 0 { 0 } else { self.asked_offset };
        let expected = self.next.unwrap_or(first);
        if offset != expected {
            return Err(GuestError::fault(READING, Fault::OffsetJump { expected, got: offset }));
        }
        self.next = Some(expected.saturating_add(len));
        self.got += len;
        match self.max {
            Some(max) if self.got > max => {
                Err(GuestError::fault(READING, Fault::TooMuch { got: self.got, max }))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, payload: Bytes) -> Result<(), GuestError> {
        self.over = true;
        match StreamEnd::decode(payload).map_err(|e| GuestError::fault(READING, e))? {
            StreamEnd::Done | StreamEnd::File(_) => {}
            StreamEnd::Error(error) => return Err(GuestError::Agent(error)),
            _ => {
                return Err(GuestError::fault(
                    READING,
                    Fault::WrongFrame("an end of another kind"),
                ));
            }
        }
        match self.max {
            Some(promised) if self.info.size > 0 && self.got < promised.min(self.info.length) => {
                let fault = Fault::TooLittle { got: self.got, promised };
                Err(GuestError::fault(READING, fault))
            }
            _ => Ok(()),
        }
    }
}

/// Bytes for the guest: a file that is published whole at the end, or a layer.
/// Dropped before the end, nothing is published.
#[derive(Debug)]
pub struct WriteStream {
    guest: Guest,
    conn: StreamConn,
    doing: &'static str,
    offset: u64,
}

impl WriteStream {
    /// Opens a file for writing.
    pub async fn open_file(guest: Guest, request: WriteFile) -> Result<Self, GuestError> {
        Self::open(guest, StreamOpen::WriteFile(request), WRITING).await
    }

    /// Opens a layer of the image.
    pub async fn open_layer(guest: Guest, layer: Layer) -> Result<Self, GuestError> {
        Self::open(guest, StreamOpen::Layer(layer), SENDING_LAYER).await
    }

    async fn open(guest: Guest, open: StreamOpen, doing: &'static str) -> Result<Self, GuestError> {
        match StreamConn::open(&guest, &open, doing).await? {
            (conn, StreamReply::Done | StreamReply::File(_)) => {
                Ok(Self { guest, conn, doing, offset: 0 })
            }
            _ => Err(guest.wrong(doing, Fault::WrongReply("opening"))),
        }
    }

    /// Sends a piece of any size; waits while the guest is slower.
    pub async fn write(&mut self, mut data: Bytes) -> Result<(), GuestError> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(MAX_STREAM_DATA));
            let len = piece.len();
            let header = StreamHeader {
                kind: StreamKind::Data(None),
                len: u32::try_from(len).unwrap_or(u32::MAX),
                offset: self.offset,
                aux: 0,
            };
            let written = self.conn.send(header, piece, self.doing).await;
            match written.inspect_err(|e| self.guest.count_fault(e))? {
                Written::All => self.offset += len as u64,
                Written::Ended(end) => return Err(self.early(end)),
            }
        }
        Ok(())
    }

    /// The file, published.
    pub async fn finish_file(self) -> Result<FileInfo, GuestError> {
        let (guest, doing) = (self.guest.clone(), self.doing);
        match self.finish().await? {
            StreamEnd::File(info) => Ok(info),
            _ => Err(guest.wrong(doing, Fault::WrongFrame("an end of another kind"))),
        }
    }

    /// The layer, applied.
    pub async fn finish_layer(self) -> Result<LayerDone, GuestError> {
        let (guest, doing) = (self.guest.clone(), self.doing);
        match self.finish().await? {
            StreamEnd::Layer(done) => Ok(done),
            _ => Err(guest.wrong(doing, Fault::WrongFrame("an end of another kind"))),
        }
    }

    async fn finish(mut self) -> Result<StreamEnd, GuestError> {
        let end = self.send_end().await.inspect_err(|e| self.guest.count_fault(e))?;
        match end {
            StreamEnd::Error(error) => Err(GuestError::Agent(error)),
            end => Ok(end),
        }
    }

    async fn send_end(&mut self) -> Result<StreamEnd, GuestError> {
        let mut frame = bytes::BytesMut::new();
        StreamEnd::Done.encode(&mut frame).map_err(GuestError::Unsendable)?;
        let taken = StreamHeader::take(&mut frame).map_err(GuestError::Unsendable)?;
        let Some((header, payload)) = taken else { unreachable!("a whole frame was just made") };
        match self.conn.send(header, payload, self.doing).await? {
            Written::All => self.conn.read_end(self.doing).await,
            Written::Ended(end) => Ok(end),
        }
    }

    /// An end before ours can only be bad news.
    fn early(&self, end: StreamEnd) -> GuestError {
        match end {
            StreamEnd::Error(error) => GuestError::Agent(error),
            _ => self.guest.wrong(self.doing, Fault::WrongFrame("an end in mid-stream")),
        }
    }
}
