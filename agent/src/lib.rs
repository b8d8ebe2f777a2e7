//! The guest side of Postern: PID 1 of a microVM.

pub mod files;
pub mod image;
pub mod sys;
