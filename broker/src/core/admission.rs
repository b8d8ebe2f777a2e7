//! Whether the host can bear one more session.

use postern_proto::Code;

use super::{Error, Limits, Result};

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
    fn bounds_name_their_field() {
        let error = check(&Limits::default(), 1, 1, 0).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("memory_mb"));
        let error = check(&Limits::default(), 256, 0, 0).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("cpus"));
    }
}
