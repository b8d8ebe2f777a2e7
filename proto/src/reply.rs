//! What the agent says on a control connection.

use bytes::{Bytes, BytesMut};

use crate::command::CommandInfo;
use crate::error::{DecodeError, Error};
use crate::exec::{ExecResult, OutputChunk};
use crate::frame::{parse, put_frame};
use crate::limits::MAX_CONTROL_FRAME;
use crate::wire;

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

impl StdinState {
    pub(crate) fn to_wire(self) -> wire::StdinState {
        wire::StdinState { accepted: self.accepted, offset: self.offset, eof: self.eof }
    }

    pub(crate) fn from_wire(w: wire::StdinState) -> Self {
        Self { accepted: w.accepted, offset: w.offset, eof: w.eof }
    }
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
    /// Of the commands' cgroups: `memory`, `pids`, `cpu`.
    pub cgroup_controllers: Vec<String>,
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
            Self::Stdin(s) => Body::Stdin(s.to_wire()),
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
            Body::Stdin(s) => Self::Stdin(StdinState::from_wire(s)),
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
            cgroup_controllers: self.cgroup_controllers.clone(),
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
            cgroup_controllers: w.cgroup_controllers,
        }
    }
}
