//! A way to a server that stops at a chosen byte: a proxy on loopback that lets so
//! much of the answers through, holds there until a test has done what it wants in
//! the middle of a transfer, then cuts what it held and lets all else through.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::wait;

/// One read.
const PIECE: usize = 16 << 10;

/// The proxy; it ends with the test's process.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug)]
struct State {
    /// None: it is open.
    left: Option<u64>,
    held: bool,
}

impl Gate {
    /// To `upstream`; it holds after so many bytes of answers.
    pub fn start(upstream: SocketAddr, bytes: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { left: Some(bytes), held: false };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is not there is a connection that breaks at once.
                let Ok(server) = TcpStream::connect(upstream) else { continue };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || carry(from, to, |_| true));
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || carry(server, client, |bytes| pass(&shared, bytes)));
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it holds a transfer.
    pub fn wait_until_it_holds(&self) {
        wait::until("the transfer is in its middle", wait::seconds(60), || {
            let held = self.state.0.lock().unwrap_or_else(PoisonError::into_inner).held;
            held.then_some(())
        });
    }

    /// Cuts what it holds; what comes after goes through.
    pub fn open(&self) {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner).left = None;
        self.state.1.notify_all();
    }
}

/// False: the connection is to be cut.
fn pass(state: &(Mutex<State>, Condvar), bytes: u64) -> bool {
    let mut now = state.0.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut now.left {
        None => true,
        Some(left) if *left >= bytes => {
            *left -= bytes;
            true
        }
        Some(_) => {
            now.held = true;
            let closed = |state: &mut State| state.left.is_some();
            drop(state.1.wait_while(now, closed).unwrap_or_else(PoisonError::into_inner));
            false
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mut pass: impl FnMut(u64) -> bool) {
    let mut piece = vec![0; PIECE];
    while let Ok(read) = from.read(&mut piece) {
        if read == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        if !pass(read as u64) || to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
