//! The fields of an exec that say how its process is set up.

use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::fields::Fields;
use crate::core::{Capabilities, CapabilityProfile, CgroupLimits, ProcessSetup, Rlimit, TtySize};

/// What a terminal has whose size nobody told.
pub(super) const DEFAULT_TTY: TtySize = TtySize { rows: 24, cols: 80 };

/// The permission bits; umask(2) ignores all others.
const MAX_UMASK: u64 = 0o777;

/// The limits of getrlimit(2) that can be set, as limits.conf(5) names them.
const RLIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// There are 41 in Linux 6; a list that is longer repeats itself.
const MAX_CAPABILITIES: usize = 64;

/// A program needs a page to run in; less is a mistake about the unit.
const MIN_MEMORY_BYTES: u64 = 64 << 10;

/// More processors than any host has.
const MAX_CPUS: f64 = 4096.0;

/// The most that Linux numbers (`PID_MAX_LIMIT`).
const MAX_PIDS: u32 = 4 << 20;

/// All of them.
pub(super) fn parse(fields: &mut Fields) -> Result<ProcessSetup, ApiError> {
    Ok(ProcessSetup {
        umask: umask(fields)?,
        rlimits: fields.object("rlimits")?.map(rlimits).transpose()?.unwrap_or_default(),
        capabilities: capabilities(fields)?,
        no_new_privs: fields.flag("no_new_privs")?.unwrap_or(false),
        nice: fields.integer_in("nice", -20, 19)?,
        oom_score_adj: fields.integer_in("oom_score_adj", -1000, 1000)?,
        limits: fields.object("limits")?.map(limits).transpose()?.unwrap_or_default(),
    })
}

/// `{rows, cols}`, or `true` for the usual size.
pub(super) fn tty(fields: &mut Fields) -> Result<Option<TtySize>, ApiError> {
    match fields.take("tty") {
        None | Some(Value::Bool(false)) => Ok(None),
        Some(Value::Bool(true)) => Ok(Some(DEFAULT_TTY)),
        Some(Value::Object(map)) => {
            let mut inner = fields.nested("tty", map);
            let rows = cells(&mut inner, "rows")?.unwrap_or(DEFAULT_TTY.rows);
            let cols = cells(&mut inner, "cols")?.unwrap_or(DEFAULT_TTY.cols);
            Ok(Some(TtySize { rows, cols }))
        }
        Some(other) => Err(fields.wrong("tty", "an object with rows and cols", &other)),
    }
}

/// One side of a terminal: what struct winsize of the kernel holds.
pub(super) fn cells(fields: &mut Fields, name: &str) -> Result<Option<u16>, ApiError> {
    let cells = fields.number_in(name, 1, u16::MAX.into())?;
    Ok(cells.and_then(|cells| u16::try_from(cells).ok()))
}

/// Octal as text, as umask(1) takes it; a number is its value.
fn umask(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let value = match fields.take("umask") {
        None => return Ok(None),
        Some(Value::String(text)) if text.bytes().all(|b| b.is_ascii_digit()) => {
            u64::from_str_radix(&text, 8).ok()
        }
        Some(Value::Number(number)) => number.as_u64(),
        Some(_) => None,
    };
    match value.filter(|mask| *mask <= MAX_UMASK).and_then(|mask| u32::try_from(mask).ok()) {
        Some(mask) => Ok(Some(mask)),
        None => Err(fields.invalid("umask", "must be octal, such as \"022\", at most \"777\"")),
    }
}

fn rlimits(mut fields: Fields) -> Result<Vec<Rlimit>, ApiError> {
    let mut all: Vec<Rlimit> = Vec::new();
    for name in fields.names() {
        let lower = name.to_ascii_lowercase();
        let resource = lower.strip_prefix("rlimit_").unwrap_or(&lower);
        if !RLIMITS.contains(&resource) {
            let message = format!("is no limit; there are {}", RLIMITS.join(", "));
            return Err(fields.invalid(&name, message));
        }
        if all.iter().any(|limit| limit.resource == resource) {
            return Err(fields.invalid(&name, "is given twice"));
        }
        let (soft, hard) = match fields.take(&name) {
            None => continue,
            Some(Value::Object(map)) => {
                let mut inner = fields.nested(&name, map);
                let soft = inner.take("soft").map(|v| bound(&inner, "soft", &v)).transpose()?;
                let hard = inner.take("hard").map(|v| bound(&inner, "hard", &v)).transpose()?;
                match (soft, hard) {
                    (Some(soft), hard) => (soft, hard.unwrap_or(soft)),
                    (None, Some(hard)) => (hard, hard),
                    (None, None) => return Err(fields.invalid(&name, "needs soft or hard")),
                }
            }
            Some(value) => {
                let both = bound(&fields, &name, &value)?;
                (both, both)
            }
        };
        if soft > hard {
            return Err(fields.invalid(&name, "soft must not be more than hard"));
        }
        all.push(Rlimit { resource: resource.to_owned(), soft, hard });
    }
    Ok(all)
}

fn bound(fields: &Fields, name: &str, value: &Value) -> Result<u64, ApiError> {
    match value {
        Value::String(text) if text == "unlimited" || text == "infinity" => Ok(u64::MAX),
        Value::Number(number) if number.is_u64() => Ok(number.as_u64().unwrap_or(u64::MAX)),
        other => Err(fields.wrong(name, "a whole number or \"unlimited\"", other)),
    }
}

/// An object, or just the name of a profile.
fn capabilities(fields: &mut Fields) -> Result<Option<Capabilities>, ApiError> {
    match fields.take("capabilities") {
        None => Ok(None),
        Some(Value::String(name)) => {
            let profile = profile(&name).ok_or_else(|| {
                fields.invalid("capabilities", "must be full, restricted or none")
            })?;
            Ok(Some(Capabilities { profile, ..Capabilities::default() }))
        }
        Some(Value::Object(map)) => {
            let mut inner = fields.nested("capabilities", map);
            let profile = match inner.text("profile")? {
                None => CapabilityProfile::default(),
                Some(name) => profile(&name)
                    .ok_or_else(|| inner.invalid("profile", "must be full, restricted or none"))?,
            };
            Ok(Some(Capabilities {
                profile,
                add: capability_names(&mut inner, "add")?,
                drop: capability_names(&mut inner, "drop")?,
                ambient: capability_names(&mut inner, "ambient")?,
            }))
        }
        Some(other) => Err(fields.wrong("capabilities", "an object or a profile's name", &other)),
    }
}

fn profile(name: &str) -> Option<CapabilityProfile> {
    match name {
        "full" => Some(CapabilityProfile::Full),
        "restricted" => Some(CapabilityProfile::Restricted),
        "none" => Some(CapabilityProfile::None),
        _ => None,
    }
}

/// Which names there are, the guest's kernel knows; here only their form is.
fn capability_names(fields: &mut Fields, field: &str) -> Result<Vec<String>, ApiError> {
    let names = fields.texts(field)?.unwrap_or_default();
    if names.len() > MAX_CAPABILITIES {
        return Err(fields.invalid(field, format!("must not be more than {MAX_CAPABILITIES}")));
    }
    let mut all = Vec::with_capacity(names.len());
    for (at, name) in names.into_iter().enumerate() {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let letter = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if bare.is_empty() || bare.len() > 32 || !bare.bytes().all(letter) {
            let message = "must be a capability's name, such as NET_ADMIN";
            return Err(fields.invalid(&format!("{field}[{at}]"), message));
        }
        all.push(bare.to_owned());
    }
    Ok(all)
}

fn limits(mut fields: Fields) -> Result<CgroupLimits, ApiError> {
    let memory_bytes = match (fields.number("memory_mb")?, fields.number("memory_bytes")?) {
        (Some(_), Some(_)) => {
            let message = "give either memory_mb or memory_bytes, not both";
            return Err(fields.invalid("memory_bytes", message));
        }
        (Some(mb), None) => Some((mb.saturating_mul(1 << 20), "memory_mb")),
        (None, bytes) => bytes.map(|bytes| (bytes, "memory_bytes")),
    };
    if let Some((bytes, name)) = memory_bytes
        && !(MIN_MEMORY_BYTES..=i64::MAX.unsigned_abs()).contains(&bytes)
    {
        return Err(fields.invalid(name, format!("must be at least {MIN_MEMORY_BYTES} bytes")));
    }
    Ok(CgroupLimits {
        memory_bytes: memory_bytes.map(|(bytes, _)| bytes),
        cpu_millis: cpu_millis(&mut fields)?,
        pids: fields.number_in("pids", 1, MAX_PIDS)?,
    })
}

/// Processors as a number with a fraction; the kernel takes a hundredth at least.
fn cpu_millis(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    match fields.positive("cpus")? {
        None => Ok(None),
        Some(cpus) if (0.01..=MAX_CPUS).contains(&cpus) =>
        {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 10 and 4,096,000"
            )]
            Ok(Some((cpus * 1000.0).round() as u32))
        }
        Some(_) => Err(fields.invalid("cpus", format!("must be 0.01 to {MAX_CPUS}"))),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn fields(json: &'static str) -> Fields {
        Fields::parse(&Bytes::from_static(json.as_bytes())).unwrap()
    }

    fn read(json: &'static str) -> Result<ProcessSetup, ApiError> {
        parse(&mut fields(json))
    }

    #[test]
    fn everything_that_can_be_asked() {
        let setup = read(
            r#"{"umask":"0027","rlimits":{"nofile":{"soft":64,"hard":128},"RLIMIT_CORE":0,"stack":"unlimited"},
                "capabilities":{"profile":"restricted","add":["cap_net_raw"],"drop":["CHOWN"],"ambient":["NET_RAW"]},
                "no_new_privs":true,"nice":-5,"oom_score_adj":1000,"limits":{"memory_mb":64,"cpus":1.5,"pids":20}}"#,
        )
        .unwrap();
        assert_eq!(setup.umask, Some(0o27));
        let limit = |resource: &str, soft, hard| Rlimit { resource: resource.into(), soft, hard };
        assert_eq!(
            setup.rlimits,
            [limit("core", 0, 0), limit("nofile", 64, 128), limit("stack", u64::MAX, u64::MAX)]
        );
        let capabilities = setup.capabilities.unwrap();
        assert_eq!(capabilities.profile, CapabilityProfile::Restricted);
        assert_eq!(
            (capabilities.add, capabilities.drop),
            (vec!["NET_RAW".into()], vec!["CHOWN".into()])
        );
        assert!(setup.no_new_privs);
        assert_eq!((setup.nice, setup.oom_score_adj), (Some(-5), Some(1000)));
        let limits =
            CgroupLimits { memory_bytes: Some(64 << 20), cpu_millis: Some(1500), pids: Some(20) };
        assert_eq!(setup.limits, limits);
    }

    #[test]
    fn nothing_asked_is_nothing_set() {
        assert_eq!(read("{}").unwrap(), ProcessSetup::default());
        assert_eq!(read(r#"{"umask":18,"capabilities":"none"}"#).unwrap().umask, Some(0o22));
        let none = read(r#"{"capabilities":"none"}"#).unwrap().capabilities.unwrap();
        assert_eq!(none.profile, CapabilityProfile::None);
    }

    #[test]
    fn terminals() {
        let size = |json| tty(&mut fields(json)).unwrap();
        assert_eq!(size(r#"{"tty":{"rows":5,"cols":7}}"#), Some(TtySize { rows: 5, cols: 7 }));
        assert_eq!(size(r#"{"tty":{"cols":7}}"#), Some(TtySize { rows: 24, cols: 7 }));
        assert_eq!(size(r#"{"tty":true}"#), Some(DEFAULT_TTY));
        assert_eq!((size(r#"{"tty":false}"#), size("{}")), (None, None));
        for (json, field) in [
            (r#"{"tty":"yes"}"#, "tty"),
            (r#"{"tty":{"rows":0}}"#, "tty.rows"),
            (r#"{"tty":{"rows":-1}}"#, "tty.rows"),
            (r#"{"tty":{"cols":65536}}"#, "tty.cols"),
        ] {
            let error = tty(&mut fields(json)).unwrap_err();
            assert_eq!(error.field.as_deref(), Some(field), "{json}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (r#"{"umask":"8"}"#, "umask"),
            (r#"{"umask":"+7"}"#, "umask"),
            (r#"{"umask":"1000"}"#, "umask"),
            (r#"{"umask":512}"#, "umask"),
            (r#"{"umask":""}"#, "umask"),
            (r#"{"rlimits":{"files":1}}"#, "rlimits.files"),
            (r#"{"rlimits":{"nofile":-1}}"#, "rlimits.nofile"),
            (r#"{"rlimits":{"nofile":{"soft":2,"hard":1}}}"#, "rlimits.nofile"),
            (r#"{"rlimits":{"nofile":{"soft":"x"}}}"#, "rlimits.nofile.soft"),
            (r#"{"rlimits":{"nofile":{}}}"#, "rlimits.nofile"),
            (r#"{"rlimits":{"nofile":1,"RLIMIT_NOFILE":2}}"#, "rlimits.nofile"),
            (r#"{"rlimits":[]}"#, "rlimits"),
            (r#"{"capabilities":"some"}"#, "capabilities"),
            (r#"{"capabilities":{"profile":"x"}}"#, "capabilities.profile"),
            (r#"{"capabilities":{"add":["net admin"]}}"#, "capabilities.add[0]"),
            (r#"{"capabilities":{"drop":"CHOWN"}}"#, "capabilities.drop"),
            (r#"{"no_new_privs":1}"#, "no_new_privs"),
            (r#"{"nice":20}"#, "nice"),
            (r#"{"oom_score_adj":-1001}"#, "oom_score_adj"),
            (r#"{"limits":{"memory_mb":1,"memory_bytes":1}}"#, "limits.memory_bytes"),
            (r#"{"limits":{"memory_bytes":1}}"#, "limits.memory_bytes"),
            (r#"{"limits":{"memory_mb":0}}"#, "limits.memory_mb"),
            (r#"{"limits":{"cpus":0}}"#, "limits.cpus"),
            (r#"{"limits":{"cpus":0.001}}"#, "limits.cpus"),
            (r#"{"limits":{"pids":0}}"#, "limits.pids"),
            (r#"{"limits":5}"#, "limits"),
        ];
        for (json, field) in cases {
            assert_eq!(read(json).unwrap_err().field.as_deref(), Some(field), "{json}");
        }
    }
}
