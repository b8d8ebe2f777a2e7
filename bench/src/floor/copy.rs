//! Bytes between memory and a file of a tmpfs over the transports that ours
//! take, by nothing but reads and writes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::relay::{PIECE, pump, tcp_pair};

/// Which hops lie between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hops {
    Unix,
    UnixAndTcp,
}

/// memory → hops → a new file. The file is left there.
pub(crate) fn into_file(hops: Hops, file: &Path, size: u64) -> io::Result<Duration> {
    let _ = std::fs::remove_file(file);
    let (near, far) = UnixStream::pair()?;
    let begun = Instant::now();
    let path = file.to_owned();
    let sink = thread::spawn(move || pump(far, File::create(path)?));
    let mut relay = None;
    match hops {
        Hops::Unix => send(near, size)?,
        Hops::UnixAndTcp => {
            let (client, server) = tcp_pair()?;
            relay = Some(thread::spawn(move || pump(server, near)));
            send(client, size)?;
        }
    }
    for thread in relay.into_iter().chain([sink]) {
        thread.join().map_err(|_| io::Error::other("the copy panicked"))??;
    }
    Ok(begun.elapsed())
}

/// a file → hops → memory.
pub(crate) fn out_of_file(hops: Hops, file: &Path, size: u64) -> io::Result<Duration> {
    let (near, far) = UnixStream::pair()?;
    let begun = Instant::now();
    let path = file.to_owned();
    // Not io::copy, which would use sendfile(2): ours must put headers between.
    let source = thread::spawn(move || pump(File::open(path)?, far));
    let mut relay = None;
    match hops {
        Hops::Unix => receive(near, size)?,
        Hops::UnixAndTcp => {
            let (client, server) = tcp_pair()?;
            relay = Some(thread::spawn(move || pump(near, server)));
            receive(client, size)?;
        }
    }
    for thread in relay.into_iter().chain([source]) {
        thread.join().map_err(|_| io::Error::other("the copy panicked"))??;
    }
    Ok(begun.elapsed())
}

fn send(mut to: impl Write, size: u64) -> io::Result<()> {
    let piece = vec![b'x'; PIECE];
    let mut left = size;
    while left > 0 {
        let n = usize::try_from(left.min(PIECE as u64)).map_err(io::Error::other)?;
        to.write_all(&piece[..n])?;
        left -= n as u64;
    }
    Ok(())
}

fn receive(mut from: impl Read, expect: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut got = 0;
    loop {
        match from.read(&mut piece)? {
            0 if got == expect => return Ok(()),
            0 => return Err(io::Error::other(format!("{got} bytes of {expect}"))),
            n => got += n as u64,
        }
    }
}
