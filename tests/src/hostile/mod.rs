//! Images that nobody should make, each by name with what is to come of it: the
//! error that it gets, or the tree that is harmless.
//!
//! Every case is told the path of something outside the root that it may try to
//! reach.

mod headers;
mod kinds;
mod links;
mod names;
mod streams;

use postern_proto::Code;

use crate::layout::{Blob, PLAIN};
use crate::tarball::Tar;

/// One hostile image.
#[derive(Debug)]
pub struct Case {
    /// What tests call it.
    pub name: &'static str,
    /// From the lowest.
    pub layers: Vec<Blob>,
    /// What is to come of it.
    pub expect: Expect,
    /// Limits below the agent's own, where those would take too long to reach.
    pub limits: Option<Small>,
}

/// Limits for a test.
#[derive(Debug, Clone, Copy)]
pub struct Small {
    /// Entries of all layers.
    pub entries: u64,
    /// Decompressed bytes of all layers.
    pub bytes: u64,
}

/// What is to come of an image.
#[derive(Debug)]
pub enum Expect {
    /// An error with this code whose message has these words.
    Refused(Code, &'static str),
    /// A tree, a line an entry: see `agent/tests/hostile.rs::listing`.
    Tree(Vec<String>),
}

fn plain(tar: Tar) -> Blob {
    let tar = tar.end();
    Blob::of(PLAIN, tar.clone(), &tar)
}

/// All of them. `outside`: an absolute path, in its directory a file `secret`.
pub fn cases(outside: &str) -> Vec<Case> {
    let all = [
        names::cases(outside),
        links::cases(outside),
        kinds::cases(),
        headers::cases(),
        streams::cases(),
    ];
    all.into_iter().flatten().collect()
}

/// Plain layers that are refused as invalid.
fn refused<const N: usize>(name: &'static str, says: &'static str, layers: [Tar; N]) -> Case {
    let layers = layers.into_iter().map(plain).collect();
    Case { name, layers, expect: Expect::Refused(Code::InvalidArgument, says), limits: None }
}

/// Plain layers that are harmless.
fn tree<const N: usize>(name: &'static str, lines: &[&str], layers: [Tar; N]) -> Case {
    let layers = layers.into_iter().map(plain).collect();
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    Case { name, layers, expect: Expect::Tree(lines), limits: None }
}

impl Case {
    fn with_code(mut self, code: Code) -> Self {
        if let Expect::Refused(was, _) = &mut self.expect {
            *was = code;
        }
        self
    }

    fn with_limits(mut self, entries: u64, bytes: u64) -> Self {
        self.limits = Some(Small { entries, bytes });
        self
    }
}
