//! Block devices, found by the serial that the host gave them: their names
//! depend on the order in which the kernel met them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const ALL: &str = "/sys/block";

/// The device's node, if there is such a device by now. The kernel makes the
/// node before anybody sees the serial.
pub fn find(serial: &str) -> io::Result<Option<PathBuf>> {
    find_in(Path::new(ALL), serial)
}

fn find_in(all: &Path, serial: &str) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(all) {
        Ok(entries) => entries,
        // A sandbox without a sysfs has no disks either.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        // Loop devices and the like have none.
        let Ok(own) = fs::read_to_string(entry.path().join("serial")) else { continue };
        if own.trim_end() == serial {
            return Ok(Some(Path::new("/dev").join(entry.file_name())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_found_by_its_whole_serial() {
        let all = tempfile::tempdir().unwrap();
        for (name, serial) in
            [("vda", Some("postern-image")), ("loop0", None), ("vdb", Some("p\n"))]
        {
            fs::create_dir(all.path().join(name)).unwrap();
            if let Some(serial) = serial {
                fs::write(all.path().join(name).join("serial"), serial).unwrap();
            }
        }
        let find = |serial| find_in(all.path(), serial).unwrap();
        assert_eq!(find("postern-image"), Some("/dev/vda".into()));
        assert_eq!(find("p"), Some("/dev/vdb".into()));
        assert_eq!(find("postern"), None);
        assert_eq!(find_in(&all.path().join("none"), "p").unwrap(), None);
    }
}
