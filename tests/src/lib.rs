//! The rigs that scenarios run on.

pub mod raw;
