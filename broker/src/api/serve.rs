//! Taking connections and speaking HTTP/1.1 on them.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tracing::{debug, warn};

/// Headers must be complete this long after the connection is ready for them:
/// who trickles them (slowloris) is cut off. It also bounds an idle connection,
/// so it is longer than the keep-alive of common clients' pools is short.
const HEADER_DEADLINE: Duration = Duration::from_secs(60);

/// A body must bring its next bytes in this time.
pub(crate) const BODY_IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Hyper's one buffer size: the cap of request line and headers together (real
/// ones are below 8 KiB), and the largest piece of a body that is read or
/// written at once, where smaller costs system calls.
const MAX_BUFFER: usize = 256 << 10;

/// Far more than any client sends.
const MAX_HEADERS: usize = 128;

/// The kernel's buffer of what a client has not read. Small, so that the bytes in
/// flight to a client that vanishes are few (a lossless command's hold keeps
/// a stretch for them) and one that does not read stops the flow soon; large
/// enough that loopback stays at its full speed.
const SEND_BUFFER: usize = 256 << 10;

/// What requests in flight get after a shutdown is asked for.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// After accept(2) failed for want of descriptors or memory: trying at once
/// would spin, and they come back as other connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket that takes connections.
pub trait Listener: Send {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, made ready.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        let (stream, _) = TcpListener::accept(self).await?;
        // Neither can fail on a fresh TCP socket in a way that matters: the
        // connection works without them, only slower or fuller.
        if let Err(cause) = stream.set_nodelay(true) {
            debug!(%cause, "TCP_NODELAY not set");
        }
        if let Err(cause) = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER) {
            debug!(%cause, "SO_SNDBUF not set");
        }
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }
}

/// Serves `router` on `listener` until `shutdown` is done; then no new
/// connection is taken, and requests in flight have `DRAIN_DEADLINE` to end.
pub async fn serve<L: Listener>(
    mut listener: L,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .keep_alive(true);
    // Connections hold a receiver each; when the last is gone, all have ended.
    let (drain, draining) = watch::channel(());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok(stream) => stream,
                Err(cause) => {
                    warn!(%cause, "accepting a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut draining = draining.clone();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                _ = draining.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(cause) = ended {
                debug!(%cause, "a connection ended early");
            }
        });
    }
    drop((listener, draining));
    drain.send_replace(());
    if tokio::time::timeout(DRAIN_DEADLINE, drain.closed()).await.is_err() {
        debug!("requests were still in flight at the end of the drain");
    }
}
