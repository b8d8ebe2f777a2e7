//! System calls that neither std nor nix offer; the only unsafe code of the agent.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the kernel's types are what they are; values are checked where they can differ"
)]

pub mod clone;
pub mod machine;
pub mod net;
pub mod pidfd;
pub mod process;
pub mod pty;
pub mod setup;
pub mod spawn;
pub mod watch;

pub mod fscreds;
pub mod xattr;
