//! Where things lie in a tar, without reading them: an archive of gigabytes
//! costs one look at each header.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use tar::{EntryType, Header, PaxExtensions};

use super::super::ImageError;

const BLOCK: u64 = 512;

/// Of each image an archive has some files per layer; thousands of images in
/// one archive are still far below.
const MAX_ENTRIES: usize = 100_000;

/// Names and PAX records; paths inside an archive of an image are short.
const MAX_EXTENSION: u64 = 64 << 10;

/// Old dockers put a link where two images have the same layer.
const MAX_LINKS: usize = 4;

/// A tar on this host.
#[derive(Debug)]
pub(super) struct Tar {
    pub(super) path: PathBuf,
    file: File,
    entries: HashMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    File(Place),
    /// To another entry, by its whole name.
    Link(String),
}

/// The bytes of a file in a tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// What a header before an entry says about it.
#[derive(Default)]
struct Extension {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Tar {
    /// Opens a tar and reads its headers. Blocking.
    pub(super) fn open(path: &Path) -> Result<Self, ImageError> {
        // A FIFO or a device would never end.
        let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
        let file = file.map_err(ImageError::io("opening", path))?;
        let meta = file.metadata().map_err(ImageError::io("opening", path))?;
        if !meta.is_file() {
            return Err(ImageError::malformed(path, "is no regular file"));
        }
        let mut tar = Self { path: path.to_owned(), file, entries: HashMap::new() };
        tar.read_headers(meta.len())?;
        Ok(tar)
    }

    /// The file of a name, through links.
    pub(super) fn find(&self, name: &str) -> Option<Place> {
        let mut name = name.to_owned();
        for _ in 0..=MAX_LINKS {
            match self.entries.get(&name)? {
                Entry::File(place) => return Some(*place),
                Entry::Link(to) => name.clone_from(to),
            }
        }
        None
    }

    /// A small file, whole.
    pub(super) fn document(&self, name: &str, cap: u64) -> Result<Vec<u8>, ImageError> {
        let Some(place) = self.find(name) else {
            return Err(self.malformed(format!("has no {name:?}")));
        };
        if place.size > cap {
            return Err(self.malformed(format!("has {} bytes of {name:?}", place.size)));
        }
        let mut bytes = vec![0; usize::try_from(place.size).unwrap_or(0)];
        self.read(place.offset, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), ImageError> {
        self.file.read_exact_at(into, offset).map_err(ImageError::io("reading", &self.path))
    }

    pub(super) fn malformed(&self, problem: impl Into<String>) -> ImageError {
        ImageError::malformed(&self.path, problem)
    }

    fn read_headers(&mut self, end: u64) -> Result<(), ImageError> {
        let (mut at, mut extension, mut headers) = (0, Extension::default(), 0);
        let mut block = [0; 512];
        while at + BLOCK <= end {
            self.read(at, &mut block)?;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            headers += 1;
            // Extensions are headers, too.
            if headers > 2 * MAX_ENTRIES || self.entries.len() > MAX_ENTRIES {
                return Err(self.malformed(format!("has more than {MAX_ENTRIES} entries")));
            }
            let header = self.header(&block, at)?;
            let kind = header.entry_type();
            let own = header.entry_size().map_err(|e| self.broken(at, &e))?;
            let is_extension =
                kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions();
            let size = if is_extension { own } else { extension.size.unwrap_or(own) };
            let place = Place { offset: at + BLOCK, size };
            let next =
                size.checked_next_multiple_of(BLOCK).and_then(|s| s.checked_add(place.offset));
            let Some(next) = next.filter(|_| place.size <= end - place.offset) else {
                return Err(self.malformed(format!("is cut off in the entry at {at}")));
            };
            if is_extension {
                self.extend(&mut extension, kind, place)?;
            } else {
                let known = std::mem::take(&mut extension);
                self.enter(header, known, place);
            }
            at = next;
        }
        Ok(())
    }

    fn header<'a>(&self, block: &'a [u8; 512], at: u64) -> Result<&'a Header, ImageError> {
        if at == 0 && (block.starts_with(&[0x1f, 0x8b]) || block.starts_with(b"\x28\xb5\x2f\xfd")) {
            return Err(self.malformed("is compressed; unpack it to a plain tar first"));
        }
        let header = Header::from_byte_slice(block);
        // The sum counts its own field as blanks.
        let field = 148..156;
        let sum = block.iter().enumerate();
        let sum: u32 =
            sum.map(|(i, b)| u32::from(if field.contains(&i) { b' ' } else { *b })).sum();
        match header.cksum() {
            Ok(claimed) if claimed == sum => Ok(header),
            _ => Err(self.malformed(format!("is no tar at byte {at}"))),
        }
    }

    fn extend(
        &self,
        extension: &mut Extension,
        kind: EntryType,
        place: Place,
    ) -> Result<(), ImageError> {
        if place.size > MAX_EXTENSION {
            return Err(self.malformed("has a name longer than any"));
        }
        let mut bytes = vec![0; usize::try_from(place.size).unwrap_or(0)];
        self.read(place.offset, &mut bytes)?;
        let name = || {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        if kind.is_gnu_longname() {
            extension.path = Some(name());
        } else if kind.is_gnu_longlink() {
            extension.link = Some(name());
        } else {
            for record in PaxExtensions::new(&bytes) {
                let record = record.map_err(|e| self.broken(place.offset, &e))?;
                let value = String::from_utf8_lossy(record.value_bytes()).into_owned();
                match record.key() {
                    Ok("path") => extension.path = Some(value),
                    Ok("linkpath") => extension.link = Some(value),
                    Ok("size") => {
                        let size = value.parse();
                        let size = size.map_err(|_| self.malformed("has a size that is none"))?;
                        extension.size = Some(size);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, header: &Header, known: Extension, place: Place) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let name = known.path.unwrap_or_else(|| text(&header.path_bytes()));
        let Some(name) = normal("", &name) else { return };
        let link = || known.link.or_else(|| header.link_name_bytes().map(|name| text(&name)));
        let entry = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => Some(Entry::File(place)),
            EntryType::Link => link().and_then(|to| normal("", &to)).map(Entry::Link),
            EntryType::Symlink => {
                let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                link().and_then(|to| normal(dir, &to)).map(Entry::Link)
            }
            _ => None,
        };
        if let Some(entry) = entry {
            // As tar does it: the last of a name counts.
            self.entries.insert(name, entry);
        }
    }

    fn broken(&self, at: u64, cause: &io::Error) -> ImageError {
        self.malformed(format!(
            "cannot be read at byte {at}: {}",
            super::super::said(&cause.to_string())
        ))
    }
}

/// A name as it is looked up, from the directory that it is relative to; None
/// if it leads out of the archive.
fn normal(dir: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn open(bytes: &[u8]) -> Result<Tar, ImageError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Tar::open(file.path())
    }

    fn header(name: &str, size: u64, kind: EntryType) -> Header {
        let mut header = Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(size);
        header.set_entry_type(kind);
        header.set_cksum();
        header
    }

    #[test]
    fn files_and_links_are_found() {
        let mut builder = tar::Builder::new(Vec::new());
        let long = format!("{}/layer.tar", "d".repeat(150));
        for (name, data) in
            [("./a/layer.tar", "one"), (long.as_str(), "two"), ("a/layer.tar", "three")]
        {
            let mut header = Header::new_gnu();
            header.set_size(data.len() as u64);
            builder.append_data(&mut header, name, data.as_bytes()).unwrap();
        }
        for (name, to, kind) in [
            ("b/layer.tar", "../a/layer.tar", EntryType::Symlink),
            ("c", "b/layer.tar", EntryType::Link),
            ("out", "../../etc/passwd", EntryType::Symlink),
            ("loop", "loop", EntryType::Symlink),
        ] {
            let mut header = header(name, 0, kind);
            builder.append_link(&mut header, name, to).unwrap();
        }
        let tar = open(&builder.into_inner().unwrap()).unwrap();
        assert_eq!(tar.document("c", 9).unwrap(), b"three");
        assert_eq!(tar.document(&long, 9).unwrap(), b"two");
        assert!(tar.document("c", 4).is_err());
        assert_eq!((tar.find("out"), tar.find("loop"), tar.find("none")), (None, None, None));
    }

    #[test]
    fn what_lies_about_its_size_or_is_no_tar_is_refused() {
        let huge = header("a", u64::MAX >> 1, EntryType::Regular);
        assert!(open(huge.as_bytes()).unwrap_err().to_string().contains("cut off"));
        let name = header("a", 1 << 30, EntryType::GNULongName);
        assert!(open(name.as_bytes()).is_err());
        assert!(open(&[7; 1024]).unwrap_err().to_string().contains("no tar"));
        let mut gzip = vec![0x1f, 0x8b];
        gzip.resize(1024, 1);
        assert!(open(&gzip).unwrap_err().to_string().contains("compressed"));
        assert!(Tar::open(Path::new("/dev/zero")).is_err());
        assert!(open(b"").unwrap().find("x").is_none());
    }

    #[test]
    fn a_pax_size_overrides_the_headers() {
        let record = b"10 size=3\n";
        let mut bytes = Vec::new();
        bytes.extend(header("x", record.len() as u64, EntryType::XHeader).as_bytes());
        bytes.extend(record);
        bytes.resize(1024, 0);
        bytes.extend(header("a", 0, EntryType::Regular).as_bytes());
        bytes.extend(b"abc");
        bytes.resize(2048, 0);
        bytes.extend(header("b", 0, EntryType::Regular).as_bytes());
        let tar = open(&bytes).unwrap();
        assert_eq!(tar.document("a", 9).unwrap(), b"abc");
        assert!(tar.find("b").is_some());
    }
}
