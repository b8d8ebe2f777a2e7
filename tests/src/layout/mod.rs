//! Random OCI layouts, and what must be there once they are unpacked.
//!
//! The first layer brings a static busybox; those after it add, overwrite, link
//! and white out below `/r`. [`Tree`] is the model: each layer is applied to it
//! as the OCI image specification says.

mod archive;
mod changes;
mod tree;

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use tree::{Kind, Node, Tree};

use crate::random::Random;
use crate::tarball::{gzip, zstd};
use archive::base_layer;
use changes::{Changes, Entry};
use tree::{is_below, node};

/// Everything under test is below this.
pub const TOP: &str = "r";

/// Builds the layers of one image and the tree that they make.
#[derive(Debug)]
pub struct Layout {
    random: Random,
    /// What must be there.
    pub tree: Tree,
    layers: Vec<Blob>,
    files: u64,
}

/// A layer and what its manifest says of it, be it true or not.
#[derive(Debug, Clone)]
pub struct Blob {
    /// As in the manifest.
    pub media_type: &'static str,
    /// What comes.
    pub bytes: Vec<u8>,
    /// As in the manifest.
    pub digest: String,
    /// As in the image configuration.
    pub diff_id: String,
    /// As in the manifest.
    pub size: u64,
}

impl Blob {
    /// `tar` in `bytes`, everything named as it is.
    pub fn of(media_type: &'static str, bytes: Vec<u8>, tar: &[u8]) -> Self {
        let (digest, diff_id, size) = (digest(&bytes), digest(tar), bytes.len() as u64);
        Self { media_type, bytes, digest, diff_id, size }
    }

    /// `tar` packed in one of the three ways.
    pub fn pack(way: usize, tar: &[u8]) -> Self {
        match way % 3 {
            0 => Self::of(GZIP, gzip(tar), tar),
            1 => Self::of(PLAIN, tar.to_vec(), tar),
            _ => Self::of(ZSTD, zstd(tar), tar),
        }
    }
}

/// An uncompressed layer.
pub const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer in gzip.
pub const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer in zstd.
pub const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

impl Layout {
    /// busybox, and `layers` random layers on top.
    pub fn random(mut random: Random, layers: usize) -> Self {
        let base = base_layer();
        let top = node(&mut random, Kind::Dir);
        let tree = Tree::from([(TOP.to_owned(), top)]);
        let mut layout = Self { random, tree, layers: Vec::new(), files: 0 };
        layout.push(&base);
        for _ in 0..layers {
            let tar = layout.layer();
            layout.push(&tar);
        }
        layout
    }

    /// One more layer; gzip, plain and zstd by turns.
    pub fn push(&mut self, tar: &[u8]) {
        self.layers.push(Blob::pack(self.layers.len(), tar));
    }

    fn layer(&mut self) -> Vec<u8> {
        let mut changes = Changes { old: self.tree.clone(), entries: Vec::new() };
        for _ in 0..self.random.below(12) + 4 {
            match self.random.below(10) {
                0 | 1 => self.whiteout(&mut changes),
                2 => self.opaque(&mut changes),
                3 => self.hard_link(&mut changes),
                _ => self.add(&mut changes),
            }
        }
        changes.tar(&self.tree)
    }

    /// A new name, or another thing in the place of a file or link.
    fn add(&mut self, changes: &mut Changes) {
        let path = self.name();
        let kind = match self.random.below(6) {
            0 | 1 => Kind::Dir,
            2 => {
                Kind::Link((*self.random.pick(&["../x", "/etc/passwd", "loop/./y", "a b"])).into())
            }
            _ => {
                self.files += 1;
                let size = *self.random.pick(&[0, 1, 511, 512, 513, 40_000]);
                Kind::File(self.files, self.random.bytes(size))
            }
        };
        let was = self.tree.get(&path).map(|node| &node.kind);
        // A directory is never replaced by something else here: what happens to
        // what is in it is left open by the specification.
        if matches!(was, Some(Kind::Dir)) && kind != Kind::Dir || changes.has(&path) {
            return;
        }
        changes.touch(&path);
        let node = node(&mut self.random, kind);
        self.tree.insert(path, node);
    }

    /// A second name for a file of this layer.
    fn hard_link(&mut self, changes: &mut Changes) {
        let files: Vec<String> = changes
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Put(path, None) => Some(path.clone()),
                _ => None,
            })
            .filter(|path| matches!(self.tree.get(path).map(|n| &n.kind), Some(Kind::File(..))))
            .collect();
        let path = self.name();
        if files.is_empty() || self.tree.contains_key(&path) || changes.has(&path) {
            return;
        }
        let target = self.random.pick(&files).clone();
        changes.parents(&path);
        self.tree.insert(path.clone(), self.tree[&target].clone());
        changes.entries.push(Entry::Put(path, Some(target)));
    }

    fn whiteout(&mut self, changes: &mut Changes) {
        let Some(path) = self.old_name(changes) else { return };
        self.tree.retain(|name, _| name != &path && !is_below(name, &path));
        changes.parents(&path);
        changes.entries.push(Entry::Whiteout(path));
    }

    /// A directory that hides what older layers had in it.
    fn opaque(&mut self, changes: &mut Changes) {
        let Some(path) = self.old_name(changes) else { return };
        if self.tree[&path].kind != Kind::Dir {
            return;
        }
        self.tree.retain(|name, _| !is_below(name, &path));
        changes.touch(&path);
        changes.entries.push(Entry::Opaque(path));
    }

    /// A name of an older layer that this one has not touched, nor anything in it.
    fn old_name(&mut self, changes: &Changes) -> Option<String> {
        let free = |path: &&String| {
            path.as_str() != TOP
                && self.tree.contains_key(*path)
                && !changes.names().any(|name| name == *path || is_below(name, path))
        };
        let names: Vec<String> = changes.old.keys().filter(free).cloned().collect();
        (!names.is_empty()).then(|| self.random.pick(&names).clone())
    }

    /// A name in some directory that is there.
    fn name(&mut self) -> String {
        let dirs: Vec<String> = self
            .tree
            .iter()
            .filter(|(path, node)| node.kind == Kind::Dir && path.matches('/').count() < 6)
            .map(|(path, _)| path.clone())
            .collect();
        let dir = self.random.pick(&dirs).clone();
        let long = "long-name-".repeat(12);
        let names = ["a", "b", "c", ".hidden", "a b", "é€", "x.wh.y", "-n", &long];
        format!("{dir}/{}{}", self.random.pick(&names), self.random.below(3))
    }

    /// Where a layer's bytes are below the layout.
    pub fn blob(&self, layer: usize) -> String {
        self.layers[layer].digest.replace("sha256:", "blobs/sha256/")
    }

    /// Writes it as a layout with one image.
    pub fn write(&self, to: &Path) {
        let config =
            json!({"Env": ["PATH=/bin", "MADE=by chance"], "User": "odd", "WorkingDir": "/r"});
        write_image(to, &config, &self.layers);
    }
}

/// busybox, and files of one's own beside it, as a layout with one image.
pub fn write_busybox(to: &Path, config: &Value, files: &[(&str, Node)]) {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, node) in files {
        archive::append(&mut tar, path, node, None);
    }
    let own = tar.into_inner().unwrap();
    write_image(to, config, &[Blob::pack(0, &base_layer()), Blob::pack(1, &own)]);
}

/// Writes layers, named as they name themselves, as a layout with one image.
pub fn write_image(to: &Path, config: &Value, layers: &[Blob]) {
    let blobs = to.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |media_type: &str, digest: &str, size: u64, bytes: &[u8]| -> Value {
        std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": size})
    };
    let document = |media_type: &str, value: &Value| {
        let bytes = value.to_string().into_bytes();
        put(media_type, &digest(&bytes), bytes.len() as u64, &bytes)
    };
    let descriptors: Vec<_> =
        layers.iter().map(|l| put(l.media_type, &l.digest, l.size, &l.bytes)).collect();
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = document("application/vnd.oci.image.config.v1+json", &config);
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let body =
        json!({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": descriptors});
    let mut entry = document(manifest, &body);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(to.join("index.json"), index.to_string()).unwrap();
    std::fs::write(to.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// As OCI writes it.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
