//! Random stacks of layers make the tree that `umoci unpack` makes.
//!
//! `STACKS` says how many (12 unless it does), `TEST_SEED` repeats a run.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::Command;

use postern_agent::files::Root;
use postern_agent::image::{Limits, Unpacker};
use postern_agent::sys::xattr;
use postern_proto as proto;
use postern_tests::layout::{Blob, digest, write_image};
use postern_tests::random::Random;
use postern_tests::stacks::Stack;
use serde_json::json;

/// Enough to meet each kind of entry over each other, few enough for every run.
const STACKS: u64 = 12;

/// All there is to a name, in words.
type Tree = BTreeMap<String, String>;

fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut links = BTreeMap::new();
    see(root, root, &mut tree, &mut links);
    tree
}

fn see(at: &Path, root: &Path, tree: &mut Tree, links: &mut BTreeMap<u64, String>) {
    let name = at.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let meta = fs::symlink_metadata(at).unwrap();
    let time = format!("{}.{:09}", meta.mtime(), meta.mtime_nsec());
    let mut words = format!("{:o} {}:{} {time}", meta.mode(), meta.uid(), meta.gid());
    if meta.is_file() {
        let first = links.entry(meta.ino()).or_insert_with(|| name.clone());
        words += &format!(" is {first} of {}: {}", meta.nlink(), digest(&fs::read(at).unwrap()));
    }
    if meta.is_symlink() {
        words += &format!(" -> {}", fs::read_link(at).unwrap().display());
    } else if !meta.file_type().is_fifo() {
        words += &attributes(at);
    }
    tree.insert(name, words);
    if meta.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            see(&entry.unwrap().path(), root, tree, links);
        }
    }
}

fn attributes(at: &Path) -> String {
    let file = fs::File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(at).unwrap();
    let mut names = vec![0; 65_536];
    let len = xattr::list(file.as_fd(), &mut names).unwrap();
    let mut all: Vec<_> = names[..len].split(|b| *b == 0).filter(|n| !n.is_empty()).collect();
    all.sort();
    let mut words = String::new();
    for name in all {
        let mut value = [0; 256];
        let c_name = CString::new(name).unwrap();
        let len = xattr::get(file.as_fd(), &c_name, &mut value).unwrap();
        words += &format!(" {}={}", name.escape_ascii(), value[..len].escape_ascii());
    }
    words
}

fn ours(root: &Path, tars: &[Vec<u8>], random: &mut Random) {
    fs::create_dir(root).unwrap();
    let unpacker = Unpacker::new(Root::open(root).unwrap(), Limits::default());
    for (index, tar) in (0..).zip(tars) {
        let blob = Blob::pack(usize::try_from(random.below(3)).unwrap(), tar);
        let layer = proto::Layer {
            index,
            media_type: blob.media_type.to_owned(),
            digest: blob.digest,
            diff_id: blob.diff_id,
            size: blob.size,
        };
        if let Err(error) = unpacker.apply(&layer, &mut &blob.bytes[..]) {
            panic!("{:?}", proto::Error::from(error));
        }
    }
    unpacker.finish().unwrap();
}

/// Debian's umoci knows no zstd.
fn theirs(dir: &Path, tars: &[Vec<u8>]) -> Result<std::path::PathBuf, String> {
    let layers: Vec<_> = tars.iter().enumerate().map(|(n, tar)| Blob::pack(n % 2, tar)).collect();
    write_image(&dir.join("layout"), &json!({}), &layers);
    let image = format!("{}:latest", dir.join("layout").display());
    let bundle = dir.join("bundle");
    let mut umoci = Command::new("umoci");
    let done = umoci.args(["unpack", "--image", &image]).arg(&bundle).output().unwrap();
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into_owned());
    }
    Ok(bundle.join("rootfs"))
}

/// Where two trees differ.
fn differences(ours: &Tree, theirs: &Tree) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let differ = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name));
    differ
        .map(|name| {
            format!("{name:?}:\n  ours   {:?}\n  theirs {:?}", ours.get(name), theirs.get(name))
        })
        .collect()
}

#[test]
fn random_stacks_of_layers_make_the_tree_that_umoci_makes() {
    if Command::new("umoci").arg("--version").output().is_err() {
        eprintln!("SKIPPED random_stacks: no umoci; enable: apt-get install umoci");
        return;
    }
    let mut random = Random::new("random_stacks_of_layers");
    let count = std::env::var("STACKS").ok().and_then(|n| n.parse().ok()).unwrap_or(STACKS);
    let mut names = 0;
    for number in 0..count {
        let seed = random.number();
        let layers = usize::try_from(random.below(5)).unwrap() + 1;
        let tars = Stack::new(Random::seeded(seed)).layers(layers);
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        ours(&dir.path().join("ours"), &tars, &mut random);
        let theirs = theirs(dir.path(), &tars).unwrap_or_else(|e| panic!("stack {number}: {e}"));
        let (ours, theirs) = (tree(&dir.path().join("ours")), tree(&theirs));
        names += ours.len();
        let differ = differences(&ours, &theirs);
        if !differ.is_empty() {
            let kept = dir.keep();
            panic!("stack {number}, kept in {}:\n{}", kept.display(), differ.join("\n"));
        }
    }
    println!("{count} stacks alike, of {names} names");
    assert!(names as u64 > 5 * count, "the stacks are too small to tell anything");
}
