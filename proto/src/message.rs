//! What travels on a control connection.

use bytes::{Bytes, BytesMut};

use crate::error::{DecodeError, Error};
use crate::exec::{CommandInfo, EnvVar, Exec, ExecResult, OutputChunk, OutputStream, SignalScope};
use crate::frame::{parse, put_frame};
use crate::limits::MAX_CONTROL_FRAME;
use crate::wire;
use crate::wire::host_message::Body as HostBody;

/// What the host asks of the agent. Many may be in flight; each has an id of
/// the host's making, and one [`Reply`] with that id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Are you there? Answered with [`Reply::Done`].
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
    /// Answered with [`Reply::Command`].
    GetCommand {
        /// Which.
        command_id: String,
    },
    /// Answered with [`Reply::Commands`].
    ListCommands {
        /// Only commands after this one, in the order of their start.
        after: String,
        /// At most this many; 0 for [`crate::limits::MAX_LISTED`].
        limit: u32,
    },
    /// Answered with [`Reply::Command`] when the time is over, too.
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
    /// Answered with [`Reply::Info`].
    GetInfo,
    /// End everything and power off.
    Shutdown {
        /// Between TERM and KILL.
        grace_ms: u64,
    },
    /// Of a newer generation; to be answered with a typed error.
    Unknown,
}

/// The session's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configure {
    /// Empty: left as it is.
    pub hostname: String,
    /// Over the image's, below a command's own.
    pub env: Vec<EnvVar>,
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

/// Where a command's stdin stands after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StdinState {
    /// How many bytes of the write are taken, those of an earlier try included.
    pub accepted: u64,
    /// The next offset that is expected.
    pub offset: u64,
    /// The end of file is set.
    pub eof: bool,
}

/// A range of an output log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// In order, without overlap; a hole between two is a gap.
    pub chunks: Vec<OutputChunk>,
    /// Where to read on.
    pub next: u64,
    /// What the command has written so far (of the asked stream).
    pub end: u64,
    /// The log is final.
    pub closed: bool,
}

/// The agent and its guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// Name and version.
    pub software: String,
    /// `uname -r`.
    pub kernel: String,
    /// Commands have cgroups of their own.
    pub cgroup_v2: bool,
    /// The workload's root is there: commands can be started.
    pub image_ready: bool,
    /// Bytes.
    pub memory_total_bytes: u64,
    /// Bytes.
    pub memory_available_bytes: u64,
    /// Commands with a live process.
    pub commands_running: u32,
    /// All commands that are known.
    pub commands_kept: u32,
    /// CLOCK_BOOTTIME when PID 1 began, microseconds.
    pub init_start_us: u64,
    /// CLOCK_BOOTTIME when the agent was ready to accept, microseconds.
    pub ready_us: u64,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It failed.
    Error(Error),
    /// It is done and there is nothing to tell.
    Done,
    /// A command.
    Command(Box<CommandInfo>),
    /// A started command.
    Exec(Box<ExecResult>),
    /// A page of commands, oldest first.
    Commands {
        /// The page.
        commands: Vec<CommandInfo>,
        /// There are more after the last.
        more: bool,
    },
    /// stdin after a write.
    Stdin(StdinState),
    /// Whether a process was there to take the signal.
    Delivered(bool),
    /// A range of a log.
    Output(Output),
    /// The agent and its guest.
    Info(Box<Info>),
}

/// What the agent tells unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A process is dead, and what its pipes held was read.
    CommandExited(Box<CommandInfo>),
    /// A log is final.
    CommandClosed(Box<CommandInfo>),
}

/// A frame from the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAgent {
    /// To a request.
    Reply {
        /// The request's.
        id: u64,
        /// The answer.
        reply: Reply,
    },
    /// Unasked.
    Event(Event),
    /// Of a newer generation; to be ignored.
    Unknown,
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
            Self::Configure(c) => HostBody::Configure(wire::Configure {
                hostname: c.hostname.clone(),
                env: c.env.iter().map(EnvVar::to_wire).collect(),
            }),
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
            Self::Unknown => return None,
        })
    }

    fn from_wire(body: Option<HostBody>) -> Result<Self, DecodeError> {
        Ok(match body {
            None => Self::Unknown,
            Some(HostBody::Ping(_)) => Self::Ping,
            Some(HostBody::Configure(w)) => Self::Configure(Configure {
                hostname: w.hostname,
                env: w.env.into_iter().map(EnvVar::from_wire).collect(),
            }),
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
            Some(HostBody::ReadOutput(w)) => Self::ReadOutput {
                command_id: w.command_id,
                from: w.from,
                only: OutputStream::from_wire_opt(w.only)?,
                max_bytes: w.max_bytes,
            },
            Some(HostBody::GetInfo(_)) => Self::GetInfo,
            Some(HostBody::Shutdown(w)) => Self::Shutdown { grace_ms: w.grace_ms },
        })
    }
}

impl FromAgent {
    /// Appends the frame.
    pub fn encode(&self, dst: &mut BytesMut) -> Result<(), DecodeError> {
        use wire::agent_message::Body;
        let body = match self {
            Self::Reply { id, reply } => {
                Some(Body::Reply(wire::Reply { id: *id, body: Some(reply.to_wire()) }))
            }
            Self::Event(event) => Some(Body::Event(wire::Event { body: Some(event.to_wire()) })),
            Self::Unknown => None,
        };
        put_frame(dst, &wire::AgentMessage { body }, MAX_CONTROL_FRAME)
    }

    /// Reads the payload of a frame.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        use wire::agent_message::Body;
        let w: wire::AgentMessage = parse("AgentMessage", frame)?;
        Ok(match w.body {
            None => Self::Unknown,
            Some(Body::Reply(r)) => Self::Reply {
                id: r.id,
                reply: Reply::from_wire(r.body.ok_or(DecodeError::Missing("reply.body"))?)?,
            },
            Some(Body::Event(e)) => match e.body {
                None => Self::Unknown,
                Some(body) => Self::Event(Event::from_wire(body)?),
            },
        })
    }
}

impl Reply {
    fn to_wire(&self) -> wire::reply::Body {
        use wire::reply::Body;
        match self {
            Self::Error(e) => Body::Error(e.to_wire()),
            Self::Done => Body::Done(wire::Done {}),
            Self::Command(c) => Body::Command(c.to_wire()),
            Self::Exec(r) => Body::Exec(wire::ExecResult {
                command: Some(r.command.to_wire()),
                output: r.output.iter().map(OutputChunk::to_wire).collect(),
                existing: r.existing,
            }),
            Self::Commands { commands, more } => Body::Commands(wire::CommandList {
                commands: commands.iter().map(CommandInfo::to_wire).collect(),
                more: *more,
            }),
            Self::Stdin(s) => {
                Body::Stdin(wire::StdinState { accepted: s.accepted, offset: s.offset, eof: s.eof })
            }
            Self::Delivered(delivered) => {
                Body::Delivered(wire::Delivered { delivered: *delivered })
            }
            Self::Output(o) => Body::Output(wire::Output {
                chunks: o.chunks.iter().map(OutputChunk::to_wire).collect(),
                next: o.next,
                end: o.end,
                closed: o.closed,
            }),
            Self::Info(i) => Body::Info(i.to_wire()),
        }
    }

    fn from_wire(body: wire::reply::Body) -> Result<Self, DecodeError> {
        use wire::reply::Body;
        Ok(match body {
            Body::Error(e) => Self::Error(Error::from_wire(e)),
            Body::Done(_) => Self::Done,
            Body::Command(c) => Self::Command(Box::new(CommandInfo::from_wire(c)?)),
            Body::Exec(r) => Self::Exec(Box::new(ExecResult {
                command: CommandInfo::from_wire(
                    r.command.ok_or(DecodeError::Missing("exec.command"))?,
                )?,
                output: chunks_from_wire(r.output)?,
                existing: r.existing,
            })),
            Body::Commands(l) => Self::Commands {
                commands: l
                    .commands
                    .into_iter()
                    .map(CommandInfo::from_wire)
                    .collect::<Result<_, _>>()?,
                more: l.more,
            },
            Body::Stdin(s) => {
                Self::Stdin(StdinState { accepted: s.accepted, offset: s.offset, eof: s.eof })
            }
            Body::Delivered(d) => Self::Delivered(d.delivered),
            Body::Output(o) => Self::Output(Output {
                chunks: chunks_from_wire(o.chunks)?,
                next: o.next,
                end: o.end,
                closed: o.closed,
            }),
            Body::Info(i) => Self::Info(Box::new(Info::from_wire(i))),
        })
    }
}

fn chunks_from_wire(chunks: Vec<wire::OutputChunk>) -> Result<Vec<OutputChunk>, DecodeError> {
    chunks.into_iter().map(OutputChunk::from_wire).collect()
}

impl Event {
    fn to_wire(&self) -> wire::event::Body {
        match self {
            Self::CommandExited(c) => wire::event::Body::CommandExited(c.to_wire()),
            Self::CommandClosed(c) => wire::event::Body::CommandClosed(c.to_wire()),
        }
    }

    fn from_wire(body: wire::event::Body) -> Result<Self, DecodeError> {
        let info = |c| CommandInfo::from_wire(c).map(Box::new);
        Ok(match body {
            wire::event::Body::CommandExited(c) => Self::CommandExited(info(c)?),
            wire::event::Body::CommandClosed(c) => Self::CommandClosed(info(c)?),
        })
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

impl Info {
    fn to_wire(&self) -> wire::Info {
        wire::Info {
            software: self.software.clone(),
            kernel: self.kernel.clone(),
            cgroup_v2: self.cgroup_v2,
            image_ready: self.image_ready,
            memory_total_bytes: self.memory_total_bytes,
            memory_available_bytes: self.memory_available_bytes,
            commands_running: self.commands_running,
            commands_kept: self.commands_kept,
            init_start_us: self.init_start_us,
            ready_us: self.ready_us,
        }
    }

    fn from_wire(w: wire::Info) -> Self {
        Self {
            software: w.software,
            kernel: w.kernel,
            cgroup_v2: w.cgroup_v2,
            image_ready: w.image_ready,
            memory_total_bytes: w.memory_total_bytes,
            memory_available_bytes: w.memory_available_bytes,
            commands_running: w.commands_running,
            commands_kept: w.commands_kept,
            init_start_us: w.init_start_us,
            ready_us: w.ready_us,
        }
    }
}
