//! How a process is set up, what it may use, and what it used.

use crate::error::{DecodeError, wire_enum};
use crate::wire;

/// One limit of setrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlimit {
    /// As limits.conf(5) names it: `nofile`, `nproc`, `core`.
    pub resource: String,
    /// What applies; [`u64::MAX`] for no limit.
    pub soft: u64,
    /// How far the process may raise it; likewise.
    pub hard: u64,
}

/// Where the set of capabilities starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CapabilityProfile {
    /// All that the session's workload may have.
    #[default]
    Full,
    /// What containers commonly have: enough to install packages and to change
    /// users, nothing that reaches the kernel's or the network's set-up.
    Restricted,
    /// None.
    None,
}

wire_enum!(CapabilityProfile, CapabilityProfile, "capabilities.profile", [Full, Restricted, None]);

/// The capabilities(7) of a command, by name without `CAP_`, in any case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// The set to begin with.
    pub profile: CapabilityProfile,
    /// Added to it, as far as the workload may have them.
    pub add: Vec<String>,
    /// Taken from it.
    pub drop: Vec<String>,
    /// Of the set, those that a user who is not root keeps across execve(2).
    pub ambient: Vec<String>,
}

/// Limits of a command's cgroup. Where the kernel cannot set one, a command
/// that asks for it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CgroupLimits {
    /// `memory.max`; swap is off for the command then.
    pub memory_bytes: Option<u64>,
    /// `cpu.max`, thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// `pids.max`.
    pub pids: Option<u32>,
}

/// What a command's whole tree has used; None where the kernel does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Microseconds of processor time in programs.
    pub cpu_user_us: Option<u64>,
    /// Microseconds of processor time in the kernel.
    pub cpu_system_us: Option<u64>,
    /// The most memory at any one time, bytes.
    pub memory_peak_bytes: Option<u64>,
}

impl Rlimit {
    pub(crate) fn to_wire(&self) -> wire::Rlimit {
        wire::Rlimit { resource: self.resource.clone(), soft: self.soft, hard: self.hard }
    }

    pub(crate) fn from_wire(w: wire::Rlimit) -> Self {
        Self { resource: w.resource, soft: w.soft, hard: w.hard }
    }
}

impl Capabilities {
    pub(crate) fn to_wire(&self) -> wire::Capabilities {
        wire::Capabilities {
            profile: self.profile.to_wire(),
            add: self.add.clone(),
            drop: self.drop.clone(),
            ambient: self.ambient.clone(),
        }
    }

    /// A profile that is not known is an error: it would decide about rights.
    pub(crate) fn from_wire(w: wire::Capabilities) -> Result<Self, DecodeError> {
        Ok(Self {
            profile: CapabilityProfile::from_wire(w.profile)?,
            add: w.add,
            drop: w.drop,
            ambient: w.ambient,
        })
    }
}

impl CgroupLimits {
    pub(crate) fn to_wire(self) -> Option<wire::CgroupLimits> {
        (self != Self::default()).then_some(wire::CgroupLimits {
            memory_bytes: self.memory_bytes,
            cpu_millis: self.cpu_millis,
            pids: self.pids,
        })
    }

    pub(crate) fn from_wire(w: wire::CgroupLimits) -> Self {
        Self { memory_bytes: w.memory_bytes, cpu_millis: w.cpu_millis, pids: w.pids }
    }
}

impl Usage {
    pub(crate) fn to_wire(self) -> Option<wire::Usage> {
        (self != Self::default()).then_some(wire::Usage {
            cpu_user_us: self.cpu_user_us,
            cpu_system_us: self.cpu_system_us,
            memory_peak_bytes: self.memory_peak_bytes,
        })
    }

    pub(crate) fn from_wire(w: wire::Usage) -> Self {
        Self {
            cpu_user_us: w.cpu_user_us,
            cpu_system_us: w.cpu_system_us,
            memory_peak_bytes: w.memory_peak_bytes,
        }
    }
}
