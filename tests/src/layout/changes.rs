//! What one layer says.

use tar::Builder;

use super::archive::{append, marker};
use super::tree::Tree;

/// What one layer says, in order.
pub(super) struct Changes {
    pub(super) old: Tree,
    pub(super) entries: Vec<Entry>,
}

pub(super) enum Entry {
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
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.entries.iter().map(Entry::path)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.names().any(|name| name == path)
    }

    /// As real layers do, one that changes a directory's contents tells of the
    /// directory too.
    pub(super) fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            self.touch_one(&path[..at]);
        }
    }

    pub(super) fn touch(&mut self, path: &str) {
        self.parents(path);
        self.touch_one(path);
    }

    fn touch_one(&mut self, path: &str) {
        if !self.has(path) {
            self.entries.push(Entry::Put(path.to_owned(), None));
        }
    }

    pub(super) fn tar(&self, tree: &Tree) -> Vec<u8> {
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
