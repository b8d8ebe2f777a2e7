//! What the host asks on a control connection.

use bytes::{Bytes, BytesMut};

use crate::error::DecodeError;
use crate::exec::{EnvVar, Exec, OutputStream, SignalScope, TtySize};
use crate::frame::{parse, put_frame};
use crate::limits::MAX_CONTROL_FRAME;
use crate::wire;
use crate::wire::host_message::Body as HostBody;

/// What the host asks of the agent. Many may be in flight; each has an id of
/// the host's making, and one [`Reply`](crate::Reply) with that id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Are you there? Answered with [`Reply::Done`](crate::Reply::Done).
    Ping,
    /// The session's settings.
    Configure(Configure),
    /// Layers will come, this many.
    PrepareImage {
        /// The number of layers.
        layers: u32,
    },
    /// Every layer is in: make the workload's root of them.
    CommitImage(ImageConfig),
    /// Start a command.
    Exec(Box<Exec>),
    /// Answered with [`Reply::Command`](crate::Reply::Command).
    GetCommand {
        /// Which.
        command_id: String,
    },
    /// Answered with [`Reply::Commands`](crate::Reply::Commands).
    ListCommands {
        /// Only commands after this one, in the order of their start.
        after: String,
        /// At most this many; 0 for [`crate::limits::MAX_LISTED`].
        limit: u32,
    },
    /// Answered with [`Reply::Command`](crate::Reply::Command) when the time is over, too.
    WaitCommand {
        /// Which.
        command_id: String,
        /// None: no limit but the connection's life.
        timeout_ms: Option<u64>,
        /// Wait until the log is final, not only for the exit.
        until_closed: bool,
    },
    /// Bytes for a command's stdin.
    WriteStdin(WriteStdin),
    /// A signal for a command.
    Signal {
        /// Which command.
        command_id: String,
        /// signal(7).
        signal: u32,
        /// Whom it goes to.
        scope: SignalScope,
    },
    /// Nothing from this offset on may be dropped.
    AckOutput {
        /// Which command.
        command_id: String,
        /// Everything before it has arrived where it was wanted.
        offset: u64,
    },
    /// A lossless reader is not there any more, whatever its stream says: a link that
    /// was cut while the agent waited to write does not always tell it.
    LeaveOutput {
        /// Which command.
        command_id: String,
        /// As in [`crate::Follow::reader`].
        reader: u64,
        /// It does not come again: the log waits no longer.
        for_good: bool,
    },
    /// A range of a log, without a stream.
    ReadOutput {
        /// Which command.
        command_id: String,
        /// The offset of the first byte.
        from: u64,
        /// Only this stream; `from` then counts that stream's bytes.
        only: Option<OutputStream>,
        /// At most this many; capped at [`crate::limits::MAX_INLINE_OUTPUT`].
        max_bytes: u32,
    },
    /// Answered with [`Reply::Info`](crate::Reply::Info).
    GetInfo,
    /// End everything and power off.
    Shutdown {
        /// Between TERM and KILL.
        grace_ms: u64,
    },
    /// The size of a command's terminal.
    ResizeTty {
        /// Which command.
        command_id: String,
        /// Its new size.
        size: TtySize,
    },
    /// The guest went on after a pause that it does not know of.
    Resume(Resume),
    /// Of a newer generation; to be answered with a typed error.
    Unknown,
}

/// What a guest cannot know after its snapshot was restored or its host slept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resume {
    /// The wall clock, microseconds since 1970; 0: left as it is.
    pub unix_us: u64,
    /// Mixed into the kernel's pool, which is reseeded: 32 to 512 bytes, or none.
    pub entropy: Bytes,
    /// None: left as it is.
    pub configure: Option<Configure>,
}

/// The session's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configure {
    /// Empty: left as it is.
    pub hostname: String,
    /// Over the image's, below a command's own.
    pub env: Vec<EnvVar>,
    /// Of every command, whatever it asks for: prctl(2), `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
}

/// The part of an OCI image configuration that gives commands their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// `Env`.
    pub env: Vec<EnvVar>,
    /// `User`.
    pub user: String,
    /// `WorkingDir`.
    pub working_dir: String,
    /// `Entrypoint`.
    pub entrypoint: Vec<Bytes>,
    /// `Cmd`.
    pub cmd: Vec<Bytes>,
}

/// Bytes for a command's stdin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteStdin {
    /// Which command.
    pub command_id: String,
    /// The offset of the first byte. A part that was applied before is
    /// skipped; an offset beyond the expected one is `out_of_range`. None:
    /// wherever stdin stands, for callers that do not retry.
    pub offset: Option<u64>,
    /// The bytes.
    pub data: Bytes,
    /// After these bytes stdin ends; counts only if all of them were taken.
    pub eof: bool,
}

impl Request {
    /// Appends the frame of this request.
    pub fn encode(&self, id: u64, dst: &mut BytesMut) -> Result<(), DecodeError> {
        let body = self.to_wire();
        put_frame(dst, &wire::HostMessage { id, body }, MAX_CONTROL_FRAME)
    }

    /// Reads the payload of a frame: the request's id and what is asked.
    pub fn decode(frame: Bytes) -> Result<(u64, Self), DecodeError> {
        let w: wire::HostMessage = parse("HostMessage", frame)?;
        Ok((w.id, Self::from_wire(w.body)?))
    }

    fn to_wire(&self) -> Option<HostBody> {
        Some(match self {
            Self::Ping => HostBody::Ping(wire::Ping {}),
            Self::Configure(c) => HostBody::Configure(c.to_wire()),
            Self::PrepareImage { layers } => {
                HostBody::PrepareImage(wire::PrepareImage { layers: *layers })
            }
            Self::CommitImage(c) => HostBody::CommitImage(c.to_wire()),
            Self::Exec(e) => HostBody::Exec(e.to_wire()),
            Self::GetCommand { command_id } => {
                HostBody::GetCommand(wire::CommandRef { command_id: command_id.clone() })
            }
            Self::ListCommands { after, limit } => {
                HostBody::ListCommands(wire::ListCommands { after: after.clone(), limit: *limit })
            }
            Self::WaitCommand { command_id, timeout_ms, until_closed } => {
                HostBody::WaitCommand(wire::WaitCommand {
                    command_id: command_id.clone(),
                    timeout_ms: *timeout_ms,
                    until_closed: *until_closed,
                })
            }
            Self::WriteStdin(w) => HostBody::WriteStdin(wire::WriteStdin {
                command_id: w.command_id.clone(),
                offset: w.offset,
                data: w.data.clone(),
                eof: w.eof,
            }),
            Self::Signal { command_id, signal, scope } => HostBody::Signal(wire::Signal {
                command_id: command_id.clone(),
                signal: *signal,
                scope: scope.to_wire(),
            }),
            Self::AckOutput { command_id, offset } => HostBody::AckOutput(wire::AckOutput {
                command_id: command_id.clone(),
                offset: *offset,
            }),
            Self::LeaveOutput { command_id, reader, for_good } => {
                HostBody::LeaveOutput(wire::LeaveOutput {
                    command_id: command_id.clone(),
                    reader: *reader,
                    for_good: *for_good,
                })
            }
            Self::ReadOutput { command_id, from, only, max_bytes } => {
                HostBody::ReadOutput(wire::ReadOutput {
                    command_id: command_id.clone(),
                    from: *from,
                    only: only.map_or(0, OutputStream::to_wire),
                    max_bytes: *max_bytes,
                })
            }
            Self::GetInfo => HostBody::GetInfo(wire::GetInfo {}),
            Self::Shutdown { grace_ms } => {
                HostBody::Shutdown(wire::Shutdown { grace_ms: *grace_ms })
            }
            Self::ResizeTty { command_id, size } => HostBody::ResizeTty(wire::ResizeTty {
                command_id: command_id.clone(),
                size: Some(size.to_wire()),
            }),
            Self::Resume(r) => HostBody::Resume(wire::Resume {
                unix_us: r.unix_us,
                entropy: r.entropy.clone(),
                configure: r.configure.as_ref().map(Configure::to_wire),
            }),
            Self::Unknown => return None,
        })
    }

    fn from_wire(body: Option<HostBody>) -> Result<Self, DecodeError> {
        Ok(match body {
            None => Self::Unknown,
            Some(HostBody::Ping(_)) => Self::Ping,
            Some(HostBody::Configure(w)) => Self::Configure(Configure::from_wire(w)),
            Some(HostBody::PrepareImage(w)) => Self::PrepareImage { layers: w.layers },
            Some(HostBody::CommitImage(w)) => Self::CommitImage(ImageConfig::from_wire(w)),
            Some(HostBody::Exec(w)) => Self::Exec(Box::new(Exec::from_wire(w)?)),
            Some(HostBody::GetCommand(w)) => Self::GetCommand { command_id: w.command_id },
            Some(HostBody::ListCommands(w)) => {
                Self::ListCommands { after: w.after, limit: w.limit }
            }
            Some(HostBody::WaitCommand(w)) => Self::WaitCommand {
                command_id: w.command_id,
                timeout_ms: w.timeout_ms,
                until_closed: w.until_closed,
            },
            Some(HostBody::WriteStdin(w)) => Self::WriteStdin(WriteStdin {
                command_id: w.command_id,
                offset: w.offset,
                data: w.data,
                eof: w.eof,
            }),
            Some(HostBody::Signal(w)) => Self::Signal {
                command_id: w.command_id,
                signal: w.signal,
                scope: SignalScope::from_wire(w.scope)?,
            },
            Some(HostBody::AckOutput(w)) => {
                Self::AckOutput { command_id: w.command_id, offset: w.offset }
            }
            Some(HostBody::LeaveOutput(w)) => Self::LeaveOutput {
                command_id: w.command_id,
                reader: w.reader,
                for_good: w.for_good,
            },
            Some(HostBody::ReadOutput(w)) => Self::ReadOutput {
                command_id: w.command_id,
                from: w.from,
                only: OutputStream::from_wire_opt(w.only)?,
                max_bytes: w.max_bytes,
            },
            Some(HostBody::GetInfo(_)) => Self::GetInfo,
            Some(HostBody::Shutdown(w)) => Self::Shutdown { grace_ms: w.grace_ms },
            Some(HostBody::ResizeTty(w)) => Self::ResizeTty {
                command_id: w.command_id,
                size: TtySize::from_wire(w.size.ok_or(DecodeError::Missing("resize.size"))?)?,
            },
            Some(HostBody::Resume(w)) => Self::Resume(Resume {
                unix_us: w.unix_us,
                entropy: w.entropy,
                configure: w.configure.map(Configure::from_wire),
            }),
        })
    }
}

impl Configure {
    fn to_wire(&self) -> wire::Configure {
        wire::Configure {
            hostname: self.hostname.clone(),
            env: self.env.iter().map(EnvVar::to_wire).collect(),
            no_new_privs: self.no_new_privs,
        }
    }

    fn from_wire(w: wire::Configure) -> Self {
        Self {
            hostname: w.hostname,
            env: w.env.into_iter().map(EnvVar::from_wire).collect(),
            no_new_privs: w.no_new_privs,
        }
    }
}

impl ImageConfig {
    fn to_wire(&self) -> wire::CommitImage {
        wire::CommitImage {
            env: self.env.iter().map(EnvVar::to_wire).collect(),
            user: self.user.clone(),
            working_dir: self.working_dir.clone(),
            entrypoint: self.entrypoint.clone(),
            cmd: self.cmd.clone(),
        }
    }

    fn from_wire(w: wire::CommitImage) -> Self {
        Self {
            env: w.env.into_iter().map(EnvVar::from_wire).collect(),
            user: w.user,
            working_dir: w.working_dir,
            entrypoint: w.entrypoint,
            cmd: w.cmd,
        }
    }
}
