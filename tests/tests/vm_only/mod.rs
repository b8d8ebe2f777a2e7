//! Scenarios about what only a machine has.

pub(crate) mod bounds;
pub(crate) mod corpus;
pub(crate) mod disks;
pub(crate) mod kernel;
pub(crate) mod machine;
pub(crate) mod replug;
pub(crate) mod resume;
pub(crate) mod screens;
