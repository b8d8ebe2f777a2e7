//! Where a command's output goes, and how far it is.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncWriteExt, Stderr, Stdout};

use crate::error::Error;
use crate::terminal::modes::Modes;

/// Our own stdout and stderr.
#[derive(Debug)]
pub(super) struct Screen {
    stdout: Stdout,
    stderr: Stderr,
    /// Everything before is shown; None until the broker said where it begins.
    pub(super) at: Option<u64>,
    pub(super) tty: bool,
    /// Shared, so that the terminal can be put in order while output still comes.
    modes: Arc<Mutex<Modes>>,
}

/// The first byte of a frame, where there is no terminal.
const STDERR: u8 = 2;

impl Screen {
    pub(super) fn new(from: Option<u64>, modes: Arc<Mutex<Modes>>) -> Self {
        let (stdout, stderr) = (tokio::io::stdout(), tokio::io::stderr());
        Self { stdout, stderr, at: from, tty: false, modes }
    }

    /// Shows the payload of one frame.
    pub(super) async fn show(&mut self, frame: &[u8]) -> Result<(), Error> {
        let (stream, bytes) = match (self.tty, frame.split_first()) {
            (true, _) => (None, frame),
            (false, Some((stream, bytes))) => (Some(*stream), bytes),
            (false, None) => return Ok(()),
        };
        if self.tty {
            self.modes.lock().unwrap_or_else(PoisonError::into_inner).feed(bytes);
        }
        let written = if stream == Some(STDERR) {
            write(&mut self.stderr, bytes).await
        } else {
            write(&mut self.stdout, bytes).await
        };
        written.map_err(Error::io("writing output"))?;
        self.at = Some(self.at.unwrap_or(0) + bytes.len() as u64);
        Ok(())
    }
}

/// Flushed at once: a prompt without a newline has to be seen.
async fn write(to: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}
