//! One connection to the host: its frames, its answers, its bulk transfers.

mod conn;
mod outbox;
mod transfer;

pub use conn::{Conn, ConnError};
pub use outbox::Outbox;
pub use transfer::{Transfer, buffer, error_of};
