//! Random OCI layouts, and what must be there once they are unpacked.
//!
//! The first layer brings a static busybox; those after it add, overwrite, link
//! and white out below `/r`. [`Tree`] is the model: each layer is applied to it
//! as the OCI image specification says.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::artifacts;
use crate::random::Random;

/// Everything under test is below this.
pub const TOP: &str = "r";

/// The programs that a scenario may use.
const APPLETS: [&str; 12] = [
    "sh",
    "find",
    "stat",
    "xargs",
    "sha256sum",
    "readlink",
    "cat",
    "sort",
    "id",
    "pwd",
    "echo",
    "env",
];

/// What a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A file; equal numbers are hard links of one.
    File(u64, Vec<u8>),
    /// A link to this.
    Link(String),
}

/// A name and its owner, mode and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds.
    pub mtime: u64,
}

/// Path (without a leading `/`) to node.
pub type Tree = BTreeMap<String, Node>;

/// Builds the layers of one image and the tree that they make.
#[derive(Debug)]
pub struct Layout {
    random: Random,
    /// What must be there.
    pub tree: Tree,
    layers: Vec<Blob>,
    files: u64,
}

#[derive(Debug)]
struct Blob {
    media_type: &'static str,
    bytes: Vec<u8>,
    diff_id: String,
}

impl Layout {
    /// busybox, and `layers` random layers on top.
    pub fn random(mut random: Random, layers: usize) -> Self {
        let base = base_layer();
        let top = node(&mut random, Kind::Dir);
        let tree = Tree::from([(TOP.to_owned(), top)]);
        let mut layout = Self { random, tree, layers: Vec::new(), files: 0 };
        layout.push(base);
        for _ in 0..layers {
            let tar = layout.layer();
            layout.push(tar);
        }
        layout
    }

    /// Every second layer plain, the others gzip.
    fn push(&mut self, tar: Vec<u8>) {
        let diff_id = digest(&tar);
        let blob = if self.layers.len().is_multiple_of(2) {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&tar).unwrap();
            let bytes = gzip.finish().unwrap();
            Blob { media_type: "application/vnd.oci.image.layer.v1.tar+gzip", bytes, diff_id }
        } else {
            Blob { media_type: "application/vnd.oci.image.layer.v1.tar", bytes: tar, diff_id }
        };
        self.layers.push(blob);
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
        digest(&self.layers[layer].bytes).replace("sha256:", "blobs/sha256/")
    }

    /// Writes it as a layout with one image.
    pub fn write(&self, to: &Path) {
        let blobs = to.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let put = |media_type: &str, bytes: &[u8]| -> Value {
            let digest = digest(bytes);
            std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes).unwrap();
            json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
        };
        let layers: Vec<_> = self.layers.iter().map(|l| put(l.media_type, &l.bytes)).collect();
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| &layer.diff_id).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": {"Env": ["PATH=/bin", "MADE=by chance"], "User": "odd", "WorkingDir": "/r"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = put("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let body =
            json!({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": layers});
        let mut entry = put(manifest, body.to_string().as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        std::fs::write(to.join("index.json"), index.to_string()).unwrap();
        std::fs::write(to.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

/// What one layer says, in order.
struct Changes {
    old: Tree,
    entries: Vec<Entry>,
}

enum Entry {
    /// The node of this path; a hard link to another path of this layer.
    Put(String, Option<String>),
    Whiteout(String),
    Opaque(String),
}

impl Entry {
    fn path(&self) -> &String {
        let (Self::Put(path, _) | Self::Whiteout(path) | Self::Opaque(path)) = self;
        path
    }
}

impl Changes {
    fn names(&self) -> impl Iterator<Item = &String> {
        self.entries.iter().map(Entry::path)
    }

    fn has(&self, path: &str) -> bool {
        self.names().any(|name| name == path)
    }

    /// As real layers do, one that changes a directory's contents tells of the
    /// directory too.
    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.touch_one(&path[..at]);
        }
    }

    fn touch(&mut self, path: &str) {
        self.parents(path);
        self.touch_one(path);
    }

    fn touch_one(&mut self, path: &str) {
        if !self.has(path) {
            self.entries.push(Entry::Put(path.to_owned(), None));
        }
    }

    fn tar(&self, tree: &Tree) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for entry in &self.entries {
            match entry {
                Entry::Put(path, link) => append(&mut tar, path, &tree[path], link.as_deref()),
                Entry::Whiteout(path) => {
                    let (dir, name) = path.rsplit_once('/').unwrap();
                    marker(&mut tar, &format!("{dir}/.wh.{name}"));
                }
                Entry::Opaque(path) => marker(&mut tar, &format!("{path}/.wh..wh..opq")),
            }
        }
        tar.into_inner().unwrap()
    }
}

fn is_below(name: &str, dir: &str) -> bool {
    name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn node(random: &mut Random, kind: Kind) -> Node {
    let mode = match kind {
        Kind::Dir => *random.pick(&[0o755, 0o700, 0o1777, 0o2755, 0o555]),
        Kind::File(..) => *random.pick(&[0o644, 0o4755, 0o2711, 0o000, 0o600]),
        Kind::Link(_) => 0o777,
    };
    let ids = [0, 1, 1000, 65_534, 2_000_000];
    let (uid, gid) = (*random.pick(&ids), *random.pick(&ids));
    let mtime = *random.pick(&[0, 1, 946_684_800, 1_700_000_000, 4_000_000_000]);
    Node { kind, mode, uid, gid, mtime }
}

fn append(tar: &mut Builder<Vec<u8>>, path: &str, node: &Node, link: Option<&str>) {
    let mut header = Header::new_gnu();
    header.set_mode(node.mode);
    header.set_uid(node.uid);
    header.set_gid(node.gid);
    header.set_mtime(node.mtime);
    header.set_size(0);
    match (&node.kind, link) {
        (_, Some(target)) => {
            header.set_entry_type(EntryType::Link);
            tar.append_link(&mut header, path, target).unwrap();
        }
        (Kind::Dir, None) => {
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, format!("{path}/"), &b""[..]).unwrap();
        }
        (Kind::File(_, data), None) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(data.len() as u64);
            tar.append_data(&mut header, path, &data[..]).unwrap();
        }
        (Kind::Link(target), None) => {
            header.set_entry_type(EntryType::Symlink);
            // Literally: the crate would tidy the target up.
            header.set_link_name_literal(target).unwrap();
            tar.append_data(&mut header, path, &b""[..]).unwrap();
        }
    }
}

fn marker(tar: &mut Builder<Vec<u8>>, path: &str) {
    let kind = Kind::File(0, Vec::new());
    append(tar, path, &Node { kind, mode: 0o600, uid: 0, gid: 0, mtime: 0 }, None);
}

/// `/bin` with busybox and its names, and users.
fn base_layer() -> Vec<u8> {
    let file =
        |data: Vec<u8>, mode| Node { kind: Kind::File(0, data), mode, uid: 0, gid: 0, mtime: 7 };
    let dir = Node { kind: Kind::Dir, mode: 0o755, uid: 0, gid: 0, mtime: 7 };
    let mut tar = Builder::new(Vec::new());
    append(&mut tar, "bin", &dir, None);
    append(&mut tar, "bin/busybox", &file(busybox(), 0o755), None);
    for name in APPLETS {
        let kind = Kind::Link("busybox".to_owned());
        append(&mut tar, &format!("bin/{name}"), &Node { kind, ..dir.clone() }, None);
    }
    append(&mut tar, "etc", &dir, None);
    let passwd = b"root:x:0:0::/:/bin/sh\nodd:x:4242:4343::/r:/bin/sh\n".to_vec();
    append(&mut tar, "etc/passwd", &file(passwd, 0o644), None);
    tar.into_inner().unwrap()
}

/// The program out of the sample image.
fn busybox() -> Vec<u8> {
    let layout = artifacts::dist("images/busybox");
    let read = |path: &str| std::fs::read(layout.join(path)).unwrap();
    let blob =
        |v: &Value| read(&format!("blobs/{}", v["digest"].as_str().unwrap().replace(':', "/")));
    let index: Value = serde_json::from_slice(&read("index.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let bytes = blob(layer);
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let is_it = entry.path().unwrap().ends_with("busybox") && entry.size() > 0;
            if is_it && entry.header().entry_type() == EntryType::Regular {
                let mut program = Vec::new();
                entry.read_to_end(&mut program).unwrap();
                return program;
            }
        }
    }
    panic!("no busybox in the sample image");
}

/// As OCI writes it.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
