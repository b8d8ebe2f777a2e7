//! A writer of `newc` archives, the format that the kernel unpacks at boot.
//!
//! Ours because the bytes must depend on the content alone: time 0, owner 0,
//! inodes counted from 1, names sorted. `cpio` takes inodes and times from the
//! disk, and a device node in the archive would need root to make.

use std::collections::BTreeMap;

use crate::error::Error;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;

/// What lies at one path of the archive.
#[derive(Debug)]
pub(crate) enum Entry {
    Directory { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    CharacterDevice { mode: u32, major: u32, minor: u32 },
}

/// An archive under way; paths are absolute or relative, it does not matter.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds an entry, and nothing that was not asked for: the folder that it
    /// lies in is one of the entries too, or there is no archive.
    pub(crate) fn add(&mut self, path: &str, entry: Entry) -> Result<(), Error> {
        let path = path.trim_matches('/');
        if self.entries.insert(path.to_owned(), entry).is_some() {
            return Err(wrong(path, "twice in one archive"));
        }
        Ok(())
    }

    /// Every path, without the leading slash.
    #[cfg(test)]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The archive's bytes. Sorted names put every folder before its content.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let mut inode = 0;
        for (name, entry) in &self.entries {
            inode += 1;
            if let Some((folder, _)) = name.rsplit_once('/')
                && !matches!(self.entries.get(folder), Some(Entry::Directory { .. }))
            {
                return Err(wrong(name, "in a folder that is no entry"));
            }
            write_entry(&mut out, inode, name, entry)?;
        }
        write_entry(&mut out, 0, "TRAILER!!!", &Entry::Directory { mode: 0 })?;
        Ok(out)
    }
}

fn write_entry(out: &mut Vec<u8>, inode: u32, name: &str, entry: &Entry) -> Result<(), Error> {
    const NOTHING: &[u8] = &[];
    let trailer = inode == 0;
    let (mode, links, content, major, minor) = match entry {
        Entry::Directory { .. } if trailer => (0, 1, NOTHING, 0, 0),
        Entry::Directory { mode } => (DIRECTORY | mode, 2, NOTHING, 0, 0),
        Entry::File { mode, content } => (REGULAR | mode, 1, content.as_slice(), 0, 0),
        Entry::CharacterDevice { mode, major, minor } => {
            (CHARACTER | mode, 1, NOTHING, *major, *minor)
        }
    };
    let too_long = |_| wrong(name, "over 4 GiB in a cpio archive");
    let size = u32::try_from(content.len()).map_err(too_long)?;
    let name_size = u32::try_from(name.len() + 1).map_err(too_long)?;
    out.extend_from_slice(b"070701");
    // inode, mode, uid, gid, links, mtime, size, device of the file system
    // (2), device of the node (2), name size, checksum (unused in newc).
    for field in [inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0] {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(content);
    pad(out);
    Ok(())
}

fn wrong(path: &str, problem: &'static str) -> Error {
    Error::Format { what: format!("/{path}"), problem: problem.to_owned() }
}

/// Header and content each start at a multiple of four.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn sample() -> Archive {
        let mut archive = Archive::default();
        let console = Entry::CharacterDevice { mode: 0o600, major: 5, minor: 1 };
        let init = Entry::File { mode: 0o755, content: b"hello".to_vec() };
        archive.add("/init", init).unwrap();
        archive.add("dev/console", console).unwrap();
        archive.add("/dev", Entry::Directory { mode: 0o755 }).unwrap();
        archive.add("/tmp/", Entry::Directory { mode: 0o1777 }).unwrap();
        archive
    }

    #[test]
    fn same_content_gives_same_bytes() {
        assert_eq!(sample().bytes().unwrap(), sample().bytes().unwrap());
    }

    #[test]
    fn an_entry_that_nobody_asked_for_is_not_made_up() {
        let mut archive = sample();
        let again = archive.add("/tmp", Entry::Directory { mode: 0o700 }).unwrap_err();
        assert!(again.to_string().contains("/tmp: twice"), "{again}");
        archive.add("/etc/motd", Entry::File { mode: 0o644, content: Vec::new() }).unwrap();
        let orphan = archive.bytes().unwrap_err();
        assert!(orphan.to_string().contains("/etc/motd: in a folder"), "{orphan}");
    }

    #[test]
    fn headers_are_aligned_and_names_sorted() {
        let bytes = sample().bytes().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let order: Vec<usize> = ["dev\0", "dev/console\0", "init\0", "tmp\0", "TRAILER!!!\0"]
            .iter()
            .map(|n| text.find(n).unwrap())
            .collect();
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn other_programs_read_it() {
        if !crate::run::has_program("cpio") {
            println!("SKIPPED other_programs_read_it: no cpio; enable: apt-get install cpio");
            return;
        }
        let mut child = Command::new("cpio")
            .args(["-t", "-v", "-n", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&sample().bytes().unwrap()).unwrap();
        let listing = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert!(
            listing.contains("crw-------   1 0        0          5,   1 Jan  1  1970 dev/console"),
            "{listing}"
        );
        assert!(listing.contains("drwxrwxrwt"), "{listing}");
    }
}
