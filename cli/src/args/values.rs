//! Values on the command line that are more than a word or a number.

use serde_json::{Value, json};

/// What setrlimit(2) takes for no limit.
const UNLIMITED: u64 = u64::MAX;

/// `90`, `1.5s`, `500ms`, `10m`, `2h`; without a unit they are seconds. In
/// milliseconds.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 4] = [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3600e3)];
    let wrong = || format!("`{text}` is no time: try 90s, 1.5m or 500ms");
    let found = UNITS.iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, *ms)));
    let (number, ms) = found.unwrap_or((text, 1e3));
    scaled(number, ms).filter(|ms| *ms > 0).ok_or_else(wrong)
}

/// `512m`, `1.5g`, `65536k`, `1048576b`; without a unit they are MiB, as
/// everywhere on this command line. In bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u32); 4] = [('b', 0), ('k', 10), ('m', 20), ('g', 30)];
    let wrong = || format!("`{text}` is no size: try 512m or 1.5g");
    let lower = text.to_ascii_lowercase();
    let found = UNITS.iter().find_map(|(unit, shift)| Some((lower.strip_suffix(*unit)?, *shift)));
    let (number, shift) = found.unwrap_or((&lower, 20));
    scaled(number, f64::from(1_u32 << shift)).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// `0.5`, `2`: processors, in thousandths.
pub(crate) fn cpu_millis(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no number of processors: try 2 or 0.5");
    let millis = scaled(text, 1e3).and_then(|millis| u32::try_from(millis).ok());
    millis.filter(|millis| *millis > 0).ok_or_else(wrong)
}

/// Digits with at most one point, times `unit`; nothing of what else floating
/// point has (signs, exponents, infinity).
fn scaled(number: &str, unit: f64) -> Option<u64> {
    /// Beyond it not every whole number has a float.
    const EXACT: f64 = 9e15;
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value: f64 = number.parse().ok().filter(|_| plain)?;
    let product = (value * unit).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    (product <= EXACT).then_some(product as u64)
}

/// `022`: octal.
pub(crate) fn umask(text: &str) -> Result<u32, String> {
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o777);
    bits.ok_or_else(|| format!("`{text}` is no umask: give octal digits, like 027"))
}

/// One limit of setrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ulimit {
    pub(crate) resource: String,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

impl Ulimit {
    pub(crate) fn json(&self) -> Value {
        let value = |limit: u64| if limit == UNLIMITED { json!("unlimited") } else { json!(limit) };
        json!({"soft": value(self.soft), "hard": value(self.hard)})
    }
}

/// `nofile=1024:2048`, `core=0`, `memlock=unlimited`.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let wrong = || format!("`{text}` is no limit: try nofile=1024:2048 or core=unlimited");
    let (resource, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let limit = |text: &str| match text {
        "unlimited" | "-1" => Some(UNLIMITED),
        number => number.parse().ok(),
    };
    let (soft, hard) = limit(soft).zip(limit(hard)).ok_or_else(wrong)?;
    if resource.is_empty() || soft > hard {
        return Err(wrong());
    }
    Ok(Ulimit { resource: resource.to_ascii_lowercase(), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(duration_ms("90"), Ok(90_000));
        assert_eq!(duration_ms("1.5s"), Ok(1500));
        assert_eq!(duration_ms("500ms"), Ok(500));
        assert_eq!(duration_ms("10m"), Ok(600_000));
        assert_eq!(duration_ms("2h"), Ok(7_200_000));
        for wrong in ["", "s", "0", "-1", "1d", "inf", "nan", "1e3", "1.2.3", "99999999999999h"] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("512m"), Ok(512 << 20));
        assert_eq!(bytes("512"), Ok(512 << 20));
        assert_eq!(bytes("1.5G"), Ok(3 << 29));
        assert_eq!(bytes("64k"), Ok(64 << 10));
        assert_eq!(bytes("1000b"), Ok(1000));
        for wrong in ["", "m", "0", "-5m", "1t", "1mb", "inf", "9999999999g"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn processors() {
        assert_eq!(cpu_millis("2"), Ok(2000));
        assert_eq!(cpu_millis("0.5"), Ok(500));
        for wrong in ["", "0", "0.0001", "-1", "two", "99999999999"] {
            assert!(cpu_millis(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn masks() {
        assert_eq!((umask("022"), umask("777")), (Ok(0o22), Ok(0o777)));
        for wrong in ["", "8", "1777", "-1", "u=rwx"] {
            assert!(umask(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits() {
        let parsed = |text| ulimit(text).map(|l| (l.resource, l.soft, l.hard));
        assert_eq!(parsed("nofile=1024:2048"), Ok(("nofile".to_owned(), 1024, 2048)));
        assert_eq!(parsed("CORE=0"), Ok(("core".to_owned(), 0, 0)));
        assert_eq!(parsed("memlock=1:unlimited"), Ok(("memlock".to_owned(), 1, UNLIMITED)));
        for wrong in ["", "nofile", "=1", "nofile=", "nofile=2:1", "nofile=a", "nofile=1:2:3"] {
            assert!(ulimit(wrong).is_err(), "{wrong}");
        }
    }
}
