//! A process's bytes carried over the hops that ours take, by nothing but reads
//! and writes.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};

/// What one read and one write carry; the best size here (reference/speed.md).
pub(crate) const PIECE: usize = 256 << 10;

/// The agent's pipes are as large once there is a flow.
const PIPE: i32 = 1 << 20;

/// program → pipe → relay → Unix socket → reader.
pub(crate) fn over_unix(program: &Path, args: &[String], expect: u64) -> io::Result<Duration> {
    let (near, far) = UnixStream::pair()?;
    let begun = Instant::now();
    let source = start(program, args, far)?;
    drain(near, expect)?;
    source.join().map_err(|_| io::Error::other("the relay panicked"))??;
    Ok(begun.elapsed())
}

/// program → pipe → relay → Unix socket → relay → TCP → reader.
pub(crate) fn over_tcp(program: &Path, args: &[String], expect: u64) -> io::Result<Duration> {
    let (near, far) = UnixStream::pair()?;
    let (reader, writer) = tcp_pair()?;
    let begun = Instant::now();
    let source = start(program, args, far)?;
    let relay = thread::spawn(move || pump(near, writer));
    drain(reader, expect)?;
    for thread in [source, relay] {
        thread.join().map_err(|_| io::Error::other("the relay panicked"))??;
    }
    Ok(begun.elapsed())
}

pub(crate) fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

fn start(
    program: &Path,
    args: &[String],
    to: UnixStream,
) -> io::Result<thread::JoinHandle<io::Result<()>>> {
    let mut command = Command::new(program);
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let pipe = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
    fcntl(&pipe, FcntlArg::F_SETPIPE_SZ(PIPE))?;
    Ok(thread::spawn(move || {
        pump(pipe, to)?;
        child.wait().map(drop)
    }))
}

/// Until the end of file; then the writer is closed.
pub(crate) fn pump(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(()),
            n => to.write_all(&piece[..n])?,
        }
    }
}

fn drain(mut from: impl Read, expect: u64) -> io::Result<()> {
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
