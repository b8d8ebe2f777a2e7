//! How an unpacked image comes to be: by a sandbox whose root is a directory of
//! this host, and which runs nothing.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postern_proto::Code;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use super::{ABOUT, About, Entry, ROOT, SharedRoot, SharedRoots, key, remove};
use crate::core::{Error, Limits, ProgressSender, Result, id};
use crate::driver::{Driver, Sandbox, SandboxRoot, SandboxSpec, remove_dir};
use crate::guest::{ConnectOptions, Guest};
use crate::image::{self, Layout};

/// For a sandbox that runs nothing.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// What an entry takes on the disk beside its contents: an inode, a name, and on
/// average half a block that is not filled.
const ENTRY_BYTES: u64 = 2 << 10;

impl SharedRoots {
    /// The image, unpacked; by this call if no other has done it. Those who want
    /// the same one meanwhile wait for it. The sandbox that does it has its
    /// directory in `sessions`.
    pub(in crate::core) async fn ensure(
        &self,
        layout: &Layout,
        driver: &dyn Driver,
        sessions: &Path,
        limits: &Limits,
        progress: Option<&ProgressSender>,
    ) -> Result<SharedRoot> {
        let key = key(layout);
        let until = Instant::now() + limits.image_deadline;
        let late = |_| {
            let seconds = limits.image_deadline.as_secs();
            let message = format!("the image was not unpacked after {seconds} s");
            Error::new(Code::DeadlineExceeded, message)
        };
        let turn = timeout_at(until, self.turn(&key)).await.map_err(late)?;
        if let Some(there) = self.take(&key) {
            return Ok(there);
        }
        let mut fill = Fill::begin(self, sessions)?;
        let bytes = timeout_at(until, fill.run(layout, driver, limits, progress)).await;
        let bytes = bytes.map_err(late)??;
        // In a task: a caller who goes away now would have what is being renamed
        // taken for what is to be removed.
        tokio::spawn(fill.publish(turn, bytes)).await.map_err(|_| gone())?
    }

    async fn turn(&self, key: &str) -> Turn {
        let turn = Arc::clone(self.filling().entry(key.to_owned()).or_default());
        let guard = turn.lock_owned().await;
        Turn { of: self.clone(), key: key.to_owned(), _guard: guard }
    }
}

/// The right to fill one. Whoever is the last to have waited for it forgets the lock.
struct Turn {
    of: SharedRoots,
    key: String,
    _guard: OwnedMutexGuard<()>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut filling = self.of.filling();
        // The table's own, and the guard's.
        if filling.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) <= 2) {
            filling.remove(&self.key);
        }
    }
}

/// One that is being filled; dropped, nothing of it is left.
struct Fill {
    of: SharedRoots,
    /// None once it has been published.
    dir: Option<PathBuf>,
    /// The sandbox's own directory.
    home: PathBuf,
    sandbox: Option<Arc<dyn Sandbox>>,
}

impl Fill {
    fn begin(of: &SharedRoots, sessions: &Path) -> Result<Self> {
        let id = id::prefixed("new-");
        let dir = of.inner.dir.join(&id);
        let fill = Self {
            of: of.clone(),
            dir: Some(dir.clone()),
            home: sessions.join(&id),
            sandbox: None,
        };
        let io = |e: std::io::Error| {
            Error::new(Code::Internal, "the directory of an image could not be made").with_source(e)
        };
        std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(io)?;
        // The root of images that have no entry for it.
        std::fs::DirBuilder::new().mode(0o755).create(dir.join(ROOT)).map_err(io)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&fill.home).map_err(io)?;
        Ok(fill)
    }

    /// Unpacks the layers; gives what they take on the disk.
    async fn run(
        &mut self,
        layout: &Layout,
        driver: &dyn Driver,
        limits: &Limits,
        progress: Option<&ProgressSender>,
    ) -> Result<u64> {
        let Some(dir) = &self.dir else { return Ok(0) };
        let spec = SandboxSpec {
            id: String::new(),
            dir: self.home.clone(),
            hostname: "unpack".to_owned(),
            memory_mb: 0,
            cpus: 1,
            root_mb: 0,
            root: SandboxRoot::Directory(dir.join(ROOT)),
            disk_mb: None,
            image_disk: None,
            network: false,
        };
        let sandbox: Arc<dyn Sandbox> = driver.create(&spec).await?.into();
        self.sandbox = Some(Arc::clone(&sandbox));
        let fill = async {
            let hint = sandbox.doorbell();
            let options = ConnectOptions { deadline: limits.boot_deadline, hint, epoch: None };
            let guest = Guest::connect(sandbox.dial(), options).await?;
            let done = image::send_layers(layout, &guest, progress).await?;
            guest.end("the image is unpacked");
            Ok(done.bytes + done.entries * ENTRY_BYTES)
        };
        tokio::select! {
            bytes = fill => bytes,
            why = sandbox.ended() => Err(Error::new(
                Code::Unavailable,
                format!("the sandbox that unpacks the image ended: {why}"),
            )),
        }
    }

    /// Whole from here on.
    async fn publish(mut self, turn: Turn, bytes: u64) -> Result<SharedRoot> {
        let key = turn.key.as_str();
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.kill(END_DEADLINE).await;
        }
        let (of, home, at) = (self.of.clone(), self.home.clone(), self.of.inner.dir.join(key));
        let about = About { boot: of.inner.boot.clone(), bytes };
        let Some(dir) = self.dir.clone() else { return Err(gone()) };
        let renamed = tokio::task::spawn_blocking(move || {
            std::fs::write(dir.join(ABOUT), serde_json::to_vec(&about)?)?;
            // One that could not be moved away when it was discarded.
            if at.exists() {
                remove_dir(&at)?;
            }
            std::fs::rename(&dir, at)?;
            // What is left of it is swept with the sessions' at the next start.
            drop(remove_dir(&home));
            Ok::<_, std::io::Error>(())
        });
        let renamed = renamed.await.map_err(|_| gone())?;
        renamed.map_err(|e| {
            Error::new(Code::Internal, "the unpacked image could not be kept").with_source(e)
        })?;
        self.dir = None;
        let entry = Entry { bytes, uses: 1, used: SystemTime::now() };
        of.table().insert(key.to_owned(), entry);
        let root = SharedRoot { key: key.to_owned(), of: of.clone() };
        of.trim(of.inner.max_bytes);
        Ok(root)
    }
}

fn gone() -> Error {
    Error::new(Code::Internal, "the unpacking of the image was broken off")
}

impl Drop for Fill {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        let (sandbox, home) = (self.sandbox.take(), self.home.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            // It would go on writing while it is removed.
            if let Some(sandbox) = sandbox {
                sandbox.kill(END_DEADLINE).await;
            }
            let removed = tokio::task::spawn_blocking(move || {
                remove(&dir);
                remove(&home);
            });
            drop(removed.await);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::whole;
    use super::*;

    #[tokio::test]
    async fn one_that_nobody_waits_for_is_kept_and_what_is_stale_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (at, sessions) = (dir.path().join("unpacked"), dir.path().join("sessions"));
        let roots = SharedRoots::open(at.clone(), 1 << 30).unwrap();
        let key = format!("{}-key", super::super::FORMAT);
        // As a discarding leaves it that could not rename.
        std::fs::create_dir_all(at.join(&key).join("root/stale")).unwrap();
        let turn = roots.turn(&key).await;
        let fill = Fill::begin(&roots, &sessions).unwrap();
        std::fs::write(fill.dir.as_ref().unwrap().join("root/file"), "whole").unwrap();
        // The caller is gone before it has begun; the next one waits its turn.
        drop(tokio::spawn(fill.publish(turn, 7)));
        let turn = roots.turn(&key).await;
        let there = roots.take(&key).unwrap();
        drop(turn);
        assert!(roots.filling().is_empty(), "its lock is remembered for ever");
        assert_eq!(std::fs::read_to_string(at.join(&key).join("root/file")).unwrap(), "whole");
        assert!(!at.join(&key).join("root/stale").exists());
        assert_eq!(std::fs::read_dir(&at).unwrap().count(), 1);
        assert_eq!(roots.trim(0), 0, "it is in use");
        drop(there);
        assert_eq!(roots.trim(0), 7);
    }

    #[tokio::test]
    async fn what_was_being_made_or_removed_is_nobodys_image() {
        let dir = tempfile::tempdir().unwrap();
        let about = About { boot: "b".to_owned(), bytes: 1 };
        let about = serde_json::to_vec(&about).unwrap();
        let key = format!("{}-key", super::super::FORMAT);
        for name in ["new-x", "gone-x", "0-key", &key] {
            std::fs::create_dir_all(dir.path().join(name).join(ROOT)).unwrap();
            std::fs::write(dir.path().join(name).join(ABOUT), &about).unwrap();
            assert_eq!(whole(&dir.path().join(name), "b").is_some(), name == key, "{name}");
            assert!(whole(&dir.path().join(name), "another boot").is_none());
        }
    }
}
