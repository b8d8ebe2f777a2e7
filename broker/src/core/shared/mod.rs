//! Images that are unpacked once on this host, for every session whose driver can
//! lay its own changes over one.
//!
//! ```text
//! DIR/new-ID/root        being filled (fill), by a sandbox that runs nothing
//!        │ rename
//! DIR/KEY/{root,about}   whole; KEY is the chain id of the layers
//! ```
//!
//! The host unpacks nothing itself here either. What lies there is believed only
//! during the host's boot in which it was made: so nothing need be forced to the
//! disk, and what a crash of the host left half written is never used. A root
//! that sessions use is not removed; of the others the one that was not used for
//! the longest time goes first.

mod fill;

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use postern_proto::Code;
use serde::{Deserialize, Serialize};

use super::{Error, Result, id};
use crate::driver::{SandboxRoot, kill_strays, remove_dir};
use crate::image::{Digest, Layout};

const ABOUT: &str = "about";
const ROOT: &str = "root";
/// Raised when the agent would unpack the same layers differently.
const FORMAT: &str = "1";

/// Every such image of one broker; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SharedRoots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    max_bytes: u64,
    boot: String,
    table: Mutex<HashMap<String, Entry>>,
    /// Whoever fills one has its lock.
    filling: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    uses: usize,
    used: SystemTime,
}

/// What is written beside a root once it is whole.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    /// The host's boot.
    boot: String,
    bytes: u64,
}

/// An unpacked image that a session uses; it stays until this is dropped.
#[derive(Debug)]
pub(super) struct SharedRoot {
    key: String,
    of: SharedRoots,
}

impl SharedRoot {
    pub(super) fn as_root(&self) -> SandboxRoot {
        let lower = self.of.inner.dir.join(&self.key).join(ROOT);
        SandboxRoot::Over { lower, key: self.key.clone() }
    }
}

impl Drop for SharedRoot {
    fn drop(&mut self) {
        if let Some(entry) = self.of.table().get_mut(&self.key) {
            entry.uses -= 1;
            entry.used = SystemTime::now();
        }
        self.of.trim(self.of.inner.max_bytes);
    }
}

impl SharedRoots {
    /// Takes over what an earlier broker left; blocks.
    pub(super) fn open(dir: PathBuf, max_bytes: u64) -> Result<Self> {
        let io = |e: std::io::Error| {
            let message = "the directory of unpacked images cannot be used";
            Error::new(Code::FailedPrecondition, message).with_source(e)
        };
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(io)?;
        // Programs of images keep their setuid bits: nobody else may get at them.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(io)?;
        let mut table = HashMap::new();
        for entry in std::fs::read_dir(&dir).map_err(io)?.flatten() {
            match whole(&entry.path(), &boot) {
                Some((key, entry)) => drop(table.insert(key, entry)),
                None => {
                    kill_strays(&entry.path());
                    remove(&entry.path());
                }
            }
        }
        let (table, filling) = (Mutex::new(table), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { dir, max_bytes, boot, table, filling }) })
    }

    /// The one of that key, if it is there.
    pub(super) fn take(&self, key: &str) -> Option<SharedRoot> {
        let mut table = self.table();
        let entry = table.get_mut(key)?;
        entry.uses += 1;
        entry.used = SystemTime::now();
        Some(SharedRoot { key: key.to_owned(), of: self.clone() })
    }

    /// Removes those that nobody uses, the longest unused first, until all
    /// together take at most so much; gives the bytes that became free.
    pub(super) fn trim(&self, max_bytes: u64) -> u64 {
        let mut table = self.table();
        let mut freed = 0;
        let mut total: u64 = table.values().map(|entry| entry.bytes).sum();
        while total > max_bytes {
            let unused = table.iter().filter(|(_, entry)| entry.uses == 0);
            let Some(key) = unused.min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone())
            else {
                break;
            };
            let bytes = table.remove(&key).map_or(0, |entry| entry.bytes);
            total -= bytes;
            freed += bytes;
            self.discard(&self.inner.dir.join(key));
        }
        freed
    }

    /// Under the table's lock: once the name is free it may be filled anew.
    fn discard(&self, path: &Path) {
        let gone = self.inner.dir.join(id::prefixed("gone-"));
        if let Err(error) = std::fs::rename(path, &gone) {
            tracing::warn!(path = %path.display(), %error, "an unpacked image is left behind");
            return;
        }
        // Some 10,000 files; whoever ends a session does not wait for that.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove(&gone))),
            Err(_) => remove(&gone),
        }
    }

    fn filling(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.inner.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies there, if it can be used.
fn whole(path: &Path, boot: &str) -> Option<(String, Entry)> {
    let key = path.file_name()?.to_str()?.to_owned();
    // One that was being filled or removed has all the marks of a whole one too.
    if key.split_once('-')?.0 != FORMAT {
        return None;
    }
    let about = std::fs::read(path.join(ABOUT)).ok()?;
    let about: About = serde_json::from_slice(&about).ok()?;
    if about.boot != boot || !path.join(ROOT).is_dir() {
        return None;
    }
    let used = path.join(ABOUT).metadata().and_then(|meta| meta.modified()).ok()?;
    Some((key, Entry { bytes: about.bytes, uses: 0, used }))
}

fn remove(path: &Path) {
    if let Err(error) = remove_dir(path) {
        tracing::warn!(path = %path.display(), %error, "an unpacked image is left behind");
    }
}

/// The chain id of the layers: OCI image specification, "Layer `ChainID`".
fn key(layout: &Layout) -> String {
    let mut chain = String::new();
    for layer in &layout.layers {
        chain = if chain.is_empty() {
            layer.diff_id.clone()
        } else {
            Digest::of(format!("{chain} {}", layer.diff_id).as_bytes()).to_string()
        };
    }
    format!("{FORMAT}-{}", chain.replace(':', "-"))
}
