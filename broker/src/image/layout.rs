//! An OCI image layout on disk: index, manifest, config, layers.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, Os};
use postern_proto::Layer;
use serde::de::DeserializeOwned;
use tokio::io::AsyncReadExt;

use super::config::{self, ImageConfig};
use super::reference::LayoutPlace;
use super::{Digest, Hold, ImageError};
use crate::arch::GuestArch;

/// The longest index, manifest or config. Real ones are some KiB; registries
/// refuse manifests above 4 MiB.
pub(super) const MAX_DOCUMENT: u64 = 4 << 20;

/// The most layers. Docker's own limit is 127; builders without one stay far below this.
pub(super) const MAX_LAYERS: usize = 512;

/// How deep an index may lie in an index: one level is what tools make.
pub(super) const MAX_NESTING: usize = 2;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image that was found and understood.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
    pub(crate) layers: Vec<Layer>,
    /// For its commands.
    pub(crate) config: postern_proto::ImageConfig,
    /// For people.
    pub(crate) about: Arc<ImageConfig>,
    /// Keeps the blobs in the store while somebody has the layout.
    hold: Option<Hold>,
}

impl Layout {
    pub(crate) async fn open(place: &LayoutPlace, arch: GuestArch) -> Result<Self, ImageError> {
        let dir = place.dir.clone();
        let path = dir.join("index.json");
        let index: ImageIndex = parse(&path, &read_capped(&path, None).await?)?;
        let manifest = pick_manifest(&dir, index, place.tag.as_deref(), arch).await?;
        Self::of_manifest(dir, &manifest, arch).await
    }

    /// An image whose manifest is a blob of the store at `dir`.
    pub(super) async fn stored(
        dir: PathBuf,
        manifest: &Digest,
        arch: GuestArch,
    ) -> Result<Self, ImageError> {
        let (path, digest) = (blob_path(&dir, manifest.as_str())?, manifest.as_str());
        let bytes = read_capped(&path, None).await?;
        check_digest(&path, &bytes, digest)?;
        let manifest: ImageManifest = parse(&path, &bytes)?;
        Self::of_manifest(dir, &manifest, arch).await
    }

    /// Nothing of it is pruned while the layout is there.
    pub(super) fn holding(mut self, hold: Hold) -> Self {
        self.hold = Some(hold);
        self
    }

    async fn of_manifest(
        dir: PathBuf,
        manifest: &ImageManifest,
        arch: GuestArch,
    ) -> Result<Self, ImageError> {
        let config: ImageConfiguration = document(&dir, manifest.config()).await?;
        if *config.os() != Os::Linux || *config.architecture() != arch.oci() {
            return Err(ImageError::OtherArch {
                found: format!("{}/{}", config.os(), config.architecture()),
                wanted: arch.oci().to_string(),
                at: dir,
            });
        }
        let layers = layers(&dir, manifest, config.rootfs().diff_ids())?;
        let (config, about) = config::read(config.config().as_ref())
            .map_err(|problem| ImageError::malformed(&dir, problem))?;
        Ok(Self { dir, layers, config, about: Arc::new(about), hold: None })
    }

    /// Bytes of all layers.
    pub(crate) fn total(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    /// A layer's blob, open, of the size that the manifest names.
    pub(crate) async fn blob(&self, layer: &Layer) -> Result<tokio::fs::File, ImageError> {
        let path = blob_path(&self.dir, &layer.digest)?;
        let (file, size) = open_regular(&path).await?;
        if size != layer.size {
            let problem = format!("has {size} bytes where its manifest names {}", layer.size);
            return Err(ImageError::malformed(path, problem));
        }
        Ok(file)
    }
}

/// Walks down to the manifest for the guests' architecture.
async fn pick_manifest(
    dir: &Path,
    mut index: ImageIndex,
    tag: Option<&str>,
    arch: GuestArch,
) -> Result<ImageManifest, ImageError> {
    let mut found = by_tag(dir, index.manifests(), tag, arch)?;
    for _ in 0..MAX_NESTING {
        if !found.media_type().as_ref().ends_with("index.v1+json")
            && !found.media_type().as_ref().ends_with("manifest.list.v2+json")
        {
            return document(dir, &found).await;
        }
        index = document(dir, &found).await?;
        found = for_arch(dir, index.manifests(), arch)?;
    }
    Err(ImageError::malformed(dir, "nests an index in an index in an index"))
}

pub(super) fn by_tag(
    dir: &Path,
    all: &[Descriptor],
    tag: Option<&str>,
    arch: GuestArch,
) -> Result<Descriptor, ImageError> {
    let named = |name: &str| {
        all.iter().find(|d| {
            d.annotations().as_ref().and_then(|a| a.get(REF_NAME)).is_some_and(|n| n == name)
        })
    };
    let found = match (tag, all) {
        (Some(tag), _) => {
            named(tag).ok_or_else(|| ImageError::malformed(dir, format!("has no tag {tag:?}")))?
        }
        (None, [only]) => only,
        (None, _) => match named("latest") {
            Some(latest) => latest,
            None => return for_arch(dir, all, arch),
        },
    };
    Ok(found.clone())
}

pub(super) fn for_arch(
    dir: &Path,
    all: &[Descriptor],
    arch: GuestArch,
) -> Result<Descriptor, ImageError> {
    let fits = |d: &&Descriptor| {
        d.platform()
            .as_ref()
            .is_none_or(|p| *p.os() == Os::Linux && *p.architecture() == arch.oci())
    };
    let found = all.iter().find(fits);
    found
        .cloned()
        .ok_or_else(|| ImageError::malformed(dir, format!("has no image for linux/{}", arch.oci())))
}

fn layers(
    dir: &Path,
    manifest: &ImageManifest,
    diff_ids: &[String],
) -> Result<Vec<Layer>, ImageError> {
    let blobs = manifest.layers();
    if blobs.len() > MAX_LAYERS || blobs.len() != diff_ids.len() {
        let problem = format!("has {} layers and {} diff_ids", blobs.len(), diff_ids.len());
        return Err(ImageError::malformed(dir, problem));
    }
    let layer = |(index, (blob, diff_id)): (usize, (&Descriptor, &String))| Layer {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        media_type: blob.media_type().to_string(),
        digest: blob.digest().to_string(),
        diff_id: diff_id.clone(),
        size: blob.size(),
    };
    Ok(blobs.iter().zip(diff_ids).enumerate().map(layer).collect())
}

/// A JSON document by its descriptor, size and digest checked.
async fn document<T: DeserializeOwned>(dir: &Path, of: &Descriptor) -> Result<T, ImageError> {
    let digest = of.digest().to_string();
    let path = blob_path(dir, &digest)?;
    let bytes = read_capped(&path, Some(of.size())).await?;
    check_digest(&path, &bytes, &digest)?;
    check_kind(&path, &bytes, of.media_type().as_ref())?;
    parse(&path, &bytes)
}

fn check_digest(path: &Path, bytes: &[u8], digest: &str) -> Result<(), ImageError> {
    let found = Digest::of(bytes);
    if found.as_str() != digest {
        return Err(ImageError::malformed(path, format!("has the digest {found}")));
    }
    Ok(())
}

/// A document that can be read as both would mean different images to different
/// tools (GHSA-5j5w-g665-5m35).
pub(super) fn check_kind(path: &Path, bytes: &[u8], kind: &str) -> Result<(), ImageError> {
    let document: serde_json::Value = parse(path, bytes)?;
    let both = document.get("manifests").is_some() && document.get("layers").is_some();
    let claimed = document.get("mediaType").and_then(|m| m.as_str());
    if both || claimed.is_some_and(|claimed| claimed != kind) {
        return Err(ImageError::malformed(path, "is not of the kind that it is named as"));
    }
    Ok(())
}

pub(super) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ImageError::malformed(path, format!("is no document of an OCI layout: {e}")))
}

fn blob_path(dir: &Path, digest: &str) -> Result<PathBuf, ImageError> {
    match Digest::parse(digest) {
        Some(digest) => Ok(dir.join("blobs/sha256").join(digest.hex())),
        None => Err(ImageError::malformed(
            dir,
            format!("names a blob by {digest:?}; only sha256 is known"),
        )),
    }
}

async fn read_capped(path: &Path, size: Option<u64>) -> Result<Vec<u8>, ImageError> {
    let (file, found) = open_regular(path).await?;
    if found > MAX_DOCUMENT || size.is_some_and(|size| size != found) {
        return Err(ImageError::malformed(
            path,
            format!("has {found} bytes, which cannot be right"),
        ));
    }
    let mut bytes = Vec::new();
    let read = file.take(MAX_DOCUMENT).read_to_end(&mut bytes).await;
    read.map_err(|source| ImageError::Io { doing: "reading", path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Opens without following a link (it could name a secret of the host, whose
/// bytes would go to the guest) and without waiting on a FIFO.
async fn open_regular(path: &Path) -> Result<(tokio::fs::File, u64), ImageError> {
    let io = |source| ImageError::Io { doing: "opening", path: path.to_owned(), source };
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(flags.bits());
    let file = tokio::fs::OpenOptions::from(options).open(path).await.map_err(io)?;
    let meta = file.metadata().await.map_err(io)?;
    if !meta.is_file() {
        return Err(ImageError::malformed(path, "is no regular file"));
    }
    Ok((file, meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_proto::EnvVar;
    use std::fs;

    struct Made {
        dir: tempfile::TempDir,
    }

    impl Made {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
            Self { dir }
        }

        fn blob(&self, bytes: &[u8]) -> String {
            let digest = Digest::of(bytes);
            fs::write(self.dir.path().join("blobs/sha256").join(digest.hex()), bytes).unwrap();
            digest.to_string()
        }

        fn image(&self, arch: &str, extra: &str) -> (String, usize) {
            let layer = self.blob(b"layer");
            let config = format!(
                r#"{{"architecture":"{arch}","os":"linux","config":{{"Env":["A=b=c"],"User":"user"}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
                "0".repeat(64)
            );
            let config_digest = self.blob(config.as_bytes());
            let manifest = format!(
                r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":5}}]}}"#,
                config.len()
            );
            (self.blob(manifest.as_bytes()), manifest.len())
        }

        fn index(&self, digest: &str, size: usize) {
            let index = format!(
                r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size},"annotations":{{"{REF_NAME}":"v1"}}}}]}}"#
            );
            fs::write(self.dir.path().join("index.json"), index).unwrap();
        }

        async fn open(&self, tag: &str) -> Result<Layout, ImageError> {
            let tag = (!tag.is_empty()).then(|| tag.to_owned());
            self.open_for(tag, GuestArch::X86_64).await
        }

        async fn open_for(
            &self,
            tag: Option<String>,
            arch: GuestArch,
        ) -> Result<Layout, ImageError> {
            let place = LayoutPlace { dir: self.dir.path().to_owned(), tag };
            Layout::open(&place, arch).await
        }
    }

    #[tokio::test]
    async fn reads_what_a_tool_writes() {
        let made = Made::new();
        let (digest, size) = made.image("amd64", "");
        made.index(&digest, size);
        let layout = made.open("v1").await.unwrap();
        assert_eq!((layout.layers.len(), layout.total()), (1, 5));
        assert_eq!(layout.config.env, [EnvVar::new("A", "b=c")]);
        assert_eq!(layout.config.user, "user");
        layout.blob(&layout.layers[0]).await.unwrap();
        assert!(made.open("v2").await.unwrap_err().to_string().contains("v2"));
    }

    #[tokio::test]
    async fn refuses_wrong_digests_sizes_machines_and_double_documents() {
        let made = Made::new();
        let (digest, size) = made.image("amd64", "");
        made.index(&digest, size + 1);
        assert!(made.open("").await.is_err());
        made.index(&digest, size);
        let path = made.dir.path().join("blobs/sha256").join(&digest[7..]);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("user", "root")).unwrap();
        fs::write(&path, text.replace("\"size\":5", "\"size\":6")).unwrap();
        assert!(made.open("").await.unwrap_err().to_string().contains("digest"));
        let (digest, size) = made.image("riscv64", "");
        made.index(&digest, size);
        assert!(made.open("").await.unwrap_err().to_string().contains("riscv64"));
        let (digest, size) = made.image("amd64", r#""manifests":[],"#);
        made.index(&digest, size);
        assert!(made.open("").await.unwrap_err().to_string().contains("kind"));
    }

    #[tokio::test]
    async fn an_image_for_other_guests_is_refused_with_both_names() {
        let made = Made::new();
        let (digest, size) = made.image("amd64", "");
        made.index(&digest, size);
        made.open("").await.unwrap();
        let other = made.open_for(None, GuestArch::Aarch64).await.unwrap_err().to_string();
        assert!(other.contains("linux/amd64") && other.contains("linux/arm64"), "{other}");
        let (digest, size) = made.image("arm64", "");
        made.index(&digest, size);
        made.open_for(None, GuestArch::Aarch64).await.unwrap();
    }

    #[tokio::test]
    async fn a_blob_that_is_a_link_to_a_file_of_the_host_is_not_read() {
        let made = Made::new();
        let (digest, size) = made.image("amd64", "");
        made.index(&digest, size);
        let layout = made.open("").await.unwrap();
        let blob = made.dir.path().join("blobs/sha256").join(&layout.layers[0].digest[7..]);
        fs::remove_file(&blob).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &blob).unwrap();
        assert!(layout.blob(&layout.layers[0]).await.is_err());
    }
}
