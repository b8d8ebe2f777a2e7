//! What a sandbox says on its console: kept with an end, whatever is said.

use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// The most of a console that is kept in memory: the last boot's messages and
/// a panic fit in many times over.
const TAIL: usize = 1 << 20;

/// The most that is written to the file: what a guest prints for ever must not
/// fill the host's disk.
const FILE: u64 = 1 << 20;

/// The most that is shown of it at once.
const SHOWN: usize = 64 << 10;

/// The last megabyte of a console.
#[derive(Debug, Clone, Default)]
pub(crate) struct Console {
    tail: Arc<Mutex<VecDeque<u8>>>,
}

impl Console {
    /// Reads a console to its end, keeping the tail here and the head in a file,
    /// behind what an earlier broker wrote there.
    pub(crate) async fn keep(self, mut from: impl AsyncRead + Unpin, file: PathBuf) {
        let mut file = tokio::fs::File::options().append(true).create(true).open(&file).await.ok();
        let mut room = match &file {
            Some(file) => FILE.saturating_sub(file.metadata().await.map_or(FILE, |m| m.len())),
            None => 0,
        };
        let mut piece = vec![0; 4 << 10];
        while let Ok(read) = from.read(&mut piece).await {
            if read == 0 {
                break;
            }
            self.push(&piece[..read]);
            let kept = usize::try_from(room).unwrap_or(read).min(read);
            if let Some(out) = file.as_mut().filter(|_| kept > 0) {
                // A full disk costs the file, not the session.
                if out.write_all(&piece[..kept]).await.is_err() || out.flush().await.is_err() {
                    file = None;
                }
                room -= kept as u64;
            }
        }
    }

    /// For a machine that was running already: what is in its file, as if it had
    /// just been said.
    pub(crate) fn recall(&self, file: &Path) {
        self.push(tail_of(file).as_bytes());
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(bytes);
        let over = tail.len().saturating_sub(TAIL);
        tail.drain(..over);
    }

    pub(crate) fn text(&self) -> String {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = tail.make_contiguous();
        clean(&bytes[bytes.len().saturating_sub(SHOWN)..])
    }
}

/// The end of a log file that somebody else writes.
pub(crate) fn tail_of(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(SHOWN as u64)))?;
        let mut bytes = Vec::new();
        file.take(SHOWN as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // A console that cannot be read says nothing; it is never the cause of a failure.
    read().map(|bytes| clean(&bytes)).unwrap_or_default()
}

/// A guest's text made fit for a terminal: lines stay, escape sequences do not.
fn clean(bytes: &[u8]) -> String {
    let keep = |c: &char| matches!(c, '\n' | '\t') || !c.is_control();
    String::from_utf8_lossy(bytes).chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endless_console_stays_small_and_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("console.log");
        let console = Console::default();
        let mut said = vec![b'x'; 3 << 20];
        said.extend(b"\x1b[31mthe end\n");
        console.clone().keep(&said[..], file.clone()).await;
        assert_eq!(std::fs::metadata(&file).unwrap().len(), FILE);
        Console::default().keep(&said[..], file.clone()).await;
        assert_eq!(std::fs::metadata(&file).unwrap().len(), FILE, "a second broker adds to it");
        assert!(console.text().ends_with("[31mthe end\n"));
        assert!(!console.text().contains('\x1b'));
        assert!(console.text().len() <= SHOWN);
        assert!(tail_of(&file).len() <= SHOWN);
    }
}
