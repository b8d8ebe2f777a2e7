//! Archives of images: a tar of an OCI layout, and what `docker save` writes.
//!
//! Nothing is unpacked beside the store: the headers say where things lie, and
//! layers are copied from there into blobs, hashed as they go.

mod docker;
mod oci;
mod tar;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::json;

use self::tar::{Place, Tar};
use super::layout::{MAX_DOCUMENT, MAX_LAYERS};
use super::reference::{ArchiveKind, ArchivePlace};
use super::store::{Added, Blobs, Hold};
use super::{Digest, ImageError};
use crate::arch::GuestArch;

/// What is copied at once.
const PIECE: usize = 1 << 20;

/// An image in an archive that is to be read into the store.
#[derive(Debug)]
pub(super) struct Plan {
    tar: Tar,
    config: Vec<u8>,
    layers: Vec<Part>,
    /// None: made from what the layers turn out to be.
    manifest: Option<Vec<u8>>,
}

/// A layer in the archive.
#[derive(Debug)]
struct Part {
    place: Place,
    /// What the archive says its digest is.
    digest: Option<Digest>,
}

/// An image that was read into the store.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) manifest: Digest,
    pub(super) blobs: Vec<(Digest, u64)>,
    pub(super) holds: Vec<Hold>,
}

/// Changes when the file does: the same archive need not be read again.
pub(super) async fn stamp(file: &Path) -> Result<String, ImageError> {
    let meta = tokio::fs::metadata(file).await.map_err(ImageError::io("opening", file))?;
    let (seconds, nanos) = (meta.mtime(), meta.mtime_nsec());
    Ok(format!("{}:{}:{}:{seconds}.{nanos}", meta.dev(), meta.ino(), meta.len()))
}

/// Reads the documents of an archive. Blocking.
pub(super) fn plan(place: &ArchivePlace, arch: GuestArch) -> Result<Plan, ImageError> {
    let tar = Tar::open(&place.file)?;
    let which = place.which.as_deref();
    let plan = match place.kind {
        ArchiveKind::Oci => oci::plan(tar, which, arch)?,
        ArchiveKind::Docker => docker::plan(tar, which)?,
    };
    if plan.layers.len() > MAX_LAYERS {
        return Err(plan.tar.malformed(format!("has an image of {} layers", plan.layers.len())));
    }
    Ok(plan)
}

impl Plan {
    /// Bytes that it takes in the store.
    pub(super) fn total(&self) -> u64 {
        let layers = self.layers.iter().map(|part| part.place.size);
        // The manifest that may have to be made is less than a document.
        layers.fold(self.config.len() as u64 + MAX_DOCUMENT, u64::saturating_add)
    }

    /// For progress; a layer without a digest goes by its place.
    pub(super) fn layer_sizes(&self) -> Vec<(Digest, u64)> {
        let name = |part: &Part| {
            part.digest.clone().unwrap_or_else(|| Digest::of(&part.place.offset.to_le_bytes()))
        };
        self.layers.iter().map(|part| (name(part), part.place.size)).collect()
    }

    /// Copies everything into the store. Blocking.
    pub(super) fn import(
        self,
        store: &Blobs,
        tell: impl Fn(usize, u64),
    ) -> Result<Read, ImageError> {
        let mut read = Reading::default();
        let config = store.add(&self.config)?;
        let mut layers = Vec::new();
        let diff_ids = self.diff_ids()?;
        let config = read.keep(config);
        for (at, part) in self.layers.iter().enumerate() {
            let (kind, added) = self.copy(store, part, |have| tell(at, have))?;
            if kind == PLAIN && diff_ids.get(at).map(String::as_str) != Some(added.digest.as_str())
            {
                let problem = format!("has a layer {at} that is not what its config says");
                return Err(self.tar.malformed(problem));
            }
            let (digest, size) = read.keep(added);
            layers.push(json!({"mediaType": kind, "digest": digest.as_str(), "size": size}));
        }
        let manifest = self.manifest.unwrap_or_else(|| {
            let config = json!({
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.0.as_str(), "size": config.1,
            });
            let kind = "application/vnd.oci.image.manifest.v1+json";
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers})
                .to_string()
                .into_bytes()
        });
        let (manifest, _) = read.keep(store.add(&manifest)?);
        Ok(Read { manifest, blobs: read.blobs, holds: read.holds })
    }

    fn copy(
        &self,
        store: &Blobs,
        part: &Part,
        tell: impl Fn(u64),
    ) -> Result<(&'static str, Added), ImageError> {
        let mut import = store.import()?;
        let mut kind = None;
        let Place { offset, size } = part.place;
        let (mut piece, mut done) = (vec![0; PIECE], 0);
        while done < size {
            let most = usize::try_from(size - done).unwrap_or(PIECE).min(PIECE);
            self.tar.read(offset + done, &mut piece[..most])?;
            kind.get_or_insert_with(|| media_type(&piece[..most]));
            import.write(&piece[..most])?;
            done += most as u64;
            tell(done);
        }
        if let Some(digest) = &part.digest
            && import.digest() != *digest
        {
            let problem = format!("has {} where it says {digest}", import.digest());
            return Err(self.tar.malformed(problem));
        }
        Ok((kind.unwrap_or(PLAIN), import.finish()?))
    }

    /// The digests of the unpacked layers, by the config.
    fn diff_ids(&self) -> Result<Vec<String>, ImageError> {
        let config: oci_spec::image::ImageConfiguration =
            super::layout::parse(&self.tar.path, &self.config)?;
        Ok(config.rootfs().diff_ids().clone())
    }
}

/// What is in the store so far.
#[derive(Debug, Default)]
struct Reading {
    blobs: Vec<(Digest, u64)>,
    holds: Vec<Hold>,
}

impl Reading {
    fn keep(&mut self, added: Added) -> (Digest, u64) {
        self.holds.push(added.hold);
        self.blobs.push((added.digest.clone(), added.size));
        (added.digest, added.size)
    }
}

const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// Docker's archives do not say how a layer is packed; its first bytes do.
fn media_type(beginning: &[u8]) -> &'static str {
    match beginning {
        [0x1f, 0x8b, ..] => "application/vnd.oci.image.layer.v1.tar+gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => PLAIN,
    }
}
