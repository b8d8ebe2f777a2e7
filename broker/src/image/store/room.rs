//! Room: the cap, and who goes when it is reached.
//!
//! In this order: what no name needs, then the images that were not used for the
//! longest time. What is held never goes: what a session is being made from, what
//! is being pulled.

use std::collections::HashSet;

use super::super::{Digest, ImageError};
use super::Pruned;
use super::hold::Hold;
use super::images::{Images, Stored, blocking};

impl Images {
    /// Holds blobs that are there or will be, once there is room for them.
    pub(super) async fn reserve(&self, blobs: &[(Digest, u64)]) -> Result<Hold, ImageError> {
        let needed = sum(blobs.iter().collect::<HashSet<_>>().into_iter().map(|(_, size)| *size));
        let max = self.inner.max_bytes;
        let full = |hint| ImageError::Full { needed, max, hint };
        if needed > max {
            return Err(full(""));
        }
        let _room = self.inner.room.lock().await;
        let hold = self.inner.blobs.inner.holds.take(blobs);
        if self.shrink(max).await?.is_some() {
            Ok(hold)
        } else {
            Err(full(", and what is in it is in use"))
        }
    }

    /// Deletes what no name needs, and with `all` every image that is not in
    /// use; then the longest unused images until the rest is within `max_bytes`.
    pub(crate) async fn prune(
        &self,
        all: bool,
        max_bytes: Option<u64>,
    ) -> Result<Pruned, ImageError> {
        let _room = self.inner.room.lock().await;
        let bytes = self.sweep(true).await?;
        let mut pruned = Pruned { images: Vec::new(), bytes };
        let most = if all { Some(0) } else { max_bytes };
        if let Some(more) = match most {
            Some(most) => Some(self.evict(most).await?),
            None => None,
        } {
            pruned.images.extend(more.images);
            pruned.bytes += more.bytes;
        }
        Ok(pruned)
    }

    /// What an earlier broker left behind, once nobody will come back to it.
    pub(crate) async fn tidy(&self) -> Result<(), ImageError> {
        let _room = self.inner.room.lock().await;
        self.sweep(false).await.map(drop)
    }

    /// Bytes on the disk, and those that are promised.
    pub(crate) async fn used(&self) -> Result<u64, ImageError> {
        let blobs = self.inner.blobs.clone();
        blocking(move || {
            let found = blobs.on_disk()?;
            let held = blobs.inner.holds.now();
            let is_held = |digest: &Option<Digest>| {
                digest.as_ref().is_some_and(|digest| held.contains_key(digest))
            };
            let loose = found.iter().filter(|file| !is_held(&file.digest)).map(|file| file.size);
            Ok(sum(loose.chain(held.values().map(|held| held.size))))
        })
        .await
    }

    /// None: what is left is in use, and is still too much. The caller has the room.
    async fn shrink(&self, max: u64) -> Result<Option<Pruned>, ImageError> {
        if self.used().await? <= max {
            return Ok(Some(Pruned::default()));
        }
        let bytes = self.sweep(true).await?;
        let mut pruned = self.evict(max).await?;
        pruned.bytes += bytes;
        Ok((self.used().await? <= max).then_some(pruned))
    }

    /// Takes images, the longest unused first, until the rest fits. The caller
    /// has the room.
    async fn evict(&self, max: u64) -> Result<Pruned, ImageError> {
        let mut pruned = Pruned::default();
        for Stored { name, in_use, .. } in self.list().await? {
            if in_use {
                continue;
            }
            if self.used().await? <= max {
                break;
            }
            self.inner.rows.remove_image(&name).await?;
            pruned.bytes += self.sweep(true).await?;
            tracing::info!(image = name, "an image made room");
            pruned.images.push(name);
        }
        Ok(pruned)
    }

    /// Deletes blobs that no name needs, with `fresh` also those that a pull
    /// left a short while ago. The caller has the room.
    pub(super) async fn sweep(&self, fresh: bool) -> Result<u64, ImageError> {
        let named: HashSet<Digest> = self
            .list()
            .await?
            .into_iter()
            .flat_map(|s| s.blobs)
            .map(|(digest, _)| digest)
            .collect();
        let blobs = self.inner.blobs.clone();
        blocking(move || {
            blobs.sweep(|file| {
                let is_named = file.digest.as_ref().is_some_and(|digest| named.contains(digest));
                is_named || (!fresh && file.is_fresh())
            })
        })
        .await
    }
}

fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}
