//! A round trip between two threads over a Unix socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

/// As large as the smallest request of ours.
const PIECE: usize = 64;

#[derive(Debug)]
pub(crate) struct Echo(UnixStream);

impl Echo {
    pub(crate) fn start() -> io::Result<Self> {
        let (ours, mut theirs) = UnixStream::pair()?;
        // It ends when our half is dropped.
        thread::spawn(move || {
            let mut piece = [0; PIECE];
            while theirs.read_exact(&mut piece).is_ok() && theirs.write_all(&piece).is_ok() {}
        });
        Ok(Self(ours))
    }

    pub(crate) fn round_trip(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        self.0.write_all(&piece)?;
        self.0.read_exact(&mut piece)
    }
}
