//! Layers to the guest on a disk: one file that the machine has as a read-only
//! device, from which the agent reads each at its offset.
//!
//! ```text
//! 0          offsets[1]        offsets[2]     each a multiple of 4096
//! │ layer 0 │░│ layer 1       │░│ layer 2 …
//! ```
//!
//! A copy, and not the blobs themselves: QEMU would open them by their names
//! again, after whoever owns a layout could have made a link of one. Where the
//! host's file system can, the copy shares the blobs' blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use postern_proto::DiskLayer;

use super::{ImageError, Layout, Progress, ProgressSender};
use crate::guest::Guest;

/// The block size of every file system that can share blocks.
const ALIGN: u64 = 4096;

/// Layers of more than this go by streams: the copy is gone before the host writes
/// it back, unless it is so large that unpacking it takes longer than that.
const MAX_COPY: u64 = 1 << 30;

/// Every layer of an image, one after the other.
#[derive(Debug)]
pub(crate) struct ImageDisk {
    pub(crate) path: PathBuf,
    offsets: Vec<u64>,
    len: u64,
}

impl ImageDisk {
    /// Whether a disk is the better way for this image.
    pub(crate) fn suits(layout: &Layout) -> bool {
        (1..=MAX_COPY).contains(&layout.total())
    }

    /// None where the host's disk is full: streams need no room.
    pub(crate) async fn make_if_there_is_room(
        layout: &Layout,
        path: PathBuf,
    ) -> Result<Option<Self>, ImageError> {
        match Self::make(layout, path.clone()).await {
            Ok(disk) => Ok(Some(disk)),
            Err(ImageError::Io { source, .. }) if is_full(&source) => {
                tracing::warn!(error = %source, "no room for an image's disk; it goes by streams");
                // What is left of it goes with the session's directory at the latest.
                let _ = tokio::fs::remove_file(&path).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Copies the layers into a new file.
    pub(crate) async fn make(layout: &Layout, path: PathBuf) -> Result<Self, ImageError> {
        let io = |doing| {
            let path = path.clone();
            move |source| ImageError::Io { doing, path, source }
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut disk = options.open(&path).map_err(io("making the disk"))?;
        let (mut offsets, mut len) = (Vec::with_capacity(layout.layers.len()), 0u64);
        for layer in &layout.layers {
            let blob = layout.blob(layer).await?.into_std().await;
            let (at, size) = (len, layer.size);
            let copy = move || copy(&blob, &mut disk, at, size).map(|copied| (disk, copied));
            let copied = tokio::task::spawn_blocking(copy).await.map_err(io::Error::other);
            let copied = copied.and_then(|copied| copied);
            let (back, copied) = copied.map_err(io("copying a layer to the disk"))?;
            if copied != size {
                return Err(ImageError::malformed(&layer.digest, "changed while it was read"));
            }
            disk = back;
            offsets.push(at);
            len = (at + size).next_multiple_of(ALIGN);
        }
        disk.set_len(len).map_err(io("sizing the disk"))?;
        Ok(Self { path, offsets, len })
    }

    /// Has the agent read every layer in order, from the disk with that serial, and
    /// make the root of them.
    pub(crate) async fn send(
        &self,
        layout: &Layout,
        guest: &Guest,
        serial: &str,
        progress: Option<&ProgressSender>,
    ) -> Result<(), ImageError> {
        let (mut before, total) = (0, layout.total());
        let tell = |sent| {
            if let Some(progress) = progress {
                progress.send_replace(Progress::Image { sent, total });
            }
        };
        tell(0);
        guest.prepare_image(u32::try_from(layout.layers.len()).unwrap_or(u32::MAX)).await?;
        for (layer, offset) in layout.layers.iter().zip(&self.offsets) {
            let serial = serial.to_owned();
            let asked = DiskLayer { layer: layer.clone(), serial, offset: *offset };
            let done = guest.apply_disk_layer(asked, |read| tell(before + read)).await?;
            before += layer.size;
            tell(before);
            let (entries, bytes) = (done.entries, done.bytes);
            tracing::debug!(layer = layer.index, entries, bytes, "layer applied from the disk");
        }
        if let Some(progress) = progress {
            progress.send_replace(Progress::Committing);
        }
        Ok(guest.commit_image(layout.config.clone()).await?)
    }

    /// The image is in place: the machine keeps a device of the same size, and the
    /// host has its room again.
    pub(crate) fn empty(&self) {
        let emptied = OpenOptions::new().write(true).open(&self.path).and_then(|file| {
            file.set_len(0)?;
            file.set_len(self.len)
        });
        if let Err(error) = emptied {
            tracing::warn!(path = %self.path.display(), %error, "an image's copy takes room on");
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// By copy_file_range(2) where the kernel can.
fn copy(blob: &File, disk: &mut File, at: u64, size: u64) -> io::Result<u64> {
    disk.seek(SeekFrom::Start(at))?;
    io::copy(&mut blob.take(size), disk)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::super::Digest;
    use super::super::reference::LayoutPlace;
    use super::*;
    use crate::arch::GuestArch;

    /// A layout with these blobs as its layers.
    async fn layout(dir: &Path, layers: &[Vec<u8>]) -> Layout {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        let blob = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            fs::write(dir.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
            serde_json::json!({"digest": digest.as_str(), "size": bytes.len()})
        };
        let typed = |mut value: serde_json::Value, kind: &str| {
            value["mediaType"] = format!("application/vnd.oci.image.{kind}").into();
            value
        };
        let of = |layer: &Vec<u8>| typed(blob(layer), "layer.v1.tar");
        let of: Vec<_> = layers.iter().map(of).collect();
        let diff_ids: Vec<_> = of.iter().map(|layer| layer["digest"].clone()).collect();
        let config = serde_json::json!({
            "architecture": oci_spec::image::Arch::default().to_string(), "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = typed(blob(config.to_string().as_bytes()), "config.v1+json");
        let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": of});
        let manifest = typed(blob(manifest.to_string().as_bytes()), "manifest.v1+json");
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
        Layout::open(&LayoutPlace { dir: dir.to_owned(), tag: None }, GuestArch::host())
            .await
            .unwrap()
    }

    fn layers() -> Vec<Vec<u8>> {
        [1, 4096, 0, 70_000, 3]
            .iter()
            .map(|len| vec![u8::try_from(len % 251).unwrap(); *len])
            .collect()
    }

    #[tokio::test]
    async fn layers_lie_one_after_the_other_on_aligned_offsets() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path(), &layers()).await;
        let disk = ImageDisk::make(&layout, dir.path().join("image.img")).await.unwrap();
        assert_eq!(disk.offsets, [0, 4096, 8192, 8192, 81_920]);
        let bytes = fs::read(&disk.path).unwrap();
        assert_eq!((bytes.len() as u64, disk.len), (86_016, 86_016));
        for (layer, at) in layers().iter().zip(&disk.offsets) {
            let at = usize::try_from(*at).unwrap();
            assert_eq!(&bytes[at..at + layer.len()], &layer[..]);
        }
        assert_eq!(disk.path.metadata().unwrap().mode() & 0o777, 0o600);
        disk.empty();
        let meta = disk.path.metadata().unwrap();
        assert_eq!((meta.len(), meta.blocks()), (86_016, 0), "its room is the host's again");
        assert!(fs::read(&disk.path).unwrap().iter().all(|byte| *byte == 0));
    }

    #[tokio::test]
    async fn an_image_without_bytes_or_with_very_many_goes_by_streams() {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = layout(dir.path(), &layers()).await;
        assert!(ImageDisk::suits(&layout));
        layout.layers[0].size = MAX_COPY;
        assert!(!ImageDisk::suits(&layout));
        layout.layers.clear();
        assert!(!ImageDisk::suits(&layout));
    }

    #[tokio::test]
    async fn a_full_disk_of_the_host_makes_no_disk_and_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path(), &layers()).await;
        let path = dir.path().join("image.img");
        let made = ImageDisk::make_if_there_is_room(&layout, path.clone()).await.unwrap();
        assert!(made.is_some() && path.exists());
        let full = io::Error::from_raw_os_error(nix::errno::Errno::ENOSPC as i32);
        assert!(is_full(&full) && !is_full(&io::ErrorKind::NotFound.into()));
        // Another failure is one: here the file is there already.
        assert!(ImageDisk::make_if_there_is_room(&layout, path).await.is_err());
    }

    #[tokio::test]
    async fn a_blob_that_changed_or_is_a_link_makes_no_disk() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path(), &layers()).await;
        let blob = dir.path().join("blobs/sha256").join(&layout.layers[3].digest[7..]);
        fs::write(&blob, "shorter").unwrap();
        let error = ImageDisk::make(&layout, dir.path().join("a.img")).await.unwrap_err();
        assert!(matches!(error, ImageError::Malformed { .. }), "{error}");
        fs::remove_file(&blob).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &blob).unwrap();
        assert!(ImageDisk::make(&layout, dir.path().join("b.img")).await.is_err());
        fs::write(dir.path().join("c.img"), "mine").unwrap();
        assert!(ImageDisk::make(&layout, dir.path().join("c.img")).await.is_err());
        assert_eq!(fs::read(dir.path().join("c.img")).unwrap(), b"mine");
    }
}
