//! What a caller asks for and is told, sessions and limits.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use postern_proto::OutputStream;

use crate::image::{ImageConfig, PullPolicy};
use crate::transport::AttachTarget;

/// How sessions come to be when a request does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// A microVM where one can be made, else an error that says what is missing.
    #[default]
    Auto,
    /// A QEMU microVM.
    Qemu,
    /// Namespaces of this host: for development, no security boundary.
    Process,
}

/// How layers reach a microVM of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageTransfer {
    /// Over vsock, as streams.
    Stream,
    /// On a read-only disk that lies in the session's directory until the image is
    /// in place. Images above 1 GiB of layers, and those for which the host has no
    /// room, go by streams.
    #[default]
    Disk,
}

/// What a session's sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DriverKind {
    /// A QEMU microVM.
    Qemu,
    /// Namespaces of this host.
    Process,
    /// A sandbox that somebody else runs.
    Attach,
}

impl DriverKind {
    /// As the API and the CLI name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Process => "process",
            Self::Attach => "attach",
        }
    }
}

/// The smallest disk: room for busybox beside the file system's own blocks.
pub const MIN_DISK_MB: u32 = 16;

/// A session to make. `Default` gives the broker's defaults.
#[derive(Debug, Clone, Default)]
pub struct CreateSession {
    /// A name below the images' directory; a registry's reference (`debian:12`,
    /// `registry.example/o/i@sha256:…`, `docker://debian`: whatever has a `/`, `:` or `@`);
    /// `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]` or `docker-archive:FILE[:NAME]`.
    /// None: the broker's default image. With `attach`, None: what is there stays.
    pub image: Option<String>,
    /// For images of registries and archives.
    pub pull_policy: PullPolicy,
    /// None: the broker's default.
    pub driver: Option<DriverChoice>,
    /// Over the image's environment, below a command's own.
    pub env: Vec<(String, String)>,
    /// None: a default by driver and image.
    pub memory_mb: Option<u32>,
    /// None: two.
    pub cpus: Option<u32>,
    /// The session is ended after this; None: the broker's default, which may be never.
    pub ttl: Option<Duration>,
    /// The size of the root's tmpfs; None: from the memory.
    pub root_size_mb: Option<u32>,
    /// The root is a disk of this size instead: an ext4 file system in a sparse
    /// file of the host, which goes with the session. For microVMs of ours; at
    /// least [`MIN_DISK_MB`].
    pub disk_mb: Option<u32>,
    /// None: made from the id.
    pub hostname: Option<String>,
    /// User-mode network. Off, since through it a guest reaches the host's loopback.
    pub network: bool,
    /// Start the image's Entrypoint with its Cmd as the first command, as the image's
    /// User in its WorkingDir. A session whose entrypoint cannot be started is not
    /// made. It ends by the image's StopSignal, then KILL after 10 s; when it ends by
    /// itself the session goes on.
    pub entrypoint: bool,
    /// In the place of the image's Cmd; with `entrypoint` only.
    pub cmd: Option<Vec<String>>,
    /// prctl(2), `PR_SET_NO_NEW_PRIVS` for every command: setuid bits and capabilities
    /// of programs give nothing. Off, since sudo, su and ping need them.
    pub no_new_privs: bool,
    /// A sandbox that somebody else runs; nothing is made then.
    pub attach: Option<AttachTarget>,
}

/// Where a session stands.
///
/// ```text
/// Starting ──► Running ──► Draining ──► Terminated
///    │            └──────────► Failed
///    └──────────────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStatus {
    /// The sandbox is made, the image unpacked.
    Starting,
    /// It takes commands.
    Running,
    /// It is being ended.
    Draining,
    /// It was ended on purpose: deleted, or its time was over.
    Terminated,
    /// Its sandbox ended by itself, or never got ready.
    Failed,
}

impl SessionStatus {
    /// As the API and the CLI name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Terminated => "terminated",
            Self::Failed => "failed",
        }
    }

    /// Nothing will happen to it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Terminated | Self::Failed)
    }
}

/// How long the way to a ready session took, on the host's clock and the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BootFigures {
    /// From the request to the agent's first answer.
    pub sandbox: Duration,
    /// Sending and unpacking the image.
    pub image: Duration,
    /// From the request to ready.
    pub total: Duration,
    /// CLOCK_BOOTTIME of the guest when PID 1 began, microseconds.
    pub init_start_us: u64,
    /// Likewise when the agent was ready to accept.
    pub agent_ready_us: u64,
    /// "kvm" or "tcg", where there is a virtual machine of ours.
    pub accelerator: Option<&'static str>,
}

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// `sess_…`.
    pub id: String,
    /// The host's clock.
    pub created_at: SystemTime,
    /// Where it stands.
    pub status: SessionStatus,
    /// Why it ended, once it has.
    pub reason: Option<String>,
    /// As it was asked for; empty where an attached sandbox keeps its own.
    pub image: String,
    /// What its sandbox is.
    pub driver: DriverKind,
    /// 0 where somebody else decided.
    pub memory_mb: u32,
    /// 0 where somebody else decided.
    pub cpus: u32,
    /// None: it lives until it is ended.
    pub ttl: Option<Duration>,
    /// When the time is over.
    pub expires_at: Option<SystemTime>,
    /// Of the disk that the root is on; None: the root is in memory.
    pub disk_mb: Option<u32>,
    /// Inside the sandbox.
    pub hostname: String,
    /// User-mode network.
    pub network: bool,
    /// Of every command.
    pub no_new_privs: bool,
    /// What its image says; None where an attached sandbox keeps its own.
    pub image_config: Option<Arc<ImageConfig>>,
    /// The first command, of a session that was made with `entrypoint` and is ready.
    pub entrypoint_command_id: Option<String>,
    /// Once it is ready.
    pub boot: Option<BootFigures>,
}

/// Bytes for a command's stdin; see `Session::write_stdin`.
#[derive(Debug, Clone, Default)]
pub struct StdinWrite {
    /// Of the first byte; a part applied before is skipped. None: wherever
    /// stdin stands, for callers that do not retry.
    pub offset: Option<u64>,
    /// The bytes, any amount.
    pub data: Bytes,
    /// stdin ends after them; counts only if all of them were taken.
    pub eof: bool,
}

/// A range of a command's output to read without a stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutputRange {
    /// The first byte.
    pub from: u64,
    /// Only this stream; `from` then counts that stream's bytes.
    pub only: Option<OutputStream>,
    /// None: as much as one answer carries.
    pub max_bytes: Option<u32>,
}

/// Bounds that an operator may change.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions at once: each costs a sandbox, and a leak must not fill the host.
    pub max_sessions: usize,
    /// The most memory that one session may ask for.
    pub max_memory_mb: u32,
    /// The most virtual processors.
    pub max_cpus: u32,
    /// Memory of the host that admission leaves alone, so that the host itself
    /// and the broker never come under pressure from a new session.
    pub reserve_memory_mb: u32,
    /// The largest disk that one session may ask for. Disks are sparse, so the
    /// sum of them may be more than the host has.
    pub max_disk_mb: u32,
    /// Room of the data directory's disk that a new session's disk leaves alone:
    /// the store and the consoles are there too.
    pub reserve_disk_mb: u32,
    /// For sessions that do not ask for one.
    pub default_ttl: Option<Duration>,
    /// From the start of a sandbox to the agent's first answer. TCG without a
    /// second core takes 2 to 6 s; a host under load several times that. A sandbox
    /// of ours that lets it pass is made once more, and has it again.
    pub boot_deadline: Duration,
    /// For an image to come from its registry. What has arrived by then is kept
    /// for the next try.
    pub pull_deadline: Duration,
    /// For sending and unpacking an image: Debian takes some 10 s under TCG.
    pub image_deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: 1000,
            max_memory_mb: 64 << 10,
            max_cpus: 64,
            reserve_memory_mb: 512,
            max_disk_mb: 1 << 20,
            reserve_disk_mb: 512,
            default_ttl: None,
            boot_deadline: Duration::from_secs(60),
            pull_deadline: Duration::from_secs(30 * 60),
            image_deadline: Duration::from_secs(300),
        }
    }
}
