//! This side of the link: what is typed, signals, and the size of the window.

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::signals::{Signals, Told};
use crate::terminal;
use crate::terminal::keys::{DetachKeys, Matcher};

/// One read of stdin.
const PIECE: usize = 64 << 10;

/// Something happened here.
#[derive(Debug)]
pub(super) enum Event {
    Input(Bytes),
    InputEnd,
    Told(Told),
}

/// What is read from our stdin, with the detach keys looked for.
#[derive(Debug)]
pub(super) struct Input {
    pieces: mpsc::Receiver<Bytes>,
    reader: JoinHandle<()>,
    matcher: Matcher,
    over: bool,
}

impl Input {
    pub(super) fn start(keys: DetachKeys) -> Self {
        let (send, pieces) = mpsc::channel(1);
        let reader = tokio::spawn(read(send));
        Self { pieces, reader, matcher: Matcher::new(keys), over: false }
    }

    /// What of it is for the command, and whether the keys were there.
    pub(super) fn sift(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let typed = self.matcher.feed(bytes);
        (typed.forward, typed.detach)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(pieces: mpsc::Sender<Bytes>) {
    let mut stdin = tokio::io::stdin();
    let mut piece = vec![0; PIECE];
    loop {
        // An error of reading is the end as well: there is no more to send. But what
        // the command got is not all, and that must be seen.
        let read = stdin.read(&mut piece).await.unwrap_or_else(|error| {
            terminal::say(&format!("postern: reading stdin: {error}; it ends here"));
            0
        });
        if read == 0 || pieces.send(Bytes::copy_from_slice(&piece[..read])).await.is_err() {
            return;
        }
    }
}

/// The next event; input only if there is `room` for it. Safe to cancel.
pub(super) async fn next(signals: &mut Signals, input: Option<&mut Input>, room: bool) -> Event {
    let typed = async {
        match input {
            Some(input) if room && !input.over => {
                let piece = input.pieces.recv().await;
                input.over = piece.is_none();
                piece.map_or(Event::InputEnd, Event::Input)
            }
            _ => std::future::pending().await,
        }
    };
    tokio::select! {
        told = signals.next() => Event::Told(told),
        event = typed => event,
    }
}
