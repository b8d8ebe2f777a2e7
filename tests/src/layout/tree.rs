//! What names a root file system has.

use std::collections::BTreeMap;

use crate::random::Random;

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

pub(super) fn node(random: &mut Random, kind: Kind) -> Node {
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

pub(super) fn is_below(name: &str, dir: &str) -> bool {
    name.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}
