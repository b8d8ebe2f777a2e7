//! The image's WorkingDir, which need not be in any of its layers.

use nix::errno::Errno;
use postern_proto::{Code, Error};

use crate::files::Root;
use crate::files::error::shown;

/// Linux's own bound on a path, its NUL included.
const MAX_PATH: usize = 4095;

/// Makes it, and what is missing above it, as docker does: root's, with mode 0755,
/// whoever the image's User is. One that is there is left as it is.
pub(crate) fn make(root: &Root, path: &str) -> Result<(), Error> {
    if path.is_empty() {
        return Ok(());
    }
    let shown = shown(path.as_bytes());
    let invalid =
        |why: &str| Error::invalid("working_dir", format!("the image's WorkingDir {shown} {why}"));
    if !path.starts_with('/') {
        return Err(invalid("is not absolute"));
    }
    if path.len() > MAX_PATH || path.contains('\0') {
        return Err(invalid("is no path"));
    }
    match root.make_dirs(path.as_bytes()) {
        Ok(_) => Ok(()),
        Err(errno @ Errno::ENOTDIR) => {
            Err(invalid("leads through what is not a directory").with_errno(errno as i32))
        }
        Err(errno @ (Errno::ELOOP | Errno::ENAMETOOLONG)) => {
            Err(invalid(errno.desc()).with_errno(errno as i32))
        }
        Err(errno) => {
            let full = matches!(errno, Errno::ENOSPC | Errno::EDQUOT | Errno::ENOMEM);
            let code = if full { Code::ResourceExhausted } else { Code::Internal };
            let message = format!("making the image's WorkingDir {shown}: {}", errno.desc());
            Err(Error::new(code, message).with_errno(errno as i32))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn field(root: &Root, path: &str) -> String {
        let error = make(root, path).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
        error.field.unwrap()
    }

    #[test]
    fn a_missing_working_dir_is_made_and_one_that_is_there_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        make(&root, "").unwrap();
        make(&root, "/srv/app/").unwrap();
        let made = dir.path().join("srv/app").metadata().unwrap();
        assert_eq!((made.mode() & 0o7777, made.uid()), (0o755, nix::unistd::geteuid().as_raw()));
        std::fs::set_permissions(dir.path().join("srv"), PermissionsExt::from_mode(0o700)).unwrap();
        make(&root, "/srv").unwrap();
        assert_eq!(dir.path().join("srv").metadata().unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_working_dir_that_cannot_be_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        for path in ["app", "/file", "/file/x", "/loop", "/a\0b", &format!("/{}", "x".repeat(300))]
        {
            assert_eq!(field(&root, path), "working_dir", "{path:?}");
        }
        // A link that leads out leads to the same place below the root.
        make(&root, "/out/x").unwrap();
        assert_eq!(outside.path().read_dir().unwrap().count(), 0);
        assert!(dir.path().join("out/x").symlink_metadata().is_err());
        let inside = dir.path().join(outside.path().strip_prefix("/").unwrap()).join("x");
        assert!(inside.is_dir());
    }
}
