//! One control connection, from `Hello` to its end.
//!
//! A caller encodes and writes its own request (one system call when nobody is
//! ahead of it), parks on a oneshot, and is woken by the reading half that finds
//! the reply. What the socket does not take at once is left to the writing loop.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use postern_proto::limits::MAX_CONTROL_FRAME;
use postern_proto::{FromAgent, Hello, Reply, Request, take_frame};
use tokio::io::AsyncReadExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::error::{Fault, GuestError};
use crate::transport::Stream;

/// The most requests without an answer on one link, those whose caller went
/// away included. Reached only when a guest stops answering: then callers are
/// told at once and memory stays bounded.
const MAX_IN_FLIGHT: usize = 4096;

/// The most bytes that wait for the socket. Two of the largest frames: a guest
/// that does not read makes callers wait, not the broker grow.
const MAX_QUEUED: usize = 2 * MAX_CONTROL_FRAME;

/// What an emptied buffer may keep: a burst must not cost each idle session.
const KEEP_BUFFER: usize = 16 << 10;

/// A read's size while messages are small.
const READ_CHUNK: usize = 8 << 10;

/// Between two looks at a link that somebody waits on.
const PING_EVERY: Duration = Duration::from_secs(5);

/// From a ping to its answer. A guest under TCG that unpacks or swaps may stand
/// still for some seconds; past this the link is taken for dead and redialled.
/// With [`PING_EVERY`] it stays below the time that a short request has, so that
/// one which met a half-open link is still sent again on the next.
const PING_DEADLINE: Duration = Duration::from_secs(10);

/// How long the socket may refuse bytes.
const WRITE_STALL: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) hello: Hello,
    write: OwnedWriteHalf,
    /// None once the link is over. A waiter that went away leaves None behind:
    /// the reply to it is still due, and is no fault.
    pending: Mutex<Option<HashMap<u64, Option<oneshot::Sender<Reply>>>>>,
    next_id: AtomicU64,
    out: Mutex<BytesMut>,
    /// There are bytes for the writing loop.
    to_write: Notify,
    /// The writing loop made room.
    room: Notify,
    /// Streams that count on this link to notice a dead peer.
    watchers: Arc<AtomicUsize>,
    /// A reply made no sense to its caller.
    distrusted: Notify,
}

impl Link {
    /// The link, and the future that runs it; it resolves to why it ended.
    pub(crate) fn new(
        stream: Stream,
        hello: Hello,
        rest: BytesMut,
        watchers: Arc<AtomicUsize>,
    ) -> (Arc<Self>, impl Future<Output = GuestError> + Send + 'static) {
        let (read, write) = stream.into_split();
        let link = Arc::new(Self {
            hello,
            write,
            pending: Mutex::new(Some(HashMap::new())),
            next_id: AtomicU64::new(1),
            out: Mutex::new(BytesMut::new()),
            to_write: Notify::new(),
            room: Notify::new(),
            watchers,
            distrusted: Notify::new(),
        });
        (link.clone(), link.run(read, rest))
    }

    pub(crate) fn is_over(&self) -> bool {
        lock(&self.pending).is_none()
    }

    /// Ends the link: its peer broke the protocol in a way that only the caller saw.
    pub(crate) fn distrust(&self) {
        self.distrusted.notify_one();
    }

    /// Sends a request and waits for its reply, until the deadline if there is
    /// one; without one the link's own liveness bounds the wait.
    pub(crate) async fn call(
        &self,
        request: &Request,
        deadline: Option<Instant>,
        doing: &'static str,
    ) -> Result<Reply, GuestError> {
        let begun = Instant::now();
        let exchange = async {
            let (id, reply) = self.expect_reply(doing)?;
            let _gone = OnDrop(|| self.forget_waiter(id));
            self.send(id, request, doing).await?;
            reply.await.map_err(|_| over(doing))
        };
        match deadline {
            None => exchange.await,
            Some(at) => tokio::time::timeout_at(at, exchange)
                .await
                .map_err(|_| GuestError::Deadline { doing, after: begun.elapsed() })?,
        }
    }

    /// Subscribes before anything is sent, so that no reply can be missed.
    fn expect_reply(
        &self,
        doing: &'static str,
    ) -> Result<(u64, oneshot::Receiver<Reply>), GuestError> {
        let mut guard = lock(&self.pending);
        let pending = guard.as_mut().ok_or_else(|| over(doing))?;
        if pending.len() >= MAX_IN_FLIGHT {
            return Err(GuestError::Busy(pending.len()));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        pending.insert(id, Some(sender));
        Ok((id, receiver))
    }

    fn forget_waiter(&self, id: u64) {
        if let Some(slot) = lock(&self.pending).as_mut().and_then(|p| p.get_mut(&id)) {
            *slot = None;
        }
    }

    async fn send(
        &self,
        id: u64,
        request: &Request,
        doing: &'static str,
    ) -> Result<(), GuestError> {
        loop {
            // Registered before the look, so that room made in between is seen.
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.try_send(id, request)? {
                return Ok(());
            }
            if self.is_over() {
                return Err(over(doing));
            }
            room.await;
        }
    }

    /// False when too much waits for the socket already.
    fn try_send(&self, id: u64, request: &Request) -> Result<bool, GuestError> {
        let mut out = lock(&self.out);
        if out.len() >= MAX_QUEUED {
            return Ok(false);
        }
        let nobody_ahead = out.is_empty();
        if let Err(e) = request.encode(id, &mut out) {
            // It was never sent, so no reply is due.
            if let Some(pending) = lock(&self.pending).as_mut() {
                pending.remove(&id);
            }
            return Err(GuestError::Unsendable(e));
        }
        if nobody_ahead {
            // An error shows again in the writing loop, which ends the link.
            if let Ok(written) = self.write.try_write(&out) {
                consume(&mut out, written);
            }
        }
        if !out.is_empty() {
            self.to_write.notify_one();
        }
        Ok(true)
    }

    async fn run(self: Arc<Self>, read: OwnedReadHalf, rest: BytesMut) -> GuestError {
        // Also when this future is dropped in mid-way: waiters must never outlast it.
        let _over = OnDrop(|| self.close());
        tokio::select! {
            end = self.read_replies(read, rest) => end,
            end = self.write_queued() => end,
            end = self.watch_liveness() => end,
            () = self.distrusted.notified() => over("trusting the agent"),
        }
    }

    fn close(&self) {
        // Dropping the senders wakes every waiter with "lost".
        lock(&self.pending).take();
        self.room.notify_waiters();
    }

    async fn read_replies(&self, mut read: OwnedReadHalf, mut buf: BytesMut) -> GuestError {
        let doing = "reading replies";
        loop {
            loop {
                match take_frame(&mut buf, MAX_CONTROL_FRAME).map_err(Fault::from) {
                    Ok(Some(frame)) => {
                        if let Err(fault) = self.dispatch(frame) {
                            return GuestError::fault(doing, fault);
                        }
                    }
                    Ok(None) => break,
                    Err(fault) => return GuestError::fault(doing, fault),
                }
            }
            if buf.is_empty() && buf.capacity() > KEEP_BUFFER {
                buf = BytesMut::new();
            }
            buf.reserve(READ_CHUNK);
            match read.read_buf(&mut buf).await {
                Ok(0) => return GuestError::lost(doing, io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) => return GuestError::lost(doing, e),
            }
        }
    }

    fn dispatch(&self, frame: Bytes) -> Result<(), Fault> {
        match FromAgent::decode(frame)? {
            FromAgent::Reply { id, reply } => {
                let mut guard = lock(&self.pending);
                let waiter = guard.as_mut().and_then(|pending| pending.remove(&id));
                drop(guard);
                let waiter = waiter.ok_or(Fault::UnknownReply(id))?;
                if let Some(waiter) = waiter {
                    // A waiter may have gone in this very moment.
                    let _ = waiter.send(reply);
                }
            }
            // Waits are requests of their own, so an event is news to nobody yet.
            FromAgent::Event(_) | FromAgent::Unknown => {}
        }
        Ok(())
    }

    async fn write_queued(&self) -> GuestError {
        let doing = "sending requests";
        loop {
            self.to_write.notified().await;
            while !lock(&self.out).is_empty() {
                match tokio::time::timeout(WRITE_STALL, self.write.writable()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(e)) => return GuestError::lost(doing, e),
                    Err(_) => return GuestError::Deadline { doing, after: WRITE_STALL },
                }
                let mut out = lock(&self.out);
                match self.write.try_write(&out) {
                    Ok(written) => consume(&mut out, written),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return GuestError::lost(doing, e),
                }
            }
            self.room.notify_waiters();
        }
    }

    async fn watch_liveness(&self) -> GuestError {
        loop {
            tokio::time::sleep(PING_EVERY).await;
            let waited_on = lock(&self.pending).as_ref().is_some_and(|p| !p.is_empty());
            if !waited_on && self.watchers.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let deadline = Instant::now() + PING_DEADLINE;
            if let Err(dead) = self.call(&Request::Ping, Some(deadline), "asking for life").await {
                return dead;
            }
        }
    }
}

fn consume(out: &mut BytesMut, written: usize) {
    if written < out.len() {
        out.advance(written);
    } else if out.capacity() > KEEP_BUFFER {
        *out = BytesMut::new();
    } else {
        out.clear();
    }
}

fn over(doing: &'static str) -> GuestError {
    GuestError::lost(doing, io::ErrorKind::ConnectionReset.into())
}

/// No holder of these locks can panic half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
