//! The rigs that scenarios run on.
//!
//! ```text
//! test ── HTTP ── rig-broker (postern-broker in a program of its own)
//!   │                 └── sandbox: namespaces of this host, or a QEMU microVM
//!   └──── raw ────────────── its agent's socket
//! ```
//!
//! [`Rig`] makes sessions, [`Session`] and [`Command`] speak the native API,
//! [`raw`] speaks the agent's protocol, [`fake`] is an agent that lies, [`fault`]
//! is a bad link, [`hostile`] are images that nobody should make. The broker is a separate process, so that its memory can be
//! measured and its sandboxes end when the tests do, however they do: its stdin
//! is a lifeline.
//!
//! Everything here panics when the rig itself does not work, since then the
//! test has failed. What a test asks about comes back as a value.

#![allow(clippy::unwrap_used, reason = "a rig that does not work is a failed test")]

pub mod artifacts;
pub mod broker;
pub mod command;
#[cfg(test)]
mod complaints;
pub mod cutter;
pub mod deaf;
pub mod events;
pub mod fake;
pub mod fault;
pub mod gate;
pub mod hostile;
pub mod http;
pub mod keep;
pub mod layout;
pub mod proc;
pub mod random;
pub mod raw;
pub mod registry;
pub mod rig;
pub mod session;
pub mod socket;
pub mod stacks;
pub mod tagged;
pub mod tarball;
pub mod tmux;
pub mod wait;

pub use broker::Broker;
pub use command::Command;
pub use rig::{Kind, Rig};
pub use session::{Answer, Session};
pub use socket::Socket;
