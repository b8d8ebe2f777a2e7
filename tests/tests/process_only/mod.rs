//! Scenarios that need to see the sandbox from outside, or no sandbox at all.

pub(crate) mod archives;
pub(crate) mod cli;
pub(crate) mod daemon;
pub(crate) mod disks;
pub(crate) mod liars;
pub(crate) mod lost;
pub(crate) mod registry;
pub(crate) mod resume;
pub(crate) mod shared;
pub(crate) mod stall;
pub(crate) mod survival;
pub(crate) mod walk;
