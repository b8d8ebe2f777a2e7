//! A file's bytes, out of the workload's root.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use nix::fcntl::OFlag;
use nix::sys::stat::FileStat;
use postern_proto as proto;

use super::error::shown;
use super::{FileError, Root, User, check_not_covered, check_path, open_contents};
use crate::sys::fscreds::FsCreds;

/// Opens a file with the user's rights and stands at the first byte asked for.
///
/// `length` of the answer is what there is at this moment. A file that shrinks
/// while it is read gives fewer bytes: the caller counts, and tells of it.
pub fn open_read(
    root: &Root,
    req: &proto::ReadFile,
    user: &User,
) -> Result<(proto::FileInfo, File), FileError> {
    let path = &req.path[..];
    check_path(path)?;
    check_not_covered(path)?;
    let mut file = {
        let _as_user = FsCreds::assume(user.uid, user.gid, &user.groups)
            .map_err(|e| FileError::io("taking on the user's rights for", path, &e))?;
        let found = root
            .resolve(path, OFlag::O_PATH)
            .map_err(|errno| FileError::sys("opening", path, errno))?;
        open_contents(&found, OFlag::O_RDONLY, path)?
    };
    let stat = nix::sys::stat::fstat(&file).map_err(|e| FileError::sys("looking at", path, e))?;
    let mut info = file_info(&stat);
    let Some(left) = info.size.checked_sub(req.offset) else {
        return Err(FileError::OutOfRange {
            path: shown(path),
            offset: req.offset,
            size: info.size,
        });
    };
    info.length = req.length.map_or(left, |wanted| wanted.min(left));
    if req.offset > 0 {
        file.seek(SeekFrom::Start(req.offset))
            .map_err(|e| FileError::io("seeking in", path, &e))?;
    }
    Ok((info, file))
}

/// What stat(2) says, in the protocol's words; `length` is the whole file.
pub(super) fn file_info(stat: &FileStat) -> proto::FileInfo {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    proto::FileInfo {
        size,
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime_unix_ms: stat
            .st_mtime
            .saturating_mul(1000)
            .saturating_add(stat.st_mtime_nsec / 1_000_000),
        length: size,
    }
}
