//! Signals that this process takes itself.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;

/// The signals that are the command's, not ours, and those about the terminal.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hangup: Signal,
    window: Signal,
    continued: Signal,
}

/// What one of them means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Sent by a person or a program: its name and number.
    Signal(&'static str, u8),
    /// The terminal has another size.
    Window,
    /// This process was stopped and goes on.
    Continued,
}

impl Signals {
    /// From here on they are taken.
    pub(crate) fn take() -> Result<Self, Error> {
        let take = |kind| signal(kind).map_err(Error::io("taking over signals"));
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            quit: take(SignalKind::quit())?,
            terminate: take(SignalKind::terminate())?,
            hangup: take(SignalKind::hangup())?,
            window: take(SignalKind::window_change())?,
            continued: take(SignalKind::from_raw(CONTINUE))?,
        })
    }

    /// The next one. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Signal("INT", 2),
            _ = self.quit.recv() => Told::Signal("QUIT", 3),
            _ = self.terminate.recv() => Told::Signal("TERM", 15),
            _ = self.hangup.recv() => Told::Signal("HUP", 1),
            _ = self.window.recv() => Told::Window,
            _ = self.continued.recv() => Told::Continued,
        }
    }

    /// The next one that asks for an end; its number.
    pub(crate) async fn asked_to_end(&mut self) -> u8 {
        loop {
            if let Told::Signal(_, number) = self.next().await {
                return number;
            }
        }
    }
}

/// SIGCONT on x86 and ARM.
const CONTINUE: i32 = 18;
