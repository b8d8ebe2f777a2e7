//! Disks of a machine: files in its session's directory.
//!
//! QEMU is told that each is raw, and never looks for itself: a guest could
//! write the head of another format onto its disk, and have a probing QEMU open
//! the host's files that it names.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::command::escaped;
use crate::driver::{DriverError, Files, IMAGE_SERIAL};

/// By which the guest finds the disk that its root is on. virtio-blk has room
/// for 20 bytes.
pub(super) const ROOT_SERIAL: &str = "postern-root";

/// It writes some hundred KiB and took 0.01 to 0.05 s for
/// 2 GiB; the rest is room for a host whose disk is busy.
const MKFS_DEADLINE: Duration = Duration::from_secs(60);

/// What goes into an error of what it said.
const MAX_SAID: usize = 1 << 10;

/// All that is wanted, so that the host's mke2fs.conf adds nothing that the guest's
/// kernel might not know. No journal and no checksums: they would protect from a
/// crash of the machine, and the disk does not outlive it. `uninit_bg` is what
/// lets the inode tables stay holes of the file.
const FEATURES: &str = "none,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,\
                        huge_file,large_file,sparse_super,uninit_bg";

/// An inode for so many bytes: images of small files have one for 8 to 16 KiB,
/// and the tables take room only once they are written.
const BYTES_PER_INODE: &str = "8192";

/// Where a session's root disk is.
pub(super) fn root(dir: &Path) -> PathBuf {
    dir.join("root.img")
}

/// Makes the sparse file and an empty file system in it.
pub(super) async fn make_root(files: &Files, dir: &Path, size_mb: u32) -> Result<(), DriverError> {
    let mkfs = files.mkfs_ext4()?;
    let path = root(dir);
    let file = create(&path)?;
    file.set_len(u64::from(size_mb) << 20).map_err(DriverError::io("sizing", &path))?;
    let mut command = Command::new(mkfs);
    command
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", BYTES_PER_INODE])
        // Nothing is kept for root: the workload may be anybody.
        .args(["-m", "0", "-O", FEATURES])
        // The file is new: there is nothing in it to discard or to zero.
        .args(["-E", "lazy_itable_init=1,nodiscard,root_owner=0:0"])
        .arg(&path)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    format(&mut command, MKFS_DEADLINE).await
}

async fn format(command: &mut Command, deadline: Duration) -> Result<(), DriverError> {
    let failed = |why| DriverError::Failed { program: "mkfs.ext4", why };
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = tokio::time::timeout(deadline, command.output())
        .await
        .map_err(|_| failed(format!("it was not done after {} s", deadline.as_secs())))?
        .map_err(|source| DriverError::Spawn { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = &said[..said.floor_char_boundary(MAX_SAID)];
    Err(failed(format!("{}: {}", output.status, said.trim())))
}

fn create(path: &Path) -> Result<File, DriverError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(DriverError::io("creating", path))
}

/// QEMU's arguments for the root disk. Flushes are not passed on, for the disk
/// does not outlive the machine; what the guest discards becomes room of the host.
/// A host's disk that is full is an error in the guest: by default QEMU would
/// stop the machine and wait for somebody to make room.
pub(super) fn root_args(dir: &Path) -> [String; 6] {
    let file = escaped(&root(dir));
    [
        "-blockdev".into(),
        format!(
            "driver=file,node-name=root-file,filename={file},discard=unmap,\
             cache.direct=off,cache.no-flush=on"
        ),
        "-blockdev".into(),
        "driver=raw,node-name=root,file=root-file,discard=unmap,cache.no-flush=on".into(),
        "-device".into(),
        format!(
            "virtio-blk-pci,drive=root,serial={ROOT_SERIAL},write-cache=on,\
             werror=report,rerror=report"
        ),
    ]
}

/// QEMU's arguments for the disk that the image comes on.
pub(super) fn image_args(path: &Path) -> [String; 6] {
    let file = escaped(path);
    [
        "-blockdev".into(),
        format!("driver=file,node-name=image-file,filename={file},read-only=on"),
        "-blockdev".into(),
        "driver=raw,node-name=image,file=image-file,read-only=on".into(),
        "-device".into(),
        format!("virtio-blk-pci,drive=image,serial={IMAGE_SERIAL},rerror=report"),
    ]
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::arch::GuestArch;
    use crate::driver::Wanted;

    #[tokio::test]
    async fn a_disk_is_sparse_private_and_an_ext4_that_is_empty_but_for_lost_and_found() {
        let dir = tempfile::tempdir().unwrap();
        make_root(&Files::new(Wanted::default(), GuestArch::host()), dir.path(), 2048)
            .await
            .unwrap();
        let meta = root(dir.path()).metadata().unwrap();
        assert_eq!((meta.len(), meta.mode() & 0o777), (2 << 30, 0o600));
        let used = meta.blocks() * 512;
        assert!(used < 4 << 20, "an empty disk takes {used} bytes of the host");
        let mut image = [0; 2048];
        File::open(root(dir.path())).unwrap().read_exact(&mut image).unwrap();
        // The superblock: magic number, no journal, nothing reserved.
        assert_eq!(image[1024 + 56..][..2], [0x53, 0xef]);
        assert_eq!(image[1024 + 92] & 4, 0, "it has a journal");
        assert_eq!(image[1024 + 8..][..4], [0; 4], "blocks are reserved");
    }

    #[tokio::test]
    async fn a_second_disk_does_not_overwrite_the_first() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(root(dir.path()), b"mine").unwrap();
        let error = make_root(&Files::new(Wanted::default(), GuestArch::host()), dir.path(), 16)
            .await
            .unwrap_err();
        assert!(matches!(error, DriverError::Io { doing: "creating", .. }), "{error}");
        assert_eq!(std::fs::read(root(dir.path())).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_program_that_fails_or_never_ends_is_an_error_with_its_words() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no room >&2; exit 3"]).stdin(Stdio::null());
        let error = format(&mut command, MKFS_DEADLINE).await.unwrap_err().to_string();
        assert!(error.contains("no room") && error.contains("mkfs.ext4"), "{error}");
        let mut command = Command::new("sleep");
        command.arg("1000").kill_on_drop(true);
        let error = format(&mut command, Duration::from_millis(50)).await.unwrap_err();
        assert!(error.to_string().contains("not done"), "{error}");
        let error = format(&mut Command::new("/no/mkfs"), MKFS_DEADLINE).await.unwrap_err();
        assert!(matches!(error, DriverError::Spawn { .. }), "{error}");
    }

    #[test]
    fn the_format_is_said_and_a_comma_in_a_path_ends_no_option() {
        let args = root_args(Path::new("/a,b")).join(" ");
        assert!(args.contains("driver=raw") && args.contains("/a,,b/root.img"), "{args}");
    }
}
