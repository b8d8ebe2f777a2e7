//! The task that owns an open flow into one command's stdin.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes};
use postern_proto::Code;
use tokio::sync::{Mutex, MutexGuard, Notify, mpsc, oneshot, watch};

use super::stdin::{beyond, ended};
use super::{Error, Result};
use crate::guest::{StdinProgress, StdinStream};

/// Where all writers to one command's stdin pass.
#[derive(Debug, Default)]
pub(super) struct Gate {
    place: Mutex<Place>,
    writers: AtomicUsize,
    /// The last writer went away.
    left: Notify,
}

/// The flow of a gate, if one was opened.
#[derive(Debug, Default)]
pub(super) struct Place {
    flow: Option<(mpsc::Sender<Ask>, watch::Receiver<State>)>,
}

impl Gate {
    /// Nobody else writes while this is held, but through the flow.
    pub(super) async fn lock(self: &Arc<Self>) -> Pass<'_> {
        Pass { gate: self, place: self.place.lock().await }
    }
}

/// The right to look at the flow of a gate and to open one.
pub(super) struct Pass<'a> {
    gate: &'a Arc<Gate>,
    place: MutexGuard<'a, Place>,
}

impl Pass<'_> {
    /// The flow that is open now. One without writers lives on until all it has
    /// is taken: its bytes must not meet those of another.
    pub(super) fn live(&self) -> Option<Flow> {
        let (asks, state) = self.place.flow.as_ref()?;
        let alive = state.borrow().over.is_none();
        alive.then(|| Flow::new(asks.clone(), state.clone(), self.gate.clone()))
    }

    /// Opens one.
    pub(super) fn start(&mut self, stream: StdinStream) -> Flow {
        // One ask at a time: what waits here is not bounded by the stream.
        let (asks, asked) = mpsc::channel(1);
        let (publish, state) = watch::channel(State::of(&stream));
        let flow = Flow::new(asks.clone(), state.clone(), self.gate.clone());
        tokio::spawn(Task { stream, asked, publish, gate: self.gate.clone() }.run());
        self.place.flow = Some((asks, state));
        flow
    }
}

/// A writer's handle of an open flow.
#[derive(Debug)]
pub(super) struct Flow {
    asks: mpsc::Sender<Ask>,
    state: watch::Receiver<State>,
    gate: Arc<Gate>,
}

impl Drop for Flow {
    fn drop(&mut self) {
        if self.gate.writers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.gate.left.notify_one();
        }
    }
}

/// How a flow stands.
#[derive(Debug, Clone, Default)]
struct State {
    taken: u64,
    end: u64,
    room: usize,
    over: Option<Over>,
}

/// Why a flow is over.
#[derive(Debug, Clone)]
enum Over {
    /// The process takes no more.
    Ended,
    /// Nobody needs it.
    Left,
    Failed(Code, String),
}

impl State {
    fn of(stream: &StdinStream) -> Self {
        Self { taken: stream.taken(), end: stream.end(), room: stream.room(), over: None }
    }

    fn error(&self) -> Error {
        match &self.over {
            Some(Over::Failed(code, message)) => Error::new(*code, message.clone()),
            Some(Over::Ended) => ended(self.taken),
            _ => Error::new(Code::Unavailable, "the flow into stdin is over"),
        }
    }
}

#[derive(Debug)]
enum Ask {
    Write(Write),
    Flush(oneshot::Sender<Result<u64>>),
}

#[derive(Debug)]
struct Write {
    at: Option<u64>,
    data: Bytes,
    done: oneshot::Sender<Result<u64>>,
}

impl Flow {
    fn new(asks: mpsc::Sender<Ask>, state: watch::Receiver<State>, gate: Arc<Gate>) -> Self {
        gate.writers.fetch_add(1, Ordering::AcqRel);
        Self { asks, state, gate }
    }

    /// Watches how far stdin was taken.
    pub(super) fn watch(&self) -> FlowWatch {
        FlowWatch { state: self.state.clone() }
    }

    pub(super) fn taken(&self) -> u64 {
        self.state.borrow().taken
    }

    pub(super) fn end(&self) -> u64 {
        self.state.borrow().end
    }

    /// How much can be written without waiting, as things stand.
    pub(super) fn room(&self) -> usize {
        self.state.borrow().room
    }

    /// Writes bytes whose first has the offset `at`, or that go at the end; gives
    /// the offset after them once there was room for all.
    pub(super) async fn write(&self, at: Option<u64>, data: Bytes) -> Result<u64> {
        let (done, answer) = oneshot::channel();
        self.ask(Ask::Write(Write { at, data, done }), answer).await
    }

    /// Waits until the agent has everything; gives the offset.
    pub(super) async fn flush(&self) -> Result<u64> {
        let (done, answer) = oneshot::channel();
        self.ask(Ask::Flush(done), answer).await
    }

    async fn ask(&self, ask: Ask, answer: oneshot::Receiver<Result<u64>>) -> Result<u64> {
        if self.asks.send(ask).await.is_err() {
            return Err(self.state.borrow().error());
        }
        answer.await.unwrap_or_else(|_| Err(self.state.borrow().error()))
    }
}

/// Sees how far a flow is, and is no writer.
#[derive(Debug)]
pub(super) struct FlowWatch {
    state: watch::Receiver<State>,
}

impl FlowWatch {
    /// How far stdin was taken, once that is beyond `told`.
    pub(super) async fn taken_beyond(&mut self, told: u64) -> u64 {
        let further = self.state.wait_for(|state| state.taken > told).await.map(|s| s.taken);
        match further {
            Ok(taken) => taken,
            Err(_) => std::future::pending().await,
        }
    }
}

struct Task {
    stream: StdinStream,
    asked: mpsc::Receiver<Ask>,
    publish: watch::Sender<State>,
    gate: Arc<Gate>,
}

impl Task {
    /// Runs until every writer is gone and all is taken, or stdin has ended.
    async fn run(mut self) {
        let mut waiting: Option<Write> = None;
        let mut flushing: Option<oneshot::Sender<Result<u64>>> = None;
        let over = loop {
            waiting = waiting.and_then(|write| self.place(write));
            self.publish.send_replace(State::of(&self.stream));
            let busy = waiting.is_some() || flushing.is_some();
            if !busy && self.nobody_writes() {
                self.stream.flush();
            }
            tokio::select! {
                biased;
                news = self.stream.progress() => match news {
                    Ok(StdinProgress::Taken) => {}
                    Ok(StdinProgress::Flushed) if self.stream.taken() < self.stream.end() => {
                        // It was asked for before the last bytes came.
                        self.stream.flush();
                    }
                    Ok(StdinProgress::Flushed) => {
                        if let Some(done) = flushing.take() {
                            // A writer that went away needs no answer.
                            let _ = done.send(Ok(self.stream.taken()));
                        } else if self.leave() {
                            break Over::Left;
                        }
                    }
                    Ok(StdinProgress::Closed) => break Over::Ended,
                    Err(error) => {
                        let error = Error::from(error);
                        tracing::debug!(why = error.private(), "a flow into stdin failed");
                        break Over::Failed(error.code, error.message);
                    }
                },
                Some(ask) = self.asked.recv(), if !busy => match ask {
                    Ask::Write(write) => waiting = self.begin(write),
                    Ask::Flush(done) => {
                        flushing = Some(done);
                        self.stream.flush();
                    }
                },
                () = self.gate.left.notified() => {}
            }
        };
        // Before the asks are dropped, so that who waits for an answer finds the reason.
        self.publish.send_replace(State { over: Some(over), ..State::of(&self.stream) });
    }

    fn nobody_writes(&self) -> bool {
        self.gate.writers.load(Ordering::Acquire) == 0
    }

    /// Gives the gate's place free, unless a writer is about to come.
    fn leave(&self) -> bool {
        // Who holds the place goes on with this flow, and says when it is done.
        let Ok(mut place) = self.gate.place.try_lock() else { return false };
        let alone = self.nobody_writes();
        if alone {
            place.flow = None;
        }
        alone
    }

    /// Skips what was applied before.
    fn begin(&mut self, mut write: Write) -> Option<Write> {
        let end = self.stream.end();
        let at = write.at.unwrap_or(end);
        if at > end {
            let _ = write.done.send(Err(beyond(at, end)));
            return None;
        }
        let applied = usize::try_from(end - at).unwrap_or(usize::MAX);
        write.data.advance(applied.min(write.data.len()));
        Some(write)
    }

    /// Gives to the stream what it has room for; what is left waits.
    fn place(&mut self, mut write: Write) -> Option<Write> {
        self.stream.push(&mut write.data);
        if write.data.is_empty() {
            let _ = write.done.send(Ok(self.stream.end()));
            return None;
        }
        Some(write)
    }
}
