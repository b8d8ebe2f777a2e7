//! Random stacks of layers with all that a tar can say, for programs that unpack
//! images to be compared with one another.
//!
//! Valid ones only: a layer hides what the layers below have before it brings its
//! own, and nothing lies below what is no directory.

use std::collections::BTreeMap;

use crate::random::Random;
use crate::tarball::{Head, Tar};

/// The kinds of thing that a name can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dir,
    File,
    Symlink,
    Fifo,
}

/// Makes the layers of one image.
#[derive(Debug)]
pub struct Stack {
    random: Random,
    /// What is there after the layers so far.
    there: BTreeMap<String, Kind>,
    /// What the present layer has made.
    new: BTreeMap<String, Kind>,
}

const NAMES: [&str; 9] = ["a", "b", "c", "Etc", "etc", "a b", "\u{e9}\u{20ac}", ".x", "wh.y"];
const IDS: [u64; 6] = [0, 1, 1000, 65_534, 2_097_152, 4_294_967_293];
const TIMES: [(i64, u32); 7] = [
    (0, 0),
    (1, 1),
    (946_684_800, 999_999_999),
    (1_700_000_000, 123_456_789),
    (4_294_967_296, 0),
    (8_589_934_592, 5),
    (-1, 500_000_000),
];

impl Stack {
    /// From a seed.
    pub fn new(random: Random) -> Self {
        let there = BTreeMap::from([(String::new(), Kind::Dir)]);
        Self { random, there, new: BTreeMap::new() }
    }

    /// The tars of so many layers.
    pub fn layers(mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|index| self.layer(index == 0)).collect()
    }

    fn layer(&mut self, first: bool) -> Vec<u8> {
        self.new.clear();
        let mut tar = Tar::default();
        if first || self.chance(4) {
            tar = self.entry(tar, "./", Kind::Dir);
        }
        if !first {
            for _ in 0..self.random.below(4) {
                tar = self.hide(tar);
            }
        }
        for _ in 0..self.random.below(20) + 2 {
            tar = match self.random.below(8) {
                0 => self.hard_link(tar),
                _ => self.add(tar),
            };
        }
        tar.end()
    }

    fn chance(&mut self, of: u64) -> bool {
        self.random.below(of) == 0
    }

    fn dirs(&self) -> Vec<String> {
        let dirs = self
            .there
            .iter()
            .filter(|(path, kind)| **kind == Kind::Dir && path.matches('/').count() < 8);
        dirs.map(|(path, _)| path.clone()).collect()
    }

    /// A name in a directory that is there, long at times.
    fn name(&mut self) -> String {
        let dirs = self.dirs();
        let dir = self.random.pick(&dirs).clone();
        let mut name = format!("{}{}", self.random.pick(&NAMES), self.random.below(3));
        if self.chance(12) {
            name = name + "-" + &"long-".repeat(30);
        }
        if dir.is_empty() { name } else { format!("{dir}/{name}") }
    }

    fn forget(&mut self, path: &str) {
        let below = format!("{path}/");
        self.there.retain(|p, _| p != path && !p.starts_with(&below));
    }

    /// What hides comes before what is new, so nothing of this layer is in the way.
    fn hide(&mut self, tar: Tar) -> Tar {
        let all: Vec<String> = self.there.keys().filter(|p| !p.is_empty()).cloned().collect();
        if all.is_empty() {
            return tar;
        }
        let path = self.random.pick(&all).clone();
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let slash = if dir.is_empty() { "" } else { "/" };
        if self.there[&path] == Kind::Dir && self.chance(2) {
            let below = format!("{path}/");
            self.there.retain(|p, _| !p.starts_with(&below));
            return named(tar, &format!("{path}/.wh..wh..opq")).file("mark", b"");
        }
        let mark = format!("{dir}{slash}.wh.{name}");
        self.forget(&path);
        named(tar, &mark).file("mark", b"")
    }

    fn add(&mut self, tar: Tar) -> Tar {
        let path = self.name();
        let kind = *self.random.pick(&[
            Kind::Dir,
            Kind::Dir,
            Kind::File,
            Kind::File,
            Kind::File,
            Kind::Symlink,
            Kind::Fifo,
        ]);
        // A name is given once in a layer, as real layers do.
        if self.new.contains_key(&path) {
            return tar;
        }
        if kind != Kind::Dir || self.there.get(&path) != Some(&Kind::Dir) {
            // Nothing of this layer may lie in what is replaced.
            let below = format!("{path}/");
            if self.new.keys().any(|p| p.starts_with(&below)) {
                return tar;
            }
            self.forget(&path);
        }
        self.there.insert(path.clone(), kind);
        self.new.insert(path.clone(), kind);
        self.entry(tar, &path, kind)
    }

    /// A second name for a file of this layer or of one below.
    fn hard_link(&mut self, tar: Tar) -> Tar {
        let files: Vec<String> =
            self.there.iter().filter(|(_, k)| **k == Kind::File).map(|(p, _)| p.clone()).collect();
        let path = self.name();
        if files.is_empty() || self.there.contains_key(&path) || self.new.contains_key(&path) {
            return tar;
        }
        let target = self.random.pick(&files).clone();
        self.there.insert(path.clone(), Kind::File);
        self.new.insert(path.clone(), Kind::File);
        let tar = if self.chance(2) {
            tar.pax(&[("path", path.as_bytes()), ("linkpath", target.as_bytes())])
        } else {
            named(tar, &path).extension(b'K', format!("{target}\0").as_bytes())
        };
        tar.hard_link("link", "target")
    }

    fn entry(&mut self, tar: Tar, path: &str, kind: Kind) -> Tar {
        let (uid, gid) = (*self.random.pick(&IDS), *self.random.pick(&IDS));
        let (seconds, nanos) = *self.random.pick(&TIMES);
        let contents = match kind {
            Kind::File => {
                let size = *self.random.pick(&[0, 1, 511, 512, 513, 70_000]);
                self.random.bytes(size)
            }
            _ => Vec::new(),
        };
        let mut head = Head {
            kind: match kind {
                Kind::Dir => b'5',
                Kind::File => b'0',
                Kind::Symlink => b'2',
                Kind::Fifo => b'6',
            },
            path: b"name",
            link: if kind == Kind::Symlink { b"../x/./y" } else { b"" },
            mode: *self.random.pick(&[0o644, 0o755, 0o4755, 0o2711, 0o1777, 0o600, 0o000]),
            mtime: seconds,
            size: i64::try_from(contents.len()).unwrap(),
            uid,
            gid,
            device: (0, 0),
        };
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add = |key: &str, value: &str| records.push((key.to_owned(), value.into()));
        let long = path.len() > 90 || self.chance(3);
        if long {
            add("path", path);
        } else {
            head.path = path.as_bytes();
        }
        if nanos > 0 {
            add("mtime", &decimal(seconds, nanos));
        }
        if self.chance(3) {
            add("uid", &uid.to_string());
            add("gid", &gid.to_string());
            (head.uid, head.gid) = (7, 7);
        }
        if self.chance(4) && kind != Kind::Fifo {
            let value = format!("v{}", self.random.below(100));
            add(&format!("SCHILY.xattr.trusted.t{}", self.random.below(3)), &value);
        }
        if self.chance(6) && kind == Kind::File {
            let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            records.push(("SCHILY.xattr.security.capability".to_owned(), capability.to_vec()));
        }
        if self.chance(8) && kind == Kind::File {
            // The same contents behind a hole.
            let (start, len) = (4096 * self.random.below(5), contents.len() as u64);
            let map = format!("{start},{len}");
            records.push(("GNU.sparse.major".to_owned(), b"0".to_vec()));
            records.push(("GNU.sparse.minor".to_owned(), b"1".to_vec()));
            records.push(("GNU.sparse.numblocks".to_owned(), b"1".to_vec()));
            records.push(("GNU.sparse.map".to_owned(), map.into_bytes()));
            let size = start + len + self.random.below(9000);
            records.push(("GNU.sparse.size".to_owned(), size.to_string().into_bytes()));
        }
        let records: Vec<(&str, &[u8])> =
            records.iter().map(|(key, value)| (key.as_str(), &value[..])).collect();
        let tar = if records.is_empty() { tar } else { tar.pax(&records) };
        tar.head(&head).data(&contents)
    }
}

/// The name of the next entry, however long.
fn named(tar: Tar, path: &str) -> Tar {
    tar.extension(b'L', format!("{path}\0").as_bytes())
}

/// As PAX writes times: a negative one counts its fraction backwards.
fn decimal(seconds: i64, nanos: u32) -> String {
    if seconds >= 0 {
        return format!("{seconds}.{nanos:09}");
    }
    format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos)
}
