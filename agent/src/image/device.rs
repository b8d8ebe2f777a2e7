//! A layer's blob as a range of a block device.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use postern_proto::{Code, DiskLayer, Error};

use crate::disk;

/// What was read is dropped from the page cache in steps of this: large enough to
/// cost nothing, small beside any guest's memory.
const DROP_EVERY: u64 = 4 << 20;

/// Reads the range, and leaves nothing of it in memory.
#[derive(Debug)]
pub struct DeviceBlob {
    device: File,
    at: u64,
    end: u64,
    dropped: u64,
}

impl DeviceBlob {
    /// Finds the device by its serial; the range has to be inside.
    pub fn open(asked: &DiskLayer) -> Result<Self, Error> {
        let failed = |what: &str, e: &io::Error| {
            Error::new(Code::Unavailable, format!("{what}: {e}"))
                .with_errno(e.raw_os_error().unwrap_or(0))
        };
        let found = disk::find(&asked.serial).map_err(|e| failed("looking for the disk", &e))?;
        let Some(device) = found else {
            return Err(Error::invalid("serial", "there is no disk with this serial"));
        };
        Self::of(&device, asked.offset, asked.layer.size)
            .map_err(|e| failed("opening the disk", &e))?
            .ok_or_else(|| Error::invalid("offset", "the layer's range is not on the disk"))
    }

    fn of(path: &Path, at: u64, size: u64) -> io::Result<Option<Self>> {
        let mut device = File::open(path)?;
        let len = device.seek(SeekFrom::End(0))?;
        let Some(end) = at.checked_add(size).filter(|end| *end <= len) else {
            return Ok(None);
        };
        device.seek(SeekFrom::Start(at))?;
        // Read ahead further; a kernel that does not is only slower.
        let _ = advise(&device, at, size, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
        Ok(Some(Self { device, at, end, dropped: at }))
    }
}

impl Read for DeviceBlob {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = into.len().min(left);
        let read = self.device.read(into.get_mut(..want).unwrap_or_default())?;
        self.at += read as u64;
        let read_through = self.at - self.dropped;
        if read_through >= DROP_EVERY || self.at == self.end {
            let dontneed = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            // Without it the kernel drops the pages when memory is short.
            let _ = advise(&self.device, self.dropped, read_through, dontneed);
            self.dropped = self.at;
        }
        Ok(read)
    }
}

fn advise(file: &File, at: u64, len: u64, how: PosixFadviseAdvice) -> nix::Result<()> {
    let offset = |n: u64| libc::off_t::try_from(n).unwrap_or(libc::off_t::MAX);
    posix_fadvise(file.as_fd(), offset(at), offset(len), how)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_range_is_read_to_its_end_and_not_beyond() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..10_000_000u32).map(|n| (n % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        for (at, size) in [(0, 0), (4096, 9_000_000), (9_999_999, 1), (10_000_000, 0)] {
            let mut blob = DeviceBlob::of(file.path(), at, size).unwrap().unwrap();
            let mut read = Vec::new();
            blob.read_to_end(&mut read).unwrap();
            let at = usize::try_from(at).unwrap();
            assert!(read == bytes[at..at + usize::try_from(size).unwrap()], "{at} {size}");
        }
    }

    #[test]
    fn a_range_that_is_not_on_the_disk_is_none() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1; 100]).unwrap();
        for (at, size) in [(0, 101), (101, 0), (u64::MAX, 1), (1, u64::MAX)] {
            assert!(DeviceBlob::of(file.path(), at, size).unwrap().is_none(), "{at} {size}");
        }
        let layer = postern_proto::Layer { size: 1, ..postern_proto::Layer::default() };
        let asked = DiskLayer { layer, serial: "of no disk".into(), offset: 0 };
        let error = DeviceBlob::open(&asked).unwrap_err();
        assert_eq!((error.code, error.field.as_deref()), (Code::InvalidArgument, Some("serial")));
    }
}
