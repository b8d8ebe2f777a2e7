//! What travels on a stream connection: an opening, its reply, and frames.

use bytes::{Bytes, BytesMut};

use crate::command::CommandInfo;
use crate::error::{DecodeError, Error};
use crate::exec::OutputStream;
use crate::frame::{StreamHeader, StreamKind, parse, put_frame};
use crate::limits::{MAX_OPEN_FRAME, MAX_STREAM_MESSAGE};
use crate::reply::StdinState;
use crate::wire;

/// What a stream is for; the host's first message after `Hello`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamOpen {
    /// A command's output, from the agent.
    Follow(Follow),
    /// A file's bytes, from the agent.
    ReadFile(ReadFile),
    /// A file's bytes, to the agent; published whole at the end or not at all.
    WriteFile(WriteFile),
    /// An image layer, to the agent.
    Layer(Layer),
    /// An image layer that the agent finds on a disk of its machine.
    DiskLayer(DiskLayer),
    /// A command's stdin, to the agent; the bytes go by offset.
    Stdin(StdinOpen),
    /// Of a newer generation; to be answered with a typed error.
    Unknown,
}

/// Follow a command's output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Follow {
    /// Which.
    pub command_id: String,
    /// The first byte that is wanted. What is gone already is told as a gap.
    pub from: u64,
    /// Only this stream; `from` and all offsets then count that stream's bytes.
    pub only: Option<OutputStream>,
    /// The command waits for this reader (DESIGN: output log).
    pub lossless: bool,
    /// End after the exit; late output is read with another stream.
    pub until_exit: bool,
    /// Carry what is there now, and end.
    pub no_wait: bool,
    /// Of the host's choice, the same whenever this reader comes again; 0 for none.
    pub reader: u64,
}

/// Feed a command's stdin. Data frames carry the offset of their first byte: what
/// was applied before is skipped, so a broken stream is taken up again without
/// knowing how far it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StdinOpen {
    /// Which.
    pub command_id: String,
    /// The stream's end is not the end of file.
    pub keep_open: bool,
}

/// Read a file of the workload's root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadFile {
    /// Absolute, in the workload's root.
    pub path: Bytes,
    /// The first byte.
    pub offset: u64,
    /// None: to the end.
    pub length: Option<u64>,
    /// Whose rights apply; empty: the image's User.
    pub user: String,
}

/// Write a file of the workload's root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteFile {
    /// Absolute, in the workload's root.
    pub path: Bytes,
    /// Permission bits; None: those of a file that is there, else 0644.
    pub mode: Option<u32>,
    /// Who owns it and whose rights apply; empty: the image's User.
    pub user: String,
    /// Make the directories above it.
    pub make_parents: bool,
    /// What will come, if it is known; another amount is an error.
    pub size: Option<u64>,
}

/// A file as it was found or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileInfo {
    /// Bytes in the file.
    pub size: u64,
    /// inode(7): type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Milliseconds.
    pub mtime_unix_ms: i64,
    /// Bytes that this stream carries.
    pub length: u64,
}

/// One layer of the image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layer {
    /// Its place, from 0; layers are applied in this order.
    pub index: u32,
    /// As the manifest names it.
    pub media_type: String,
    /// Of the blob, `sha256:…`; checked.
    pub digest: String,
    /// Of the tar inside, `sha256:…`; checked.
    pub diff_id: String,
    /// Of the blob, bytes.
    pub size: u64,
}

/// A layer whose blob lies on a block device of the guest. The stream carries no
/// data; the agent answers as to a [`Layer`], and tells meanwhile how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskLayer {
    /// The layer; all of it is checked as if it came over the stream.
    pub layer: Layer,
    /// Of the device, as its host gave it.
    pub serial: String,
    /// Of the blob's first byte on the device.
    pub offset: u64,
}

/// What a layer put into the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerDone {
    /// Entries of the tar.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// Extended attributes that the root's file system cannot hold, or that are
    /// not an image's to set (of SELinux, of overlay file systems).
    pub xattrs_skipped: u64,
}

/// The agent's answer to an opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamReply {
    /// It is not opened; the connection ends.
    Error(Error),
    /// The command at this moment.
    Follow(Box<CommandInfo>),
    /// The file that will be read.
    File(FileInfo),
    /// Where stdin stands, and where to go on.
    Stdin(StdinState),
    /// Go on.
    Done,
}

/// News in the midst of a stream's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// The process is dead; output after this is late output.
    Exited(Box<CommandInfo>),
    /// How far stdin was taken; nothing before it has to be kept.
    Stdin(StdinState),
    /// How far a [`DiskLayer`] was read.
    LayerRead {
        /// Of the blob, from its start.
        bytes: u64,
    },
    /// Of a newer generation; to be ignored.
    Unknown,
}

/// The last frame in a direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEnd {
    /// It broke off; what was carried is not whole.
    Error(Error),
    /// All was carried.
    Done,
    /// All output that was asked for was carried; the command as it stands.
    Output(Box<CommandInfo>),
    /// The file is published.
    File(FileInfo),
    /// The layer is applied.
    Layer(LayerDone),
    /// All of stdin was taken, or the process takes no more.
    Stdin(StdinState),
}

impl StreamOpen {
    /// Appends the frame (length-prefixed).
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), DecodeError> {
        use wire::stream_open::Body;
        let body = match self {
            Self::Follow(f) => Some(Body::Follow(wire::Follow {
                command_id: f.command_id.clone(),
                from: f.from,
                only: f.only.map_or(0, OutputStream::to_wire),
                lossless: f.lossless,
                until_exit: f.until_exit,
                no_wait: f.no_wait,
                reader: f.reader,
            })),
            Self::ReadFile(f) => Some(Body::ReadFile(wire::ReadFile {
                path: f.path.clone(),
                offset: f.offset,
                length: f.length,
                user: f.user.clone(),
            })),
            Self::WriteFile(f) => Some(Body::WriteFile(wire::WriteFile {
                path: f.path.clone(),
                mode: f.mode,
                user: f.user.clone(),
                make_parents: f.make_parents,
                size: f.size,
            })),
            Self::Layer(l) => Some(Body::Layer(l.to_wire())),
            Self::DiskLayer(d) => Some(Body::DiskLayer(wire::DiskLayer {
                layer: Some(d.layer.to_wire()),
                serial: d.serial.clone(),
                offset: d.offset,
            })),
            Self::Stdin(s) => Some(Body::Stdin(wire::StdinOpen {
                command_id: s.command_id.clone(),
                keep_open: s.keep_open,
            })),
            Self::Unknown => None,
        };
        put_frame(dst, &wire::StreamOpen { body }, MAX_OPEN_FRAME)
    }

    /// Reads the payload of the frame.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        use wire::stream_open::Body;
        let w: wire::StreamOpen = parse("StreamOpen", frame)?;
        Ok(match w.body {
            None => Self::Unknown,
            Some(Body::Follow(f)) => Self::Follow(Follow {
                command_id: f.command_id,
                from: f.from,
                only: OutputStream::from_wire_opt(f.only)?,
                lossless: f.lossless,
                until_exit: f.until_exit,
                no_wait: f.no_wait,
                reader: f.reader,
            }),
            Some(Body::ReadFile(f)) => Self::ReadFile(ReadFile {
                path: f.path,
                offset: f.offset,
                length: f.length,
                user: f.user,
            }),
            Some(Body::WriteFile(f)) => Self::WriteFile(WriteFile {
                path: f.path,
                mode: f.mode,
                user: f.user,
                make_parents: f.make_parents,
                size: f.size,
            }),
            Some(Body::Layer(l)) => Self::Layer(Layer::from_wire(l)),
            Some(Body::DiskLayer(d)) => Self::DiskLayer(DiskLayer {
                layer: Layer::from_wire(d.layer.ok_or(DecodeError::Missing("disk_layer.layer"))?),
                serial: d.serial,
                offset: d.offset,
            }),
            Some(Body::Stdin(s)) => {
                Self::Stdin(StdinOpen { command_id: s.command_id, keep_open: s.keep_open })
            }
        })
    }
}

impl Layer {
    fn to_wire(&self) -> wire::Layer {
        wire::Layer {
            index: self.index,
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            diff_id: self.diff_id.clone(),
            size: self.size,
        }
    }

    fn from_wire(l: wire::Layer) -> Self {
        Self {
            index: l.index,
            media_type: l.media_type,
            digest: l.digest,
            diff_id: l.diff_id,
            size: l.size,
        }
    }
}

impl StreamReply {
    /// Appends the frame (length-prefixed).
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), DecodeError> {
        use wire::stream_reply::Body;
        let body = Some(match self {
            Self::Error(e) => Body::Error(e.to_wire()),
            Self::Follow(c) => Body::Follow(c.to_wire()),
            Self::File(f) => Body::File(f.to_wire()),
            Self::Stdin(s) => Body::Stdin(s.to_wire()),
            Self::Done => Body::Done(wire::Done {}),
        });
        put_frame(dst, &wire::StreamReply { body }, MAX_OPEN_FRAME)
    }

    /// Reads the payload of the frame.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        use wire::stream_reply::Body;
        let w: wire::StreamReply = parse("StreamReply", frame)?;
        Ok(match w.body.ok_or(DecodeError::Missing("stream_reply.body"))? {
            Body::Error(e) => Self::Error(Error::from_wire(e)),
            Body::Follow(c) => Self::Follow(Box::new(CommandInfo::from_wire(c)?)),
            Body::File(f) => Self::File(FileInfo::from_wire(f)),
            Body::Stdin(s) => Self::Stdin(StdinState::from_wire(s)),
            Body::Done(_) => Self::Done,
        })
    }
}

impl StreamEvent {
    /// Appends a whole stream frame of kind [`StreamKind::Message`].
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), DecodeError> {
        use wire::stream_event::Body;
        let body = match self {
            Self::Exited(c) => Some(Body::Exited(c.to_wire())),
            Self::Stdin(s) => Some(Body::Stdin(s.to_wire())),
            Self::LayerRead { bytes } => Some(Body::LayerRead(wire::LayerRead { bytes: *bytes })),
            Self::Unknown => None,
        };
        put_stream(dst, StreamKind::Message, &wire::StreamEvent { body })
    }

    /// Reads the payload of such a frame.
    pub fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        use wire::stream_event::Body;
        let w: wire::StreamEvent = parse("StreamEvent", payload)?;
        Ok(match w.body {
            None => Self::Unknown,
            Some(Body::Exited(c)) => Self::Exited(Box::new(CommandInfo::from_wire(c)?)),
            Some(Body::Stdin(s)) => Self::Stdin(StdinState::from_wire(s)),
            Some(Body::LayerRead(l)) => Self::LayerRead { bytes: l.bytes },
        })
    }
}

impl StreamEnd {
    /// Appends a whole stream frame of kind [`StreamKind::End`].
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), DecodeError> {
        use wire::stream_end::Body;
        let body = Some(match self {
            Self::Error(e) => Body::Error(e.to_wire()),
            Self::Done => Body::Done(wire::Done {}),
            Self::Output(c) => Body::Closed(c.to_wire()),
            Self::File(f) => Body::File(f.to_wire()),
            Self::Layer(l) => Body::Layer(wire::LayerDone {
                entries: l.entries,
                bytes: l.bytes,
                xattrs_skipped: l.xattrs_skipped,
            }),
            Self::Stdin(s) => Body::Stdin(s.to_wire()),
        });
        put_stream(dst, StreamKind::End, &wire::StreamEnd { body })
    }

    /// Reads the payload of such a frame.
    pub fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        use wire::stream_end::Body;
        let w: wire::StreamEnd = parse("StreamEnd", payload)?;
        Ok(match w.body.ok_or(DecodeError::Missing("stream_end.body"))? {
            Body::Error(e) => Self::Error(Error::from_wire(e)),
            Body::Done(_) => Self::Done,
            Body::Closed(c) => Self::Output(Box::new(CommandInfo::from_wire(c)?)),
            Body::File(f) => Self::File(FileInfo::from_wire(f)),
            Body::Layer(l) => Self::Layer(LayerDone {
                entries: l.entries,
                bytes: l.bytes,
                xattrs_skipped: l.xattrs_skipped,
            }),
            Body::Stdin(s) => Self::Stdin(StdinState::from_wire(s)),
        })
    }
}

fn put_stream<M: prost::Message>(
    dst: &mut BytesMut,
    kind: StreamKind,
    message: &M,
) -> Result<(), DecodeError> {
    let len = message.encoded_len();
    let too_long = DecodeError::TooLong { len: len as u64, max: MAX_STREAM_MESSAGE };
    let Some(claim) = u32::try_from(len).ok().filter(|_| len <= MAX_STREAM_MESSAGE) else {
        return Err(too_long);
    };
    let header = StreamHeader { kind, len: claim, offset: 0, aux: 0 };
    dst.extend_from_slice(&header.encode());
    dst.reserve(len);
    message.encode_raw(dst);
    Ok(())
}

impl FileInfo {
    fn to_wire(self) -> wire::FileInfo {
        wire::FileInfo {
            size: self.size,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime_unix_ms: self.mtime_unix_ms,
            length: self.length,
        }
    }

    fn from_wire(w: wire::FileInfo) -> Self {
        Self {
            size: w.size,
            mode: w.mode,
            uid: w.uid,
            gid: w.gid,
            mtime_unix_ms: w.mtime_unix_ms,
            length: w.length,
        }
    }
}
