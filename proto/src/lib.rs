//! The contract between Postern's broker (on the host) and its agent (in the
//! guest). This page is a primer: with it and the schema in
//! `schema/postern/agent/v1/agent.proto` an agent, or a client of one, can be
//! written in another language. The crate does no I/O.
//!
//! # Connections
//!
//! The host dials the agent's listener: vsock port [`limits::AGENT_PORT`], or a
//! Unix socket. Each connection begins with one *length-prefixed frame* in each
//! direction, a big-endian `u32` and that many bytes of protobuf, holding a
//! `Hello`. The host sends first. The lower of the two generations is spoken.
//! `Hello.purpose` says what the connection is:
//!
//! - **Control.** One per session. Length-prefixed frames: `HostMessage` one
//!   way, `AgentMessage` the other. Requests carry ids of the host's making and
//!   are answered once each, in any order, many in flight. A frame is at most
//!   [`limits::MAX_CONTROL_FRAME`] bytes; a longer claim ends the connection
//!   before anything is allocated. A second control connection with an equal or
//!   higher `epoch` ends the first; one with a lower epoch is refused.
//! - **Stream.** One per flow of bytes. The host sends a `StreamOpen` frame (it
//!   need not wait for the agent's `Hello`), the agent answers with a
//!   `StreamReply` frame, and from there on both send *stream frames*.
//!
//! # Stream frames
//!
//! ```text
//!  0      1      2             4                    8                  16                 24
//! ┌──────┬──────┬─────────────┬────────────────────┬──────────────────┬──────────────────┬─────────
//! │ kind │ tag  │ zero        │ length of payload  │ offset           │ aux              │ payload …
//! └──────┴──────┴─────────────┴────────────────────┴──────────────────┴──────────────────┴─────────
//! ```
//!
//! All big-endian. Kinds: 1 data (tag 1 stdout, 2 stderr, 3 pty, 0 none;
//! `offset` of the first byte; for output `aux` is its offset within its own
//! stream), 2 gap (`[offset, aux)` of the output is gone; no payload), 3 message
//! (`StreamEvent`), 4 end (`StreamEnd`). Each direction that carries data ends
//! with an end frame; a connection that closes without one broke, and what it
//! carried is not whole. Half-close is never used. Backpressure is the socket's
//! own: who is slow does not read.
//!
//! A host that ends a *follow* stream with `done` wants no more of it; one that
//! ends it with an error says that its reader vanished and may come again.
//!
//! A *follow* stream that is filtered to one of stdout and stderr counts all
//! offsets in that stream's own bytes.
//!
//! A *disk layer* stream carries no data: the agent reads the blob from the block
//! device with that serial, tells now and then how far it is, and ends as it ends
//! a *layer* stream.
//!
//! A *stdin* stream is answered with where stdin stands. The host's data frames
//! go on from there: bytes that were applied before are skipped, a frame beyond
//! the expected offset is a fault. The agent reads on only as the process does,
//! tells now and then how far it came, and ends with its last word once the host
//! has ended or the process takes no more. After a break the host opens another
//! and goes on from the offset in the reply. The host's end is the end of file,
//! unless the opening said `keep_open`.
//!
//! # Commands
//!
//! The host makes the id. `Exec` with a known id or idempotency key starts
//! nothing and answers what was started. A command's process ends with *exited*
//! (its status; what the pipes held at that moment is in the log), and its log
//! ends with *closed*. Output between the two is late output of descendants.
//! Offsets never jump without a gap frame, nothing follows closed, and there is
//! one exit; a peer that breaks this is cut off.
//!
//! # Rules
//!
//! Unknown fields are ignored. An unknown request or opening is answered with
//! `invalid_argument`, never with a hang-up. A frame that cannot be decoded ends
//! its connection and touches no other. `boot_id` tells a reconnect from a
//! reboot, `instance_id` a reconnect from a serving process that was started
//! anew: then every command of before is lost.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::indexing_slicing)]

pub mod command;
pub mod error;
pub mod exec;
pub mod frame;
pub mod hello;
pub mod limits;
pub mod process;
pub mod reply;
pub mod request;
pub mod stream;

/// Generated from the schema; stays inside this crate.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/postern.agent.v1.rs"));
}

pub use command::{CommandInfo, CommandState, Exit, ExitStatus};
pub use error::{Code, DecodeError, Error, SpawnStage};
pub use exec::{
    EnvVar, Exec, ExecResult, OnDisconnect, OutputChunk, OutputStream, SignalScope, TtySize,
};
pub use frame::{StreamHeader, StreamKind, take_frame};
pub use hello::{Hello, Purpose};
pub use process::{Capabilities, CapabilityProfile, CgroupLimits, Rlimit, Usage};
pub use reply::{Event, FromAgent, Info, Output, Reply, StdinState};
pub use request::{Configure, ImageConfig, Request, Resume, WriteStdin};
pub use stream::{
    DiskLayer, FileInfo, Follow, Layer, LayerDone, ReadFile, StdinOpen, StreamEnd, StreamEvent,
    StreamOpen, StreamReply, WriteFile,
};
