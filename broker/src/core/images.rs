//! Images: what there is, and what comes and goes.

use std::sync::Arc;
use std::time::SystemTime;

use postern_proto::{Code, EnvVar};

use super::{Broker, Error, ImageConfig, ProgressSender, Pruned, PullPolicy, Result};
use crate::image::{ImageError, Layout, Reference, Stored};

/// An image that is at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// What a session names it by.
    pub name: String,
    /// `sha256:…` of what the name stood for when it was pulled. None: a layout
    /// below the images' directory, whose name stands for whatever lies there.
    pub digest: Option<String>,
    /// Bytes of its blobs in the store; several images may share some.
    pub size: Option<u64>,
    /// When it came into the store.
    pub pulled_at: Option<SystemTime>,
    /// When a session was last made from it.
    pub used_at: Option<SystemTime>,
    /// A session is being made from it now.
    pub in_use: bool,
}

/// What an image consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageDetail {
    /// As in the listing; without digest and times for what is not in the store.
    pub info: ImageInfo,
    /// `sha256:…` of the manifest for the guests' architecture, if it is in the store.
    pub manifest: Option<String>,
    /// From the lowest up.
    pub layers: Vec<ImageLayer>,
    /// Environment of its commands.
    pub env: Vec<EnvVar>,
    /// What else its configuration says.
    pub config: Arc<ImageConfig>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// `sha256:…` of the blob.
    pub digest: String,
    /// `sha256:…` of the tar in it.
    pub diff_id: String,
    /// As the manifest names it.
    pub media_type: String,
    /// Bytes of the blob.
    pub size: u64,
}

/// How full the image store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreUse {
    /// Bytes that are there or promised to a pull.
    pub bytes: u64,
    /// The cap.
    pub max_bytes: u64,
}

impl Broker {
    /// Every image at hand: of the store, and below the images' directory.
    pub async fn images(&self) -> Result<(Vec<ImageInfo>, StoreUse)> {
        let images = &self.inner.images;
        let mut all: Vec<_> = images.list().await?.iter().map(info).collect();
        all.extend(self.layouts().await);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let bytes = images.used().await?;
        Ok((all, StoreUse { bytes, max_bytes: images.max_bytes() }))
    }

    /// Brings an image into the store. What comes of a call that is dropped is
    /// kept, for the next one to go on from.
    pub async fn pull_image(
        &self,
        image: &str,
        policy: PullPolicy,
        progress: Option<ProgressSender>,
    ) -> Result<ImageInfo> {
        let reference = Reference::parse(image, &self.inner.images_dir)?;
        let Some(name) = reference.name() else {
            let message = "a layout of this host is used where it lies; it is not pulled";
            return Err(Error::invalid("image", message));
        };
        drop(self.ensure_image(image, policy, progress.as_ref()).await?);
        let stored = self.inner.images.find(&name).await?;
        let stored = stored.ok_or(ImageError::NotStored { name })?;
        Ok(info(&stored))
    }

    /// What an image consists of.
    pub async fn inspect_image(&self, image: &str) -> Result<ImageDetail> {
        let reference = Reference::parse(image, &self.inner.images_dir)?;
        let Some(name) = reference.name() else {
            let layout = self.ensure_image(image, PullPolicy::Never, None).await?;
            return Ok(detail(&layout, bare(image), None));
        };
        let stored = self.inner.images.find(&name).await?;
        let layout = self.inner.images.open_stored(&name).await?;
        match (stored, layout) {
            (Some(stored), Some(layout)) => {
                let manifest = Some(stored.manifest.to_string());
                Ok(detail(&layout, info(&stored), manifest))
            }
            _ => Err(ImageError::NotStored { name }.into()),
        }
    }

    /// Forgets an image of the store; gives the bytes that became free. Sessions
    /// that were made from it have their own copy; what one is being made from
    /// stays until the next pruning.
    pub async fn remove_image(&self, image: &str) -> Result<u64> {
        let reference = Reference::parse(image, &self.inner.images_dir)?;
        let Some(name) = reference.name() else {
            let message = "a layout of this host is not the store's to remove";
            return Err(Error::new(Code::FailedPrecondition, message));
        };
        Ok(self.inner.images.remove(&name).await?)
    }

    /// Deletes what no image needs; with `all`, images too, but those in use, and
    /// what of them is unpacked;
    /// with `max_bytes`, those that were not used for the longest time until the
    /// rest is within it.
    pub async fn prune_images(&self, all: bool, max_bytes: Option<u64>) -> Result<Pruned> {
        let mut pruned = self.inner.images.prune(all, max_bytes).await?;
        if let (true, Some(shared)) = (all, &self.inner.shared) {
            pruned.bytes += shared.trim(0);
        }
        Ok(pruned)
    }

    /// An image as a session needs it, within the deadline of a pull.
    pub(super) async fn ensure_image(
        &self,
        image: &str,
        policy: PullPolicy,
        progress: Option<&ProgressSender>,
    ) -> Result<Layout> {
        let reference = Reference::parse(image, &self.inner.images_dir)?;
        let deadline = self.inner.limits.pull_deadline;
        let ensuring = self.inner.images.ensure(&reference, policy, progress);
        match tokio::time::timeout(deadline, ensuring).await {
            Ok(layout) => Ok(layout?),
            Err(_) => Err(ImageError::Late { seconds: deadline.as_secs() }.into()),
        }
    }

    /// Names below the images' directory; there need be no such directory.
    async fn layouts(&self) -> Vec<ImageInfo> {
        let mut names = Vec::new();
        let Ok(mut listing) = tokio::fs::read_dir(&self.inner.images_dir).await else {
            return names;
        };
        while let Ok(Some(entry)) = listing.next_entry().await {
            let name = entry.file_name().to_string_lossy().into_owned();
            if tokio::fs::try_exists(entry.path().join("index.json")).await.unwrap_or(false) {
                names.push(bare(&name));
            }
        }
        names
    }
}

fn info(stored: &Stored) -> ImageInfo {
    ImageInfo {
        name: stored.name.clone(),
        digest: Some(stored.digest.clone()),
        size: Some(stored.size()),
        pulled_at: Some(stored.pulled_at),
        used_at: Some(stored.used_at),
        in_use: stored.in_use,
    }
}

fn bare(name: &str) -> ImageInfo {
    ImageInfo {
        name: name.to_owned(),
        digest: None,
        size: None,
        pulled_at: None,
        used_at: None,
        in_use: false,
    }
}

fn detail(layout: &Layout, info: ImageInfo, manifest: Option<String>) -> ImageDetail {
    let layers = layout.layers.iter().map(|layer| ImageLayer {
        digest: layer.digest.clone(),
        diff_id: layer.diff_id.clone(),
        media_type: layer.media_type.clone(),
        size: layer.size,
    });
    ImageDetail {
        info,
        manifest,
        layers: layers.collect(),
        env: layout.config.env.clone(),
        config: layout.about.clone(),
    }
}
