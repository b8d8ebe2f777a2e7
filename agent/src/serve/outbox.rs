//! Answers on their way to the host.

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
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
    pending: RefCell<BytesMut>,
    wake: Notify,
    overflow: Cell<bool>,
}

impl Outbox {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            pending: RefCell::default(),
            wake: Notify::new(),
            overflow: Cell::new(false),
        })
    }

    /// Queues one message.
    pub fn send(&self, message: &FromAgent) {
        let mut pending = self.pending.borrow_mut();
        if pending.len() > MAX_PENDING {
            self.overflow.set(true);
        } else if let (Err(e), FromAgent::Reply { id, .. }) =
            (message.encode(&mut pending), message)
        {
            // Too long for a frame: the asker must hear of it all the same.
            let error = Error::new(Code::Internal, format!("the answer cannot be sent: {e}"));
            let reply = FromAgent::Reply { id: *id, reply: Reply::Error(error) };
            let _ = reply.encode(&mut pending);
        }
        self.wake.notify_one();
    }

    /// Writes what is queued, for as long as the connection lives.
    pub(super) async fn run(&self, conn: &Conn) -> Result<(), ConnError> {
        loop {
            if self.overflow.get() {
                return Err(ConnError::NotReading);
            }
            let result = {
                let mut pending = self.pending.borrow_mut();
                match pending.is_empty() {
                    true => None,
                    false => Some(conn.try_write(&[IoSlice::new(&pending)]).inspect(|n| {
                        pending.advance(*n);
                    })),
                }
            };
            match result {
                None => self.wake.notified().await,
                Some(Ok(_)) => {}
                Some(Err(e)) if e.kind() == std::io::ErrorKind::WouldBlock => {
                    conn.writable().await?;
                }
                Some(Err(e)) => return Err(e.into()),
            }
        }
    }
}
