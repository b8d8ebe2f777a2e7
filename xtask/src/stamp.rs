//! Stamps: a file beside a product that holds the hash of what it was made from.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::workspace::{make_folder, write_atomically};

/// The hash of everything that a product depends on, fed piece by piece.
#[derive(Default)]
pub(crate) struct Recipe(Sha256);

impl Recipe {
    /// One named input. Lengths go in too, or two inputs could trade bytes.
    pub(crate) fn input(&mut self, name: &str, content: &[u8]) {
        for part in [name.as_bytes(), content] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    /// Every file below a folder, by its name within it, in sorted order.
    pub(crate) fn folder(&mut self, folder: &Path) -> Result<(), Error> {
        for file in files_below(folder)? {
            let content = fs::read(&file).map_err(Error::io("reading", &file))?;
            let name = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy().into_owned();
            self.input(&name, &content);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Whether the product was made from exactly this recipe.
pub(crate) fn is_fresh(stamp: &Path, recipe: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|old| old.trim() == recipe)
}

/// Written last, so that a product whose making was cut short is made again.
pub(crate) fn write(stamp: &Path, recipe: &str) -> Result<(), Error> {
    if let Some(folder) = stamp.parent() {
        make_folder(folder)?;
    }
    write_atomically(stamp, format!("{recipe}\n").as_bytes())
}

pub(crate) fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// All regular files below a folder, sorted by path.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io("listing", &folder))? {
            let path = entry.map_err(Error::io("listing", &folder))?.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_do_not_run_together() {
        let mut one = Recipe::default();
        one.input("a", b"bc");
        let mut other = Recipe::default();
        other.input("ab", b"c");
        assert_ne!(one.finish(), other.finish());
    }

    #[test]
    fn stamp_is_fresh_only_for_its_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = folder.path().join("stamps/x");
        assert!(!is_fresh(&stamp, "one"));
        write(&stamp, "one").unwrap();
        assert!(is_fresh(&stamp, "one"));
        assert!(!is_fresh(&stamp, "two"));
    }
}
