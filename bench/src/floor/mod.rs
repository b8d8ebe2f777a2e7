//! What any program on this machine could do at best.

pub(crate) mod copy;
pub(crate) mod echo;
pub(crate) mod relay;
pub(crate) mod spawn;
