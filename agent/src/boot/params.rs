//! What the host says before there is a protocol: the kernel's command line, or
//! the arguments of a process sandbox.

use std::io;
use std::path::PathBuf;

use postern_proto::limits::AGENT_PORT;

use super::Place;
use crate::console::Console;

/// The workload's root when nobody says how large: half of the memory, as
/// tmpfs(5) itself has it.
const DEFAULT_ROOT_BYTES: u64 = 0;

/// Arguments of `postern-agent --sandbox`.
#[derive(Debug, Clone, Default)]
pub struct SandboxArgs {
    /// Where `agent.sock` is made.
    pub dir: PathBuf,
    /// The size of the root, MiB; of what changes, where the root is
    /// [`SandboxRoot::Over`] another.
    pub root_mb: Option<u64>,
    /// What the root is made of.
    pub root: SandboxRoot,
    /// The host name.
    pub hostname: String,
    /// Commands get no cgroups, as on a kernel without them.
    pub no_cgroups: bool,
}

/// What the root of a process sandbox is made of.
#[derive(Debug, Clone, Default)]
pub enum SandboxRoot {
    /// Memory of its own.
    #[default]
    Memory,
    /// A directory of the host, which then holds the image.
    Directory(PathBuf),
    /// An image that is unpacked in a directory of the host, which is not written
    /// to, and memory for what changes.
    Over(PathBuf),
}

/// The settings of this boot.
#[derive(Debug, Clone)]
pub(super) struct Params {
    pub(super) port: u32,
    pub(super) doorbell: Option<u32>,
    pub(super) root_bytes: u64,
    /// The root is mounted already.
    pub(super) root_is_made: bool,
    /// The serial of the disk that the workload's root is on; None: a tmpfs.
    pub(super) root_disk: Option<String>,
    pub(super) no_cgroups: bool,
    hostname: String,
}

impl Params {
    pub(super) fn read(place: &Place) -> io::Result<Self> {
        let mut params = Self {
            port: AGENT_PORT,
            doorbell: None,
            root_bytes: DEFAULT_ROOT_BYTES,
            root_is_made: false,
            root_disk: None,
            no_cgroups: false,
            hostname: String::new(),
        };
        match place {
            Place::Machine => params.parse(&std::fs::read_to_string("/proc/cmdline")?),
            Place::Sandbox { args, .. } => {
                params.no_cgroups = args.no_cgroups;
                params.root_bytes = args.root_mb.unwrap_or(0) << 20;
                params.root_is_made = !matches!(args.root, SandboxRoot::Memory);
                params.hostname.clone_from(&args.hostname);
            }
        }
        if params.hostname.is_empty() {
            params.hostname = "sandbox".to_owned();
        }
        Ok(params)
    }

    /// `postern.NAME=VALUE` words; what is not understood is left to others.
    fn parse(&mut self, line: &str) {
        for word in line.split_whitespace() {
            let Some((name, value)) = word.strip_prefix("postern.").and_then(|w| w.split_once('='))
            else {
                continue;
            };
            match name {
                "port" => self.port = value.parse().unwrap_or(self.port),
                "doorbell" => self.doorbell = value.parse().ok(),
                "root_mb" => self.root_bytes = value.parse::<u64>().map_or(0, |mb| mb << 20),
                "root_disk" => self.root_disk = Some(value.to_owned()).filter(|s| !s.is_empty()),
                "cgroups" => self.no_cgroups = value == "off",
                "hostname" => value.clone_into(&mut self.hostname),
                _ => {}
            }
        }
    }

    pub(super) fn apply(&self, console: Console) {
        if let Err(errno) = nix::unistd::sethostname(&self.hostname) {
            console.line(format_args!("the host name stays: {}", errno.desc()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_are_left_alone() {
        let mut params = Params {
            port: 1,
            doorbell: None,
            root_bytes: 0,
            root_is_made: false,
            root_disk: None,
            no_cgroups: false,
            hostname: String::new(),
        };
        params.parse("quiet postern.port=7 postern.port=x postern.doorbell=9 root=/dev/vda\n");
        assert_eq!((params.port, params.doorbell, params.no_cgroups), (7, Some(9), false));
        assert_eq!(params.root_disk, None);
        params.parse("postern.cgroups=off postern.root_disk=postern-root");
        assert!(params.no_cgroups);
        assert_eq!(params.root_disk.as_deref(), Some("postern-root"));
    }
}
