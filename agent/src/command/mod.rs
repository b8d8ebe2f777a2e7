//! Commands: one process tree each, with its log, its stdin and its end.
//!
//! ```text
//! Exec ─► prepare ─► spawner thread ─► process ──pipes or terminal─► pump ─► log
//!                         │                ▲                                │
//!                         ▼                └── WriteToChild ◄─ stdin        ▼
//!                     life (pidfd, timeout) ─────► exited ─────► closed   readers
//! ```

mod capabilities;
mod cgroup;
mod commands;
mod ends;
mod failure;
mod kill;
mod life;
mod limits;
mod prepare;
mod pump;
mod record;
mod session;
mod setup;
mod sink;
mod spawner;
mod start;
mod stdin;
mod table;
mod terminal;
mod walk;

pub use commands::{Commands, End, Ended};
pub use kill::signal;
pub use prepare::{Prepared, check, prepare};
pub use record::{Command, READER_GRACE};
pub use session::Session;
pub use setup::raise_own_descriptors;
pub use spawner::Namespaces;
pub use start::{fail, start};
pub(crate) use stdin::until_room;
pub use stdin::{Stdin, StdinError};
pub use table::{Table, TableError};
