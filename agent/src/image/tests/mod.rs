//! Layers as real tools write them, and as nobody should.

mod blobs;
mod entries;
mod hostile;
mod sparse;
mod whiteouts;

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::packing::PackingError;
use super::tar::TarError;
use super::*;
use crate::sys::xattr;

const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Writes tars byte by byte, wrong ones too.
#[derive(Default, Clone)]
struct Tar(Vec<u8>);

struct Head<'a> {
    kind: u8,
    path: &'a [u8],
    link: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
    size: u64,
    device: (u32, u32),
}

impl Default for Head<'_> {
    fn default() -> Self {
        Self {
            kind: b'0',
            path: b"",
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_000_000,
            size: 0,
            device: (0, 0),
        }
    }
}

impl Tar {
    fn head(mut self, head: &Head<'_>) -> Self {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, head.path);
        put(100, format!("{:07o}", head.mode).as_bytes());
        put(108, format!("{:07o}", head.uid).as_bytes());
        put(116, format!("{:07o}", head.gid).as_bytes());
        put(124, format!("{:011o}", head.size).as_bytes());
        put(136, format!("{:011o}", head.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[head.kind]);
        put(157, head.link);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", head.device.0).as_bytes());
        put(337, format!("{:07o}", head.device.1).as_bytes());
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    fn data(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, contents: &[u8]) -> Self {
        self.head(&Head { path: path.as_bytes(), size: contents.len() as u64, ..Head::default() })
            .data(contents)
    }

    fn dir(self, path: &str) -> Self {
        self.head(&Head { kind: b'5', path: path.as_bytes(), mode: 0o755, ..Head::default() })
    }

    fn link(self, kind: u8, path: &str, to: &str) -> Self {
        self.head(&Head { kind, path: path.as_bytes(), link: to.as_bytes(), ..Head::default() })
    }

    fn symlink(self, path: &str, to: &str) -> Self {
        self.link(b'2', path, to)
    }

    fn hard_link(self, path: &str, to: &str) -> Self {
        self.link(b'1', path, to)
    }

    fn extension(self, kind: u8, bytes: &[u8]) -> Self {
        self.head(&Head { kind, path: b"ext", size: bytes.len() as u64, ..Head::default() })
            .data(bytes)
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let len = (rest + 1..).find(|len| len.to_string().len() + rest == *len).unwrap();
            bytes.extend_from_slice(format!("{len} {key}=").as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.extension(b'x', &bytes)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn sha(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum, as every program writes it but the library unasked does not.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut context = zstd_safe::CCtx::create();
    context.set_parameter(zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
    let mut blob = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut blob, bytes).unwrap();
    blob
}

fn describe(index: u32, media_type: &str, blob: &[u8], tar: &[u8]) -> proto::Layer {
    proto::Layer {
        index,
        media_type: media_type.into(),
        digest: sha(blob),
        diff_id: sha(tar),
        size: blob.len() as u64,
    }
}

/// A root in which layers are laid one over another.
struct Image {
    dir: TempDir,
    unpacker: Unpacker,
    next: u32,
}

impl Image {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::write(dir.path().join("outside"), "untouched").unwrap();
        let root = Root::open(&dir.path().join("root")).unwrap();
        Self { unpacker: Unpacker::new(root, limits), dir, next: 0 }
    }

    fn try_layer(&mut self, tar: Tar) -> Result<proto::LayerDone, Cause> {
        let tar = tar.end();
        let layer = describe(self.next, PLAIN, &tar, &tar);
        self.next += 1;
        let done = self.unpacker.apply(&layer, &mut &tar[..]).map_err(|e| e.cause);
        assert_eq!(fs::read(self.dir.path().join("outside")).unwrap(), b"untouched");
        assert_eq!(
            fs::read_dir(self.dir.path()).unwrap().count(),
            2,
            "something was made outside the root"
        );
        done
    }

    fn layer(&mut self, tar: Tar) -> proto::LayerDone {
        self.try_layer(tar).unwrap()
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    fn tree(&self) -> Vec<String> {
        fn walk(at: &Path, top: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(top).unwrap().to_str().unwrap().to_owned());
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, top, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.at(""), &self.at(""), &mut found);
        found.sort();
        found
    }
}

fn why(result: Result<proto::LayerDone, Cause>) -> &'static str {
    match result.unwrap_err() {
        Cause::Entry { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

fn tar_error(result: Result<proto::LayerDone, Cause>) -> TarError {
    match result.unwrap_err() {
        Cause::Tar { cause, .. } => cause,
        other => panic!("{other:?}"),
    }
}

/// Permissions of the test's own directory must not decide what a test shows.
#[test]
fn the_tests_run_as_root() {
    let image = Image::new();
    assert_eq!(fs::metadata(image.at("")).unwrap().permissions().mode() & 0o700, 0o700);
    assert_eq!(
        fs::metadata(image.at("")).unwrap().uid(),
        0,
        "run the tests as root: they change owners"
    );
}
