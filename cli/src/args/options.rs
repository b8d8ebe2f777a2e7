//! Flags that several subcommands have.

use clap::ValueEnum;
use clap::builder::ValueParser;

use super::values::{self, Ulimit};
use crate::args::Driver;
use crate::terminal::keys::{self, DetachKeys};

/// What a session can be given.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct SessionOptions {
    /// How the sandbox is made
    #[arg(long)]
    pub(crate) driver: Option<Driver>,
    /// Memory, in MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) memory: Option<u32>,
    /// Virtual processors
    #[arg(long, value_name = "N")]
    pub(crate) cpus: Option<u32>,
    /// End the session after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) ttl: Option<u64>,
    /// Size of the root file system, in MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) root_size: Option<u32>,
    /// Put the root on a disk of this size, in MiB, instead of into memory
    #[arg(long, value_name = "MIB", conflicts_with = "root_size")]
    pub(crate) disk: Option<u32>,
    /// Name of the sandbox
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Give it a user-mode network (the guest then reaches the host's loopback)
    #[arg(long)]
    pub(crate) network: bool,
    /// When the image is pulled from its registry [default: missing]
    #[arg(long, value_name = "WHEN")]
    pub(crate) pull: Option<PullPolicy>,
}

/// Whether what the broker has of an image will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicy {
    Always,
    Missing,
    Never,
}

impl PullPolicy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Missing => "missing",
            Self::Never => "never",
        }
    }
}

impl SessionOptions {
    /// Whether anything is asked for, which only a new session can be given.
    pub(crate) fn any(&self) -> bool {
        let Self { driver, memory, cpus, ttl, root_size, disk, hostname, network, pull } = self;
        driver.is_some()
            || memory.is_some()
            || cpus.is_some()
            || ttl.is_some()
            || root_size.is_some()
            || disk.is_some()
            || hostname.is_some()
            || *network
            || pull.is_some()
    }
}

/// How a command's process is set up.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ProcessOptions {
    /// Environment variable; without =VALUE, this process's own
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Working directory
    #[arg(short = 'w', long, value_name = "DIR")]
    pub(crate) cwd: Option<String>,
    /// User, by name or UID[:GID]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// End it after so long: 90s, 5m, 500ms
    #[arg(long, value_name = "TIME", value_parser = values::duration_ms)]
    pub(crate) timeout: Option<u64>,
    /// The same in milliseconds
    #[arg(long, value_name = "MS", conflicts_with = "timeout", hide = true)]
    pub(crate) timeout_ms: Option<u64>,
    /// So many processes at most
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub(crate) pids_limit: Option<u32>,
    /// Limit of setrlimit(2): nofile=1024:2048, core=unlimited
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = ValueParser::from(values::ulimit), help_heading = LIMITS)]
    pub(crate) ulimit: Vec<Ulimit>,
    /// Permission bits that new files do not get, in octal
    #[arg(long, value_name = "MASK", value_parser = values::umask, help_heading = LIMITS)]
    pub(crate) umask: Option<u32>,
    /// Priority, -20 to 19
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = LIMITS)]
    pub(crate) nice: Option<i32>,
    /// Capability to add, by name; ALL for all that the session may have
    #[arg(long, value_name = "CAP", help_heading = LIMITS)]
    pub(crate) cap_add: Vec<String>,
    /// Capability to take away; ALL for all
    #[arg(long, value_name = "CAP", help_heading = LIMITS)]
    pub(crate) cap_drop: Vec<String>,
    /// No program gives it more rights than it has
    #[arg(long, help_heading = LIMITS)]
    pub(crate) no_new_privs: bool,
}

impl ProcessOptions {
    pub(crate) fn timeout_ms(&self) -> Option<u64> {
        self.timeout.or(self.timeout_ms)
    }
}

const LIMITS: &str = "Rights and limits";

/// What a command can be given.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct CommandOptions {
    /// Hand this process's stdin on
    #[arg(short, long, visible_alias = "stdin")]
    pub(crate) interactive: bool,
    /// Run it on a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Run the user's login shell, or the command by it
    #[arg(long)]
    pub(crate) login: bool,
    #[command(flatten)]
    pub(crate) process: ProcessOptions,
    #[command(flatten)]
    pub(crate) detach: DetachOptions,
}

/// Limits of a command within its session.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct LimitOptions {
    /// Memory of the command: 512m, 1.5g
    #[arg(long, value_name = "SIZE", value_parser = values::bytes, help_heading = LIMITS)]
    pub(crate) memory: Option<u64>,
    /// Processors of the command: 2, 0.5
    #[arg(long, value_name = "N", value_parser = values::cpu_millis, help_heading = LIMITS)]
    pub(crate) cpus: Option<u32>,
}

/// How a terminal is left with its command running.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct DetachOptions {
    /// Keys that leave the command running: ctrl-p,ctrl-q; empty for none [default: ctrl-]]
    #[arg(long, value_name = "KEYS", env = "POSTERN_DETACH_KEYS", hide_env_values = true)]
    detach_keys: Option<DetachKeys>,
}

impl DetachOptions {
    pub(crate) fn keys(&self) -> DetachKeys {
        self.detach_keys
            .clone()
            .unwrap_or_else(|| keys::DEFAULT.parse().unwrap_or_else(|_| DetachKeys::none()))
    }
}
