//! The output log: what a command wrote, under absolute offsets.
//!
//! ```text
//!   dropped        stretch            window (not read yet)
//! ───────────┬──────────────────┬───────────────────────────┬─ ─ ─
//!            first              slowest lossless reader     end
//! ```
//!
//! The log is bounded. Without lossless readers it keeps the last `window`
//! bytes and drops the oldest, so that a process which nobody reads never
//! waits. A lossless reader holds it: [`Log::room`] then says how much may be
//! appended, the pump stops at zero, the pipe fills and the process waits. The
//! `stretch` behind the slowest such reader is kept too, since bytes that were
//! written to a socket may never have arrived.
//!
//! A [`Meter`] counts what all logs take together. Whoever keeps them makes room
//! with [`Log::squeeze`] when that is too much: what is dropped then is a gap as
//! any other, and a log that is held has less room instead.
//!
//! Nothing here knows of processes, sockets or clocks; time comes in as an
//! argument, so that a test can drive every interleaving.

mod blocks;
mod hold;
mod log;
mod meter;

pub use hold::HoldId;
pub use log::{Cursor, Limits, Log, Next};
pub use meter::Meter;
