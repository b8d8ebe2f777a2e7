//! Whether the host can bear one more session.

use std::path::Path;

use postern_proto::Code;

use super::{CreateSession, DriverKind, Error, Limits, MIN_DISK_MB, Result};

/// Refuses a root that the driver cannot make.
pub(super) fn root(request: &CreateSession, driver: DriverKind) -> Result<()> {
    let Some(disk_mb) = request.disk_mb else { return Ok(()) };
    if request.root_size_mb.is_some() {
        let message = "the root is on a disk of disk_mb or in memory of root_size_mb, not both";
        return Err(Error::invalid("root_size_mb", message));
    }
    match driver {
        DriverKind::Qemu => Ok(()),
        DriverKind::Process => Err(Error::invalid(
            "disk_mb",
            format!(
                "disk_mb is {disk_mb}, and the driver process has no disks: its root is in memory"
            ),
        )),
        DriverKind::Attach => {
            let message = "disk_mb is for a machine that is made here, not for an attached one";
            Err(Error::invalid("disk_mb", message))
        }
    }
}

/// Refuses a disk that the operator's bounds do not allow, or that the room where
/// disks are kept could not hold. `promised_mb` is for sessions that are starting.
pub(super) fn disk(limits: &Limits, dir: &Path, disk_mb: u32, promised_mb: u64) -> Result<()> {
    bounded("disk_mb", disk_mb, MIN_DISK_MB, limits.max_disk_mb)?;
    let Ok(room) = nix::sys::statvfs::statvfs(dir) else {
        // Without the figure nothing is known against it.
        return Ok(());
    };
    let free = room.blocks_available().saturating_mul(room.fragment_size()) >> 20;
    if u64::from(disk_mb) + u64::from(limits.reserve_disk_mb) + promised_mb > free {
        let message = format!(
            "the host has {free} MB of disk left; disk_mb {disk_mb} for this session, \
             {promised_mb} MB for those that are starting and a reserve of {} MB do not fit",
            limits.reserve_disk_mb
        );
        let mut error = Error::new(Code::ResourceExhausted, message);
        error.field = Some("disk_mb".to_owned());
        return Err(error);
    }
    Ok(())
}

/// Refuses what the operator's bounds and the host's memory do not allow.
/// `promised_mb` is what sessions that are starting have not yet taken.
pub(super) fn check(limits: &Limits, memory_mb: u32, cpus: u32, promised_mb: u64) -> Result<()> {
    bounded("memory_mb", memory_mb, 64, limits.max_memory_mb)?;
    bounded("cpus", cpus, 1, limits.max_cpus)?;
    let Some(available) = available_mb() else {
        // Without the figure nothing is known against it.
        return Ok(());
    };
    let needed = u64::from(memory_mb) + u64::from(limits.reserve_memory_mb) + promised_mb;
    if needed > available {
        let message = format!(
            "the host has {available} MB of memory left; {memory_mb} MB for this session, \
             {promised_mb} MB for those that are starting and a reserve of {} MB do not fit",
            limits.reserve_memory_mb
        );
        return Err(Error::new(Code::ResourceExhausted, message));
    }
    Ok(())
}

fn bounded(field: &str, value: u32, min: u32, max: u32) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("{field} is {value}; it must be between {min} and {max}")))
}

fn available_mb() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kb: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kb / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_larger_than_the_host_is_refused() {
        let limits = Limits { max_memory_mb: u32::MAX, ..Limits::default() };
        let error = check(&limits, u32::MAX, 1, 0).unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted);
        assert!(check(&limits, 64, 1, u64::from(u32::MAX)).is_err());
        check(&limits, 64, 1, 0).unwrap();
    }

    #[test]
    fn a_disk_larger_than_the_hosts_is_refused() {
        let limits = Limits { max_disk_mb: u32::MAX, ..Limits::default() };
        let dir = std::env::temp_dir();
        let error = disk(&limits, &dir, u32::MAX, 0).unwrap_err();
        assert_eq!(
            (error.code, error.field.as_deref()),
            (Code::ResourceExhausted, Some("disk_mb"))
        );
        assert!(disk(&limits, &dir, MIN_DISK_MB, u64::from(u32::MAX)).is_err());
        let limits = Limits { reserve_disk_mb: 0, ..Limits::default() };
        disk(&limits, &dir, MIN_DISK_MB, 0).unwrap();
        for size in [0, MIN_DISK_MB - 1, limits.max_disk_mb + 1] {
            let error = disk(&limits, &dir, size, 0).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{size}");
            assert_eq!(error.field.as_deref(), Some("disk_mb"));
        }
    }

    #[test]
    fn a_root_is_on_a_disk_or_in_memory_and_disks_are_for_machines() {
        let request = CreateSession { disk_mb: Some(64), ..CreateSession::default() };
        root(&request, DriverKind::Qemu).unwrap();
        for driver in [DriverKind::Process, DriverKind::Attach] {
            let error = root(&request, driver).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("disk_mb"), "{error}");
        }
        let both = CreateSession { root_size_mb: Some(64), ..request };
        let error = root(&both, DriverKind::Qemu).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("root_size_mb"));
        root(&CreateSession::default(), DriverKind::Process).unwrap();
    }

    #[test]
    fn bounds_name_their_field() {
        let error = check(&Limits::default(), 1, 1, 0).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("memory_mb"));
        let error = check(&Limits::default(), 256, 0, 0).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("cpus"));
    }
}
