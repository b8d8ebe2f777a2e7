//! Commands: one process tree each, with its log, its stdin and its end.
//!
//! ```text
//! Exec ─► prepare ─► spawner thread ─► process ──stdout, stderr──► pump ─► log
//!                         │                ▲                                │
//!                         ▼                └── WriteToChild ◄─ stdin        ▼
//!                     life (pidfd, timeout) ─────► exited ─────► closed   readers
//! ```

mod cgroup;
mod kill;
mod life;
mod prepare;
mod pump;
mod record;
mod spawner;
mod start;
mod stdin;
mod table;

pub use cgroup::CgroupPool;
pub use kill::signal;
pub use prepare::{Prepared, check, prepare};
pub use record::{Command, READER_GRACE};
pub use spawner::{Namespaces, Spawner};
pub use start::start;
pub use stdin::{Stdin, StdinError};
pub use table::{Table, TableError};
