//! Where a command's output goes, and how far it is.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncWriteExt, Stderr, Stdout};

use super::Stdin;
use super::wire::Ready;
use crate::error::Error;
use crate::terminal::modes::Modes;
use crate::terminal::questions::Questions;

/// Our own stdout and stderr.
#[derive(Debug)]
pub(super) struct Screen {
    stdout: Stdout,
    stderr: Stderr,
    /// Everything before is shown; None until the broker said where it begins.
    pub(super) at: Option<u64>,
    pub(super) tty: bool,
    /// Of a terminal's output, nothing before this offset asks our terminal; None
    /// until it is known how much there was when we came.
    unasked: Option<u64>,
    questions: Questions,
    /// Shared, so that the terminal can be put in order while output still comes.
    modes: Arc<Mutex<Modes>>,
}

/// The first byte of a frame, where there is no terminal.
const STDERR: u8 = 2;

impl Screen {
    /// For output from this offset on.
    pub(super) fn new(from: Option<u64>, stdin: Stdin, modes: Arc<Mutex<Modes>>) -> Self {
        let (stdout, stderr) = (tokio::io::stdout(), tokio::io::stderr());
        let questions = Questions::default();
        let unasked = match stdin {
            // The command is ours from its first byte on.
            Stdin::Whole => Some(0),
            Stdin::FromNow => None,
            // Nobody would carry the answers: they are left for our own shell.
            Stdin::Nothing => Some(u64::MAX),
        };
        Self { stdout, stderr, at: from, tty: false, unasked, questions, modes }
    }

    pub(super) fn begins(&mut self, ready: Ready) {
        self.tty = ready.tty;
        self.at.get_or_insert(ready.offset);
        self.unasked.get_or_insert(ready.output_bytes);
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
            let without = self.without_questions(bytes);
            write(&mut self.stdout, without.as_deref().unwrap_or(bytes)).await
        };
        written.map_err(Error::io("writing output"))?;
        self.at = Some(self.at.unwrap_or(0) + bytes.len() as u64);
        Ok(())
    }

    /// After the last frame: what was held back for its end is not to be lost.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        let rest = self.questions.rest();
        write(&mut self.stdout, &rest).await.map_err(Error::io("writing output"))
    }

    /// What is to be shown of this where not all of it is.
    fn without_questions(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let left = self.unasked.unwrap_or(0).saturating_sub(self.at.unwrap_or(0));
        if !self.tty || left == 0 {
            return None;
        }
        let old = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (old, new) = bytes.split_at(old);
        let mut shown = self.questions.strip(old);
        if left == old.len() as u64 {
            shown.append(&mut self.questions.rest());
        }
        shown.extend_from_slice(new);
        Some(shown)
    }
}

/// Flushed at once: a prompt without a newline has to be seen.
async fn write(to: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}
