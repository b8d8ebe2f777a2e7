//! This process's terminal: raw while a command is on it, and restored however
//! this process ends, short of SIGKILL.

pub(crate) mod keys;
pub(crate) mod modes;
pub(crate) mod questions;

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, Once, PoisonError};

use rustix::stdio;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::{Value, json};

use crate::error::Error;

/// How the terminal was; None when it is as it was. Static, since a panic's hook
/// needs it, too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Columns and lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) cols: u16,
}

impl Size {
    pub(crate) fn json(self) -> Value {
        json!({"rows": self.rows, "cols": self.cols})
    }
}

/// Where nothing says how large the terminal is.
const USUAL: Size = Size { rows: 24, cols: 80 };

/// Whether somebody types there.
pub(crate) fn is_typed() -> bool {
    std::io::stdin().is_terminal()
}

/// Of the terminal that shows the output, else of the one that is typed at.
pub(crate) fn size() -> Size {
    let of_any = [stdio::stdout(), stdio::stdin(), stdio::stderr()]
        .into_iter()
        .filter_map(|fd| tcgetwinsize(fd).ok())
        .find(|size| size.ws_row > 0 && size.ws_col > 0);
    of_any.map_or(USUAL, |size| Size { rows: size.ws_row, cols: size.ws_col })
}

/// The kind of terminal that the command is told of: this one's if images can be
/// expected to know it, else what nearly all terminals resemble.
pub(crate) fn kind() -> String {
    const KNOWN: [&str; 8] = ["xterm", "screen", "tmux", "linux", "vt100", "vt220", "rxvt", "dumb"];
    const USUAL: &str = "xterm-256color";
    let term = std::env::var("TERM").unwrap_or_default();
    let family = term.split('-').next().unwrap_or_default();
    // xterm-kitty, xterm-ghostty and their like are known to few images.
    let common = ["", "-256color", "-color"].iter().any(|end| term == format!("{family}{end}"));
    if KNOWN.contains(&family) && common { term } else { USUAL.to_owned() }
}

/// The terminal in raw mode: every key is a byte for the command, Ctrl-C too.
#[derive(Debug)]
pub(crate) struct Raw(Termios);

impl Raw {
    pub(crate) fn enter() -> Result<Self, Error> {
        let failed = |e: rustix::io::Errno| Error::Io {
            doing: "putting the terminal into raw mode".to_owned(),
            source: e.into(),
        };
        let before = tcgetattr(stdio::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        restore_on_panic();
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner).replace(before);
        let raw = Self(raw);
        tcsetattr(stdio::stdin(), OptionalActions::Now, &raw.0).map_err(failed)?;
        Ok(raw)
    }

    /// After this process was stopped and goes on, the shell has changed it.
    pub(crate) fn again(&self) {
        // A terminal that is gone says so on the next read.
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &self.0);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Now, and not once the output is drained: a terminal that is halted
        // (Ctrl-S) would keep us here. A terminal that is gone needs nothing.
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &before);
    }
}

fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            next(info);
        }));
    });
}

/// A line of ours on stderr; a raw terminal has to be told to begin at the left.
pub(crate) fn say(line: &str) {
    let raw = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    let mut stderr = std::io::stderr().lock();
    // Whoever closed stderr does not want to know.
    let _ = if raw { write!(stderr, "\r\n{line}\r\n") } else { writeln!(stderr, "{line}") };
}
