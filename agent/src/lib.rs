//! The guest side of Postern: PID 1 of a microVM, and what it serves.
//!
//! Read in this order: [`boot`] (how a guest comes up), [`serve`] (how the host
//! is heard), `handlers` (one file per request), [`guest`] (what they share),
//! [`link`] (one connection), [`command`] and [`output`] (a process and what it
//! says), [`image`] and [`files`] (the workload's root), [`sys`] (what only the
//! kernel can do). Dependence goes that way, too; `console` and
//! [`disk`] (block devices by their serial) are for all.

pub mod boot;
pub mod command;
pub mod console;
pub mod disk;
pub mod files;
pub mod guest;
mod handlers;
pub mod image;
pub mod link;
pub mod output;
pub mod serve;
pub mod sys;

/// Name and version, as they stand in `Hello`.
pub const SOFTWARE: &str = concat!("postern-agent ", env!("CARGO_PKG_VERSION"));
