//! The typed client of one agent.
//!
//! ```text
//! Guest ── owner task ── Link (control connection; redialled when it breaks)
//!   ├── call: request and reply, many in flight
//!   └── FollowStream, StdinStream, ReadStream, WriteStream: a connection each
//! ```
//!
//! A `Link` lives as long as its connection; a [`Guest`] as long as
//! its sandbox. Callers write their own requests, so a round trip passes through
//! one other task only: the reader that wakes the caller.
//!
//! The agent is hostile until shown otherwise: lengths are checked before
//! anything is allocated, every wait has a deadline, and whatever the protocol
//! forbids is a [`Fault`] that closes the connection and is counted.

mod backoff;
mod client;
mod disk_layer;
#[cfg(test)]
mod disk_layer_tests;
mod error;
mod follow;
mod hello;
mod link;
mod reader;
mod requests;
mod resume;
mod stdin;
mod stream;
mod transfer;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod follow_tests;
#[cfg(test)]
mod link_tests;
#[cfg(test)]
mod stdin_tests;
#[cfg(test)]
mod tests;

pub use client::{ConnectOptions, Guest, Instances};
pub use error::{Fault, GuestError};
pub use follow::{FollowItem, FollowStream};
pub use stdin::{MAX_UNTAKEN, StdinProgress, StdinStream};
pub use transfer::{ReadStream, WriteStream};
