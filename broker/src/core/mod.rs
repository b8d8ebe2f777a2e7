//! Sessions, commands and files as plain async Rust: the embedding API.
//!
//! ```text
//! Broker ── create_session ──► Session ── exec, run, follow ──► commands
//!                                      ── read_file, write_file ──► files
//! ```
//!
//! Nothing here knows HTTP. The domain types of the protocol that a caller meets
//! are re-exported, so that nobody above needs the protocol's crate.

mod abandon;
mod admission;
mod adopt;
mod broker;
mod builder;
mod claim;
mod entrypoint;
mod error;
mod exec;
mod files;
mod follow;
mod id;
mod images;
mod issued;
mod keys;
mod lifecycle;
mod making;
mod resume;
mod run;
mod saved;
mod session;
mod shared;
mod stdin;
mod stdin_flow;
mod types;

pub use crate::arch::{GuestArch, UnknownArch};
pub use crate::guest::FollowItem;
pub use crate::image::{
    ImageConfig, LayerProgress, LeftOut, Progress, ProgressSender, Pruned, PullPolicy,
    RegistryOptions,
};
pub use crate::transport::AttachTarget;
pub use broker::Broker;
pub use builder::BrokerBuilder;
pub use claim::Claim;
pub use error::{Error, Result};
pub use exec::{ExecRequest, Finished, ProcessSetup, Program, Started};
pub use files::{FileReader, FileWriter};
pub use follow::{FollowOptions, Follower};
pub use images::{ImageDetail, ImageInfo, ImageLayer, StoreUse};
pub use session::Session;
pub use stdin::{StdinFeed, StdinWatch};
pub use types::{
    BootFigures, CreateSession, DriverChoice, DriverKind, ImageTransfer, Limits, MIN_DISK_MB,
    OutputRange, SessionInfo, SessionStatus, StdinWrite,
};

pub use postern_proto::hello::GENERATION as PROTOCOL_GENERATION;
pub use postern_proto::limits::AGENT_PORT;
pub use postern_proto::{
    Capabilities, CapabilityProfile, CgroupLimits, Code, CommandInfo, CommandState, EnvVar, Exit,
    ExitStatus, FileInfo, Info as AgentInfo, OnDisconnect, Output, OutputChunk, OutputStream,
    ReadFile, Rlimit, SignalScope, SpawnStage, StdinState, TtySize, Usage, WriteFile,
};
