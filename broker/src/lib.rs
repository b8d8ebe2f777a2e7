//! Postern's broker as a library.
//!
//! It makes or attaches sandboxes (`driver`), fills them with an image
//! (`image`), reaches their agents ([`transport`]), speaks the protocol to them
//! ([`guest`]), and offers sessions, commands and files as plain async calls
//! ([`core`]) and over HTTP ([`api`]). What must survive it is in its `store`.
//!
//! Dependence goes one way: `api → core → guest → transport`. A dialect of the
//! API never sees the protocol, the core never sees HTTP, a transport never sees
//! messages. Everything that comes from a guest is taken for hostile: each wait
//! has a deadline, each buffer a cap.

#![forbid(unsafe_code)]

pub mod api;
mod arch;
pub mod core;
mod driver;
pub mod guest;
mod image;
mod signal;
mod store;
pub mod transport;
