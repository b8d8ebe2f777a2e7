//! Blobs on the disk.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::super::{Digest, ImageError};
use super::fetch::Fetching;
use super::hold::{Hold, Holds};
use crate::store::Lock;

/// What nobody has a name for is kept so long: for the pull that broke off to be
/// made again.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

/// The directory; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) holds: Holds,
    pub(super) fetching: Mutex<HashMap<Digest, std::sync::Weak<Fetching>>>,
    imports: AtomicU64,
    _lock: Lock,
}

/// A file of the store that is no image's by its name alone.
#[derive(Debug)]
pub(super) struct OnDisk {
    pub(super) path: PathBuf,
    /// None: an import under way.
    pub(super) digest: Option<Digest>,
    pub(super) size: u64,
    pub(super) changed: SystemTime,
}

impl Blobs {
    /// Opens the directory, or makes it; imports of an earlier broker go. Blocking.
    pub(super) fn open(dir: PathBuf) -> Result<Self, ImageError> {
        let holds = Holds::default();
        make(&dir)?;
        // Before anything in it is touched: it may be another broker's.
        let lock = Lock::take(&dir)?;
        let (fetching, imports) = (Mutex::default(), AtomicU64::new(0));
        let inner = Inner { dir, holds, fetching, imports, _lock: lock };
        let blobs = Self { inner: Arc::new(inner) };
        for dir in [blobs.whole_dir(), blobs.partial_dir()] {
            make(&dir)?;
        }
        for found in blobs.on_disk()?.into_iter().filter(|found| found.digest.is_none()) {
            fs::remove_file(&found.path).map_err(ImageError::io("removing", &found.path))?;
        }
        Ok(blobs)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.inner.dir
    }

    fn whole_dir(&self) -> PathBuf {
        self.inner.dir.join("blobs/sha256")
    }

    fn partial_dir(&self) -> PathBuf {
        self.inner.dir.join("partial")
    }

    pub(super) fn whole(&self, digest: &Digest) -> PathBuf {
        self.whole_dir().join(digest.hex())
    }

    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.partial_dir().join(digest.hex())
    }

    /// Whether a blob of this size is there. What has its place has been checked.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> bool {
        fs::symlink_metadata(self.whole(digest)).is_ok_and(|m| m.is_file() && m.len() == size)
    }

    /// Gives a file that is whole and of that digest its place: after this, also
    /// after a power cut, it is there with all its bytes. Blocking.
    pub(super) fn publish(
        &self,
        file: &File,
        from: &Path,
        digest: &Digest,
    ) -> Result<(), ImageError> {
        let to = self.whole(digest);
        file.sync_all().map_err(ImageError::io("syncing", from))?;
        fs::rename(from, &to).map_err(ImageError::io("renaming", from))?;
        let dir = self.whole_dir();
        let synced = File::open(&dir).and_then(|dir| dir.sync_all());
        synced.map_err(ImageError::io("syncing", dir))
    }

    /// A small document, checked already. Blocking.
    pub(crate) fn add(&self, bytes: &[u8]) -> Result<Added, ImageError> {
        let mut import = self.import()?;
        import.write(bytes)?;
        import.finish()
    }

    /// A blob whose digest is not known before its end. Blocking.
    pub(crate) fn import(&self) -> Result<Import, ImageError> {
        let number = self.inner.imports.fetch_add(1, Ordering::Relaxed);
        let path = self.partial_dir().join(format!("import-{number}"));
        let file = File::options().write(true).create_new(true).open(&path);
        let file = file.map_err(ImageError::io("making", &path))?;
        Ok(Import { blobs: self.clone(), file, path, hasher: Sha256::new(), size: 0 })
    }

    /// Every file of the store. Blocking.
    pub(super) fn on_disk(&self) -> Result<Vec<OnDisk>, ImageError> {
        let mut all = Vec::new();
        for dir in [self.whole_dir(), self.partial_dir()] {
            let listing = fs::read_dir(&dir).map_err(ImageError::io("listing", &dir))?;
            for entry in listing {
                let entry = entry.map_err(ImageError::io("listing", &dir))?;
                // It may be renamed or pruned meanwhile.
                let Ok(meta) = entry.metadata() else { continue };
                let digest = entry.file_name().to_str().and_then(Digest::from_hex);
                let changed = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                all.push(OnDisk { path: entry.path(), digest, size: meta.len(), changed });
            }
        }
        Ok(all)
    }

    /// Deletes what is not held and `is_wanted` does not name; gives its bytes.
    /// Blocking, and nothing becomes held meanwhile.
    pub(super) fn sweep(&self, is_wanted: impl Fn(&OnDisk) -> bool) -> Result<u64, ImageError> {
        let found = self.on_disk()?;
        let held = self.inner.holds.now();
        let mut freed = 0;
        for file in found {
            let Some(digest) = &file.digest else { continue };
            if held.contains_key(digest) || is_wanted(&file) {
                continue;
            }
            match fs::remove_file(&file.path) {
                Ok(()) => freed += file.size,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(ImageError::Io { doing: "removing", path: file.path, source });
                }
            }
        }
        Ok(freed)
    }
}

impl OnDisk {
    /// A pull may still come back to it.
    pub(super) fn is_fresh(&self) -> bool {
        self.changed.elapsed().is_ok_and(|age| age < ORPHAN_AGE)
    }
}

fn make(dir: &Path) -> Result<(), ImageError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(ImageError::io("making", dir))
}

/// A blob that has its place.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) hold: Hold,
}

/// A blob that is being written; dropped before its end, it is gone.
#[derive(Debug)]
pub(crate) struct Import {
    blobs: Blobs,
    file: File,
    path: PathBuf,
    hasher: Sha256,
    size: u64,
}

impl Import {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.file.write_all(bytes).map_err(ImageError::io("writing", &self.path))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Gives it its place; held from before it is there.
    pub(crate) fn finish(self) -> Result<Added, ImageError> {
        let (digest, size) = (Digest::finish(self.hasher.clone()), self.size);
        let hold = self.blobs.inner.holds.take(&[(digest.clone(), size)]);
        self.blobs.publish(&self.file, &self.path, &digest)?;
        Ok(Added { digest, size, hold })
    }

    /// The digest of what was written so far.
    pub(crate) fn digest(&self) -> Digest {
        Digest::finish(self.hasher.clone())
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        // After the end it has another name.
        let _ = fs::remove_file(&self.path);
    }
}
