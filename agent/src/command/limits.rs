//! Limits of one command's cgroup.

use nix::errno::Errno;
use postern_proto::{CgroupLimits, Code, Error, SpawnStage};

use super::cgroup::Cgroup;

/// The period of `cpu.max`, microseconds: the kernel's default.
const PERIOD_US: u64 = 100_000;

/// The kernel takes no less of a period, microseconds.
const MIN_QUOTA_US: u64 = 1_000;

/// The kernel takes no longer period.
const MAX_PERIOD_US: u64 = 1_000_000;

/// Whoever asks for a limit is not served without it.
pub(super) fn check(limits: &CgroupLimits, controllers: &[String]) -> Result<(), Error> {
    for (field, controller, wanted) in [
        ("limits.memory_bytes", "memory", limits.memory_bytes.is_some()),
        ("limits.cpu_millis", "cpu", limits.cpu_millis.is_some()),
        ("limits.pids", "pids", limits.pids.is_some()),
    ] {
        if wanted && !controllers.iter().any(|c| c == controller) {
            let message = format!(
                "this guest's kernel has no {controller} controller of cgroup v2 for commands"
            );
            return Err(Error {
                field: Some(field.to_owned()),
                ..Error::new(Code::FailedPrecondition, message)
                    .with_stage(SpawnStage::ResourceLimit)
            });
        }
    }
    Ok(())
}

pub(super) fn apply(cgroup: &Cgroup, limits: &CgroupLimits) -> Result<(), Error> {
    if let Some(bytes) = limits.memory_bytes {
        set(cgroup, "limits.memory_bytes", "memory.max", &bytes.to_string())?;
        // Memory on a swap device would be memory beyond the limit; a kernel
        // without swap does not have the file.
        let _ = cgroup.write("memory.swap.max", "0");
        // Half a tree that goes on without its other half helps nobody.
        set(cgroup, "limits.memory_bytes", "memory.oom.group", "1")?;
    }
    if let Some(millis) = limits.cpu_millis {
        set(cgroup, "limits.cpu_millis", "cpu.max", &quota(millis))?;
    }
    if let Some(pids) = limits.pids {
        set(cgroup, "limits.pids", "pids.max", &pids.to_string())?;
    }
    Ok(())
}

fn set(cgroup: &Cgroup, field: &str, file: &str, value: &str) -> Result<(), Error> {
    cgroup.write(file, value).map_err(|errno: Errno| Error {
        field: Some(field.to_owned()),
        ..Error::new(Code::Internal, format!("writing {value} to {file}: {}", errno.desc()))
            .with_stage(SpawnStage::ResourceLimit)
            .with_errno(errno as i32)
    })
}

/// `cpu.max` for thousandths of a processor.
fn quota(millis: u32) -> String {
    let of = |period: u64| u64::from(millis) * period / 1_000;
    let period = if of(PERIOD_US) < MIN_QUOTA_US { MAX_PERIOD_US } else { PERIOD_US };
    format!("{} {period}", of(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_never_below_what_the_kernel_takes() {
        assert_eq!(quota(1), "1000 1000000");
        assert_eq!(quota(9), "9000 1000000");
        assert_eq!(quota(10), "1000 100000");
        assert_eq!(quota(1_500), "150000 100000");
        assert_eq!(quota(u32::MAX), "429496729500 100000");
    }

    #[test]
    fn a_limit_without_its_controller_names_the_field() {
        let limits = CgroupLimits { cpu_millis: Some(1), pids: Some(1), ..CgroupLimits::default() };
        let error = check(&limits, &["cpu".to_owned()]).unwrap_err();
        assert_eq!(
            (error.code, error.field.as_deref()),
            (Code::FailedPrecondition, Some("limits.pids"))
        );
        assert!(check(&limits, &["cpu".to_owned(), "pids".to_owned()]).is_ok());
        assert!(check(&CgroupLimits::default(), &[]).is_ok());
    }
}
