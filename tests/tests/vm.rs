//! Every scenario on QEMU microVMs, with real vsock.

#![allow(clippy::unwrap_used, reason = "tests")]

mod scenarios;

both_rigs!(vm);
