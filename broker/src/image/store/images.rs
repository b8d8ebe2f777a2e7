//! Images by name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::{Digest, ImageError, Layout, Registries};
use super::blobs::Blobs;
use crate::arch::GuestArch;
use crate::store::{ImageRow, Store};

/// The image store; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) blobs: Blobs,
    pub(super) rows: Store,
    pub(super) registries: Arc<Registries>,
    pub(super) max_bytes: u64,
    /// What images are for.
    pub(super) arch: GuestArch,
    /// Held while names and blobs change together: so that nobody takes blobs
    /// whose name is just being written for nobody's.
    pub(super) room: tokio::sync::Mutex<()>,
}

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) name: String,
    /// What the name stood for: an index, or a manifest.
    pub(crate) digest: String,
    /// The manifest for the guests' architecture.
    pub(crate) manifest: Digest,
    pub(crate) blobs: Vec<(Digest, u64)>,
    pub(crate) stamp: Option<String>,
    pub(crate) pulled_at: SystemTime,
    pub(crate) used_at: SystemTime,
    /// A session is being made from it, or it is being pulled again.
    pub(crate) in_use: bool,
}

impl Stored {
    /// Bytes of all blobs.
    pub(crate) fn size(&self) -> u64 {
        self.blobs.iter().fold(0, |sum, (_, size)| sum.saturating_add(*size))
    }
}

impl Images {
    /// Opens the store in a directory of its own, or makes it. Blocking.
    pub(crate) fn open(
        dir: PathBuf,
        rows: Store,
        registries: Registries,
        max_bytes: u64,
        arch: GuestArch,
    ) -> Result<Self, ImageError> {
        let (blobs, registries) = (Blobs::open(dir)?, Arc::new(registries));
        let room = tokio::sync::Mutex::default();
        let inner = Inner { blobs, rows, registries, max_bytes, arch, room };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.inner.max_bytes
    }

    /// Every image, the one that was not used for the longest time first.
    pub(crate) async fn list(&self) -> Result<Vec<Stored>, ImageError> {
        let rows = self.inner.rows.images().await?;
        Ok(rows.into_iter().filter_map(|row| self.read(row)).collect())
    }

    /// One image.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Stored>, ImageError> {
        let row = self.inner.rows.image(name).await?;
        Ok(row.and_then(|row| self.read(row)))
    }

    /// An image that is whole, held; None if there is none of that name, a blob of
    /// it is missing, or a broker with other guests pulled it.
    pub(crate) async fn open_stored(&self, name: &str) -> Result<Option<Layout>, ImageError> {
        let Some(stored) = self.find(name).await? else { return Ok(None) };
        let blobs = &self.inner.blobs;
        // Held before it is looked for, so that what is seen stays.
        let hold = blobs.inner.holds.take(&stored.blobs);
        let (there, all) = (blobs.clone(), stored.blobs.clone());
        let look = move || all.iter().all(|(digest, size)| there.has(digest, *size));
        if !blocking(move || Ok(look())).await? {
            return Ok(None);
        }
        let dir = blobs.dir().to_owned();
        let layout = match Layout::stored(dir, &stored.manifest, self.inner.arch).await {
            Err(ImageError::OtherArch { .. }) => return Ok(None),
            layout => layout?,
        };
        self.inner.rows.touch_image(name, now_us()).await?;
        Ok(Some(layout.holding(hold)))
    }

    /// Forgets a name, and deletes the blobs that only it needs; gives their
    /// bytes. What is in use goes with the next pruning.
    pub(crate) async fn remove(&self, name: &str) -> Result<u64, ImageError> {
        let _room = self.inner.room.lock().await;
        if !self.inner.rows.remove_image(name).await? {
            return Err(ImageError::NotStored { name: name.to_owned() });
        }
        self.sweep(true).await
    }

    fn read(&self, row: ImageRow) -> Option<Stored> {
        let blobs: Option<Vec<(String, u64)>> = serde_json::from_str(&row.blobs).ok();
        let blobs: Option<Vec<_>> = blobs.and_then(|blobs| {
            blobs.into_iter().map(|(digest, size)| Some((Digest::parse(&digest)?, size))).collect()
        });
        let (Some(blobs), Some(manifest)) = (blobs, Digest::parse(&row.manifest)) else {
            // Nobody wrote such a row: the image is as good as gone.
            tracing::warn!(name = row.name, "an image's row cannot be read");
            return None;
        };
        let in_use = self.inner.blobs.inner.holds.now().contains_key(&manifest);
        Some(Stored {
            name: row.name,
            digest: row.digest,
            manifest,
            blobs,
            stamp: row.stamp,
            pulled_at: at(row.pulled_us),
            used_at: at(row.used_us),
            in_use,
        })
    }
}

/// Work on the disk that takes long.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ImageError::BrokenOff)?
}

pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn at(us: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(us).unwrap_or(0))
}
