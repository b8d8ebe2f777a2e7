//! An image with nothing but the programs: one plain layer, and a user, so that
//! commands change theirs as real ones do.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::programs::Programs;

/// Who runs commands, and owns what is uploaded.
const UID: u64 = 1000;

pub(crate) fn write(layout: &Path, programs: &Programs) -> io::Result<()> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let layer = layer(programs)?;
    let layer = blob(&blobs, "application/vnd.oci.image.layer.v1.tar", &layer)?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"User": "user", "WorkingDir": "/home/user", "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = document(&blobs, "application/vnd.oci.image.config.v1+json", &config)?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": [layer],
    });
    let manifest = document(&blobs, "application/vnd.oci.image.manifest.v1+json", &manifest)?;
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())
}

fn document(blobs: &Path, media_type: &str, value: &Value) -> io::Result<Value> {
    blob(blobs, media_type, value.to_string().as_bytes())
}

/// Writes it and answers its descriptor.
fn blob(blobs: &Path, media_type: &str, content: &[u8]) -> io::Result<Value> {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(blobs.join(&hex), content)?;
    Ok(json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": content.len()}))
}

fn layer(programs: &Programs) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (dir, mode, owner) in [
        ("bin/", 0o755, 0),
        ("etc/", 0o755, 0),
        ("tmp/", 0o1777, 0),
        ("home/", 0o755, 0),
        ("home/user/", 0o755, UID),
    ] {
        add(&mut tar, dir, EntryType::Directory, mode, owner, &[])?;
    }
    let passwd = format!("root:x:0:0::/:/bin/nop\nuser:x:{UID}:{UID}::/home/user:/bin/nop\n");
    let group = format!("root:x:0:\nuser:x:{UID}:\n");
    add(&mut tar, "etc/passwd", EntryType::Regular, 0o644, 0, passwd.as_bytes())?;
    add(&mut tar, "etc/group", EntryType::Regular, 0o644, 0, group.as_bytes())?;
    for name in Programs::names() {
        let content = fs::read(programs.path(name))?;
        add(&mut tar, &format!("bin/{name}"), EntryType::Regular, 0o755, 0, &content)?;
    }
    tar.into_inner()
}

fn add(
    tar: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    owner: u64,
    content: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content)
}
