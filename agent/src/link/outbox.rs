//! Answers on their way to the host.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;

use bytes::{Buf, BytesMut};
use postern_proto::{Code, Error, FromAgent, Reply};
use tokio::sync::Notify;

use super::conn::{Conn, ConnError};

/// A host that lets so many bytes of answers lie does not read any more.
const MAX_PENDING: usize = 8 << 20;

/// The sending half of a control connection.
#[derive(Debug)]
pub struct Outbox {
    conn: Conn,
    pending: RefCell<BytesMut>,
    /// The writer has something to do: bytes that did not go at once, or an end.
    wake: Notify,
    failed: RefCell<Option<ConnError>>,
}

impl Outbox {
    pub(crate) fn new(conn: Conn) -> Rc<Self> {
        Rc::new(Self {
            conn,
            pending: RefCell::default(),
            wake: Notify::new(),
            failed: RefCell::default(),
        })
    }

    /// Sends one message. What the socket takes goes out before this returns:
    /// an answer waits for no other task.
    pub fn send(&self, message: &FromAgent) {
        let was_blocked = {
            let mut pending = self.pending.borrow_mut();
            let was_blocked = !pending.is_empty();
            if pending.len() > MAX_PENDING {
                self.fail(ConnError::NotReading);
            } else if let (Err(e), FromAgent::Reply { id, .. }) =
                (message.encode(&mut pending), message)
            {
                // Too long for a frame: the asker must hear of it all the same.
                let error = Error::new(Code::Internal, format!("the answer cannot be sent: {e}"));
                let reply = FromAgent::Reply { id: *id, reply: Reply::Error(error) };
                let _ = reply.encode(&mut pending);
            }
            was_blocked
        };
        if was_blocked {
            return;
        }
        match self.flush() {
            Ok(true) => {}
            Ok(false) => self.wake.notify_one(),
            Err(e) => self.fail(e.into()),
        }
    }

    fn fail(&self, error: ConnError) {
        self.failed.replace(Some(error));
        self.wake.notify_one();
    }

    /// Writes until all is written or the socket is full: then false.
    fn flush(&self) -> io::Result<bool> {
        let mut pending = self.pending.borrow_mut();
        while !pending.is_empty() {
            match self.conn.try_write(&[IoSlice::new(&pending)]) {
                Ok(n) => pending.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Writes what did not go at once, for as long as the connection lives.
    pub(crate) async fn run(&self) -> Result<(), ConnError> {
        loop {
            self.wake.notified().await;
            let failed = self.failed.take();
            if let Some(error) = failed {
                return Err(error);
            }
            while !self.flush()? {
                self.conn.writable().await?;
            }
        }
    }
}
