//! Layers as tar archives, and the one that brings programs.

use std::io::Read;

use serde_json::Value;
use tar::{Builder, EntryType, Header};

use super::tree::{Kind, Node};
use crate::artifacts;

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

pub(super) fn append(tar: &mut Builder<Vec<u8>>, path: &str, node: &Node, link: Option<&str>) {
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

pub(super) fn marker(tar: &mut Builder<Vec<u8>>, path: &str) {
    let kind = Kind::File(0, Vec::new());
    append(tar, path, &Node { kind, mode: 0o600, uid: 0, gid: 0, mtime: 0 }, None);
}

/// `/bin` with busybox and its names, and users.
pub(super) fn base_layer() -> Vec<u8> {
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
pub(super) fn busybox() -> Vec<u8> {
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
