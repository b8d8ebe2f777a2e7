//! A way to a broker that breaks: a proxy on loopback that cuts each connection
//! once so many bytes went over it. The fault rig of `fault` stands between broker
//! and agent; this one between a client and the broker.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One read.
const PIECE: usize = 16 << 10;

/// The proxy; it ends with the test's process.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    cuts: Arc<AtomicU64>,
}

impl Cutter {
    /// To `upstream`, `bytes` at a time, both directions counted together.
    pub fn start(upstream: SocketAddr, bytes: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A broker that is not there is a connection that breaks at once.
                let Ok(server) = TcpStream::connect(upstream) else { continue };
                let left = Arc::new(AtomicU64::new(bytes));
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let (left, cuts) = (Arc::clone(&left), Arc::clone(&count));
                    std::thread::spawn(move || carry(from, to, &left, &cuts));
                }
            }
        });
        Self { address, cuts }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// So many connections were cut.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, left: &AtomicU64, cuts: &AtomicU64) {
    let mut piece = vec![0; PIECE];
    let ended = loop {
        match from.read(&mut piece) {
            Ok(0) => break Ok(()),
            Ok(read) => {
                let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    Some(left.saturating_sub(read as u64))
                });
                let before = before.unwrap_or(0);
                let allowed = usize::try_from(before).unwrap_or(usize::MAX).min(read);
                if to.write_all(&piece[..allowed]).is_err() {
                    break Ok(());
                }
                if allowed < read {
                    // The other direction finds nothing left, and is not counted.
                    if before > 0 {
                        cuts.fetch_add(1, Ordering::Relaxed);
                    }
                    break Err(io::ErrorKind::ConnectionReset);
                }
            }
            Err(error) => break Err(error.kind()),
        }
    };
    if ended.is_ok() {
        let _ = to.shutdown(Shutdown::Write);
    } else {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
