//! Every scenario on process sandboxes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod scenarios;

both_rigs!(process);
