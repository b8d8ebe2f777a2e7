//! A way to an agent that forgets connections: a proxy on a Unix socket after whose
//! word the agent hears nothing more on those that were there, not even their end.
//! So does vhost-device-vsock with one that is closed while the guest waits to write.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One read.
const PIECE: usize = 16 << 10;

/// The proxy; it ends with the test's process.
#[derive(Debug)]
pub struct Deaf {
    path: PathBuf,
    connections: Arc<Mutex<Vec<Connection>>>,
}

#[derive(Debug)]
struct Connection {
    forgotten: Arc<AtomicBool>,
    /// Keeps the agent's side open.
    _agent: UnixStream,
}

impl Deaf {
    /// Listens at `path` for what is to go to `upstream`.
    pub fn start(path: &Path, upstream: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let connections = Arc::<Mutex<Vec<Connection>>>::default();
        let (all, upstream) = (Arc::clone(&connections), upstream.to_owned());
        std::thread::spawn(move || {
            for host in listener.incoming().flatten() {
                let Ok(agent) = UnixStream::connect(&upstream) else { continue };
                let forgotten = Arc::new(AtomicBool::new(false));
                let kept = agent.try_clone().unwrap();
                let connection = Connection { forgotten: Arc::clone(&forgotten), _agent: kept };
                all.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
                let (from, to) = (host.try_clone().unwrap(), agent.try_clone().unwrap());
                let flag = Arc::clone(&forgotten);
                std::thread::spawn(move || hear(from, to, &flag));
                std::thread::spawn(move || answer(agent, host, &forgotten));
            }
        });
        Self { path: path.to_owned(), connections }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// So many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Of all but the first `known` connections the agent hears nothing more.
    pub fn forget_all_after(&self, known: usize) {
        let all = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().skip(known).for_each(|c| c.forgotten.store(true, Ordering::SeqCst));
    }
}

/// From the host.
fn hear(mut from: UnixStream, mut to: UnixStream, forgotten: &AtomicBool) {
    let mut piece = vec![0; PIECE];
    loop {
        // One that was killed with something unread ends in an error.
        let read = from.read(&mut piece).unwrap_or(0);
        if forgotten.load(Ordering::SeqCst) {
            if read == 0 {
                return;
            }
        } else if read == 0 || to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// From the agent; what it says on a forgotten one stays where it is.
fn answer(mut from: UnixStream, mut to: UnixStream, forgotten: &AtomicBool) {
    let mut piece = vec![0; PIECE];
    while !forgotten.load(Ordering::SeqCst) {
        let read = from.read(&mut piece).unwrap_or(0);
        if read == 0 || to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    if !forgotten.load(Ordering::SeqCst) {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
