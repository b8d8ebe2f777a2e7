//! The guest side of Postern: PID 1 of a microVM, and what it serves.
//!
//! Read in this order: [`boot`] (how a guest comes up), [`serve`] (how the host
//! is heard), `handlers` (one file per request), [`command`] and [`output`] (a
//! process and what it says), [`image`] and [`files`] (the workload's root),
//! [`sys`] (what only the kernel can do). Dependence goes that way, too.

pub mod boot;
pub mod command;
pub mod files;
mod handlers;
pub mod image;
pub mod output;
pub mod serve;
pub mod sys;

pub use serve::SOFTWARE;
