//! One blob from a registry to its place: by one task at a time, from where the
//! last one broke off.
//!
//! The task is its own, so that a caller who goes away cannot leave a write half
//! done behind the next one's back; it ends between two writes when its caller is
//! gone, and whoever waited goes on where it stopped.

use std::io::SeekFrom;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use oci_spec::distribution::Reference as RegistryReference;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::{OwnedMutexGuard, oneshot, watch};

use super::super::registry::Repository;
use super::super::{Digest, ImageError, Registries};
use super::blobs::Blobs;

/// Tries in a row that brought nothing.
const IDLE_TRIES: u32 = 6;

/// Tries in all: a registry that gives a byte a time is given up.
const MAX_TRIES: u32 = 64;

/// Before the first repetition; doubled each time. All together some 15 s: a
/// registry that is started again is there by then.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What is read of a partial file at once.
const PIECE: usize = 256 << 10;

/// A blob that somebody fetches, or waits for.
#[derive(Debug)]
pub(super) struct Fetching {
    turn: Arc<tokio::sync::Mutex<()>>,
    have: watch::Sender<u64>,
}

/// Where a blob comes from.
#[derive(Debug, Clone)]
pub(super) struct From {
    pub(super) registries: Arc<Registries>,
    pub(super) reference: RegistryReference,
}

/// A blob and its size, as a manifest names them.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Blobs {
    /// Fetches what is not there yet; `tell` hears how much of it is.
    pub(super) async fn fetch(
        &self,
        from: &From,
        wanted: &Wanted,
        mut tell: impl FnMut(u64),
    ) -> Result<(), ImageError> {
        let fetching = self.fetching(&wanted.digest);
        let mut have = fetching.have.subscribe();
        let turn = fetching.turn.clone().lock_owned();
        tokio::pin!(turn);
        let turn = loop {
            tokio::select! {
                turn = &mut turn => break turn,
                _ = have.changed() => tell(*have.borrow_and_update()),
            }
        };
        if self.has(&wanted.digest, wanted.size) {
            tell(wanted.size);
            return Ok(());
        }
        // Dropped with this call.
        let (_here, gone) = oneshot::channel::<()>();
        let download = Download {
            blobs: self.clone(),
            from: from.clone(),
            wanted: wanted.clone(),
            have: fetching.have.clone(),
            gone,
            _turn: turn,
        };
        let mut task = tokio::spawn(download.run());
        loop {
            tokio::select! {
                done = &mut task => {
                    done.map_err(|_| ImageError::BrokenOff)??;
                    tell(wanted.size);
                    return Ok(());
                }
                _ = have.changed() => tell(*have.borrow_and_update()),
            }
        }
    }

    fn fetching(&self, digest: &Digest) -> Arc<Fetching> {
        let mut all = self.inner.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, fetching| fetching.strong_count() > 0);
        if let Some(there) = all.get(digest).and_then(std::sync::Weak::upgrade) {
            return there;
        }
        let fetching = Arc::new(Fetching { turn: Arc::default(), have: watch::Sender::new(0) });
        all.insert(digest.clone(), Arc::downgrade(&fetching));
        fetching
    }
}

/// The task that has the turn.
struct Download {
    blobs: Blobs,
    from: From,
    wanted: Wanted,
    have: watch::Sender<u64>,
    gone: oneshot::Receiver<()>,
    _turn: OwnedMutexGuard<()>,
}

/// The partial file, and the digest of what is in it.
struct Partial {
    file: File,
    hasher: Sha256,
    have: u64,
}

impl Download {
    async fn run(mut self) -> Result<(), ImageError> {
        let from = self.from.clone();
        let repository = from.registries.repository(&from.reference);
        let mut idle = 0;
        for tries in 1.. {
            let before = *self.have.borrow();
            let error = match self.attempt(&repository).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() => error,
                Err(error) => {
                    // What came of a lie is no beginning of anything, and a disk
                    // that is full has better uses.
                    let is_none = matches!(error, ImageError::Lied { .. } | ImageError::Io { .. });
                    if is_none || *self.have.borrow() == 0 {
                        let _ =
                            tokio::fs::remove_file(self.blobs.partial(&self.wanted.digest)).await;
                    }
                    return Err(error);
                }
            };
            idle = if *self.have.borrow() > before { 0 } else { idle + 1 };
            if idle >= IDLE_TRIES || tries >= MAX_TRIES {
                return Err(error);
            }
            let have = *self.have.borrow();
            tracing::info!(digest = %self.wanted.digest, have, %error, "trying again for a blob");
            tokio::select! {
                () = tokio::time::sleep(FIRST_PAUSE * 2u32.pow(idle.min(4))) => {}
                _ = &mut self.gone => return Err(ImageError::BrokenOff),
            }
        }
        Err(ImageError::BrokenOff)
    }

    /// From what is there to the end, if the registry goes along.
    async fn attempt(&mut self, repository: &Repository<'_>) -> Result<(), ImageError> {
        let path = self.blobs.partial(&self.wanted.digest);
        let mut partial = self.open().await?;
        let resumed = partial.have > 0;
        self.have.send_replace(partial.have);
        if partial.have < self.wanted.size {
            self.receive(repository, &mut partial).await?;
        }
        partial.file.flush().await.map_err(ImageError::io("writing", &path))?;
        let found = Digest::finish(partial.hasher);
        if found == self.wanted.digest {
            let (blobs, digest) = (self.blobs.clone(), found);
            let file = partial.file.into_std().await;
            let published =
                tokio::task::spawn_blocking(move || blobs.publish(&file, &path, &digest));
            return published.await.map_err(|_| ImageError::BrokenOff)?;
        }
        let removed = tokio::fs::remove_file(&path).await;
        removed.map_err(ImageError::io("removing", &path))?;
        self.have.send_replace(0);
        let registry = self.from.reference.registry().to_owned();
        let problem = format!("asked for the blob {}, it gives {found}", self.wanted.digest);
        Err(if resumed {
            // What was there may be what a power cut left of it.
            ImageError::Unreachable { registry, problem, source: None }
        } else {
            ImageError::Lied { registry, problem }
        })
    }

    async fn open(&self) -> Result<Partial, ImageError> {
        let path = self.blobs.partial(&self.wanted.digest);
        let io = |source| ImageError::Io { doing: "opening", path: path.clone(), source };
        let mut options = tokio::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).await.map_err(io)?;
        if file.metadata().await.map_err(io)?.len() > self.wanted.size {
            file.set_len(0).await.map_err(io)?;
        }
        let (mut hasher, mut have) = (Sha256::new(), 0);
        let mut piece = vec![0; PIECE];
        loop {
            let read = file.read(&mut piece).await.map_err(io)?;
            if read == 0 {
                return Ok(Partial { file, hasher, have });
            }
            hasher.update(&piece[..read]);
            have += read as u64;
        }
    }

    async fn receive(
        &mut self,
        repository: &Repository<'_>,
        partial: &mut Partial,
    ) -> Result<(), ImageError> {
        let path = self.blobs.partial(&self.wanted.digest);
        let io = |source| ImageError::Io { doing: "writing", path: path.clone(), source };
        let size = self.wanted.size;
        let mut body = tokio::select! {
            body = repository.blob(&self.wanted.digest, partial.have) => body?,
            _ = &mut self.gone => return Err(ImageError::BrokenOff),
        };
        if body.start != partial.have {
            // It knows no ranges: all over again.
            partial.file.set_len(0).await.map_err(io)?;
            partial.file.seek(SeekFrom::Start(0)).await.map_err(io)?;
            (partial.hasher, partial.have) = (Sha256::new(), 0);
        }
        loop {
            let piece = tokio::select! {
                piece = body.next() => piece,
                _ = &mut self.gone => Err(ImageError::BrokenOff),
            };
            let piece = match piece {
                Ok(Some(piece)) => piece,
                ended => {
                    // So that the next try finds all that has come.
                    partial.file.flush().await.map_err(io)?;
                    return match ended {
                        Ok(_) if partial.have == size => Ok(()),
                        Ok(_) => Err(body.broke_off(partial.have, size)),
                        Err(error) => Err(error),
                    };
                }
            };
            if piece.len() as u64 > size - partial.have {
                let digest = &self.wanted.digest;
                return Err(body.lied(format!("the blob {digest} is longer than its {size} bytes")));
            }
            partial.file.write_all(&piece).await.map_err(io)?;
            partial.hasher.update(&piece);
            partial.have += piece.len() as u64;
            self.have.send_replace(partial.have);
        }
    }
}
