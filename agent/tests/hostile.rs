//! Every hostile image against the real unpacker: the error or the tree that is
//! due, nothing touched outside the root, nothing published.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use postern_agent::files::Root;
use postern_agent::image::{Limits, UnpackError, Unpacked, Unpacker};
use postern_proto as proto;
use postern_tests::hostile::{Case, Expect, cases};
use postern_tests::layout::Blob;
use tempfile::TempDir;

/// As many as the corpus is promised to have.
const AT_LEAST: usize = 40;

/// A root, and what lies around it.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::create_dir_all(dir.path().join("outside/dir")).unwrap();
        fs::write(dir.path().join("outside/secret"), "untouched").unwrap();
        fs::write(dir.path().join("secret"), "untouched").unwrap();
        Self { dir }
    }

    /// As before any layer.
    fn empty_root(&self) {
        let _ = fs::remove_dir_all(self.root());
        fs::create_dir(self.root()).unwrap();
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("root")
    }

    /// All that is around the root, to the nanosecond.
    fn around(&self) -> Vec<String> {
        let mut lines = Vec::new();
        walk(self.dir.path(), &mut |path, meta| {
            if path.starts_with(self.root()) {
                return;
            }
            let text = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
            lines.push(format!(
                "{path:?} {:o} {}:{} {}.{} {}.{} {} {text:?}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ctime(),
                meta.ctime_nsec(),
                meta.nlink(),
            ));
        });
        lines
    }
}

fn walk(at: &Path, see: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let mut names: Vec<_> = fs::read_dir(at).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for path in names {
        let meta = fs::symlink_metadata(&path).unwrap();
        see(&path, &meta);
        if meta.is_dir() {
            walk(&path, see);
        }
    }
}

/// A line an entry: kind, mode and owner unless they are the usual ones, name,
/// and what is in it: text that is short, else its length.
fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk(root, &mut |path, meta| {
        let (kind, usual) = match meta.file_type() {
            t if t.is_dir() => ("d", 0o755),
            t if t.is_symlink() => ("l", 0o777),
            t if t.is_fifo() => ("p", 0o644),
            t if t.is_file() => ("f", 0o644),
            _ => ("?", 0),
        };
        let mut line = kind.to_owned();
        if meta.mode() & 0o7777 != usual {
            line += &format!(" {:o}", meta.mode() & 0o7777);
        }
        if (meta.uid(), meta.gid()) != (0, 0) {
            line += &format!(" {}:{}", meta.uid(), meta.gid());
        }
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
        line += &format!(" {}", name.escape_ascii());
        match meta.len() {
            _ if kind == "l" => line += &format!(" -> {}", fs::read_link(path).unwrap().display()),
            1..40 if kind == "f" => line += &format!("={}", fs::read_to_string(path).unwrap()),
            40.. if kind == "f" => line += &format!(":{}", meta.len()),
            _ => {}
        }
        lines.push(line);
    });
    lines
}

fn layer(index: usize, blob: &Blob) -> proto::Layer {
    proto::Layer {
        index: u32::try_from(index).unwrap(),
        media_type: blob.media_type.to_owned(),
        digest: blob.digest.clone(),
        diff_id: blob.diff_id.clone(),
        size: blob.size,
    }
}

fn unpack(
    root: &Path,
    limits: Limits,
    layers: &[Blob],
) -> (Result<(), UnpackError>, Result<Unpacked, UnpackError>) {
    let unpacker = Unpacker::new(Root::open(root).unwrap(), limits);
    let apply = |(index, blob): (usize, &Blob)| {
        unpacker.apply(&layer(index, blob), &mut &blob.bytes[..]).map(drop)
    };
    let done = layers.iter().enumerate().try_for_each(apply);
    (done, unpacker.finish())
}

/// What is wrong with what came of a case; `None`: nothing.
fn fault(case: &Case, place: &Place) -> Option<String> {
    let mut limits = Limits::default();
    if let Some(small) = case.limits {
        (limits.entries, limits.bytes) = (small.entries, small.bytes);
    }
    let before = place.around();
    let (done, finished) = unpack(&place.root(), limits, &case.layers);
    let after = place.around();
    if before != after {
        return Some(format!("outside was {before:#?} and is {after:#?}"));
    }
    match (&case.expect, done, finished) {
        (Expect::Refused(code, says), Err(error), Err(_)) => {
            let error = proto::Error::from(error);
            let right = error.code == *code && error.message.contains(says);
            (!right).then(|| format!("due: {code:?} and {says:?}; came: {error:?}"))
        }
        (Expect::Tree(lines), Ok(()), Ok(_)) => {
            let there = listing(&place.root());
            (there != *lines).then(|| format!("due: {lines:#?}; came: {there:#?}"))
        }
        (expect, done, finished) => Some(format!("due: {expect:?}; came: {done:?}, {finished:?}")),
    }
}

#[test]
fn hostile_images_end_in_their_error_or_in_a_harmless_tree() {
    let place = Place::new();
    let outside = place.dir.path().join("outside");
    let cases = cases(outside.to_str().unwrap());
    let unique: std::collections::BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert!(cases.len() == unique.len() && cases.len() >= AT_LEAST, "{} cases", cases.len());
    let mut faults = Vec::new();
    for case in &cases {
        place.empty_root();
        if let Some(fault) = fault(case, &place) {
            faults.push(format!("{}: {fault}", case.name));
        }
    }
    println!("{} hostile images", cases.len());
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}
