//! How a process is to be set up, from the request's numbers and names.

use std::ffi::c_int;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use postern_proto::{CgroupLimits, Error, Exec, Rlimit};

use super::capabilities;
use crate::sys::setup::{Limits, Setup};

/// What new files do not get where nobody says.
const DEFAULT_UMASK: u32 = 0o022;

/// The resources are fewer; some may be named twice.
const MAX_RLIMITS: usize = 64;

/// What the kernel takes, sched(7) and proc(5).
const NICE: std::ops::RangeInclusive<i32> = -20..=19;
const OOM_SCORE_ADJ: std::ops::RangeInclusive<i32> = -1000..=1000;

/// Named as limits.conf(5) does, and `rttime`, which it lacks; the units are
/// those of setrlimit(2).
const RESOURCES: [(&str, c_int); 16] = [
    ("as", libc::RLIMIT_AS as c_int),
    ("core", libc::RLIMIT_CORE as c_int),
    ("cpu", libc::RLIMIT_CPU as c_int),
    ("data", libc::RLIMIT_DATA as c_int),
    ("fsize", libc::RLIMIT_FSIZE as c_int),
    ("locks", libc::RLIMIT_LOCKS as c_int),
    ("memlock", libc::RLIMIT_MEMLOCK as c_int),
    ("msgqueue", libc::RLIMIT_MSGQUEUE as c_int),
    ("nice", libc::RLIMIT_NICE as c_int),
    ("nofile", libc::RLIMIT_NOFILE as c_int),
    ("nproc", libc::RLIMIT_NPROC as c_int),
    ("rss", libc::RLIMIT_RSS as c_int),
    ("rtprio", libc::RLIMIT_RTPRIO as c_int),
    ("rttime", libc::RLIMIT_RTTIME as c_int),
    ("sigpending", libc::RLIMIT_SIGPENDING as c_int),
    ("stack", libc::RLIMIT_STACK as c_int),
];

/// Descriptors of the serving process: one for each connection, about four for
/// each command, and as many again. What a VM's kernel gives (1024) is used up by
/// a hundred commands that a few follow each.
const OWN_DESCRIPTORS: u64 = 32 << 10;

/// The limit that the agent was started with, once it has another.
static DESCRIPTORS_AT_FIRST: OnceLock<Limits> = OnceLock::new();

/// Takes more descriptors for the agent than its commands get.
pub fn raise_own_descriptors() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = OWN_DESCRIPTORS.max(soft);
    // Beyond the hard limit only the machine's root may go; short of it is better
    // than nothing, and the listener waits when there are none left.
    let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(hard))
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard));
    if raised.is_ok() {
        let _ = DESCRIPTORS_AT_FIRST.set(Limits { soft, hard });
    }
}

/// As asked for; of descriptors, what the agent itself was given.
fn rlimits(exec: &Exec) -> Result<Vec<(c_int, Limits)>, Error> {
    if exec.rlimits.len() > MAX_RLIMITS {
        return Err(Error::invalid("rlimits", format!("there are more than {MAX_RLIMITS}")));
    }
    let mut all = exec.rlimits.iter().map(rlimit).collect::<Result<Vec<_>, _>>()?;
    let descriptors = libc::RLIMIT_NOFILE as c_int;
    if let Some(first) = DESCRIPTORS_AT_FIRST.get()
        && all.iter().all(|(resource, _)| *resource != descriptors)
    {
        all.push((descriptors, *first));
    }
    Ok(all)
}

/// Checks what was asked for and brings it into the kernel's form; `no_new_privs`
/// is the session's word, which no command takes back.
pub(super) fn setup(exec: &Exec, no_new_privs: bool) -> Result<Setup, Error> {
    let umask = exec.umask.unwrap_or(DEFAULT_UMASK);
    if umask > 0o777 {
        return Err(Error::invalid("umask", format!("{umask:#o} is more than 0777")));
    }
    within("nice", exec.nice, NICE)?;
    within("oom_score_adj", exec.oom_score_adj, OOM_SCORE_ADJ)?;
    Ok(Setup {
        umask,
        rlimits: rlimits(exec)?,
        capabilities: exec.capabilities.as_ref().map(capabilities::sets).transpose()?,
        no_new_privs: exec.no_new_privs || no_new_privs,
        nice: exec.nice,
        oom_score_adj: exec.oom_score_adj,
    })
}

/// A limit of nothing would be a command that cannot start.
pub(super) fn limits(asked: &CgroupLimits) -> Result<CgroupLimits, Error> {
    let is_zero = [
        ("limits.memory_bytes", asked.memory_bytes == Some(0)),
        ("limits.cpu_millis", asked.cpu_millis == Some(0)),
        ("limits.pids", asked.pids == Some(0)),
    ];
    match is_zero.into_iter().find(|(_, zero)| *zero) {
        Some((field, _)) => Err(Error::invalid(field, "it must be more than 0")),
        None => Ok(*asked),
    }
}

fn within(
    field: &str,
    value: Option<i32>,
    range: std::ops::RangeInclusive<i32>,
) -> Result<(), Error> {
    match value {
        Some(value) if !range.contains(&value) => {
            let (low, high) = range.into_inner();
            Err(Error::invalid(field, format!("{value} is not within {low} to {high}")))
        }
        _ => Ok(()),
    }
}

fn rlimit(asked: &Rlimit) -> Result<(c_int, Limits), Error> {
    let name = asked.resource.as_str();
    let found = RESOURCES.iter().find(|(known, _)| *known == name);
    let Some((_, resource)) = found else {
        let shown = name.escape_default().take(64).collect::<String>();
        return Err(Error::invalid("rlimits", format!("there is no limit \"{shown}\"")));
    };
    if asked.soft > asked.hard {
        let message = format!("{name}: the soft limit is above the hard one");
        return Err(Error::invalid("rlimits", message));
    }
    Ok((*resource, Limits { soft: asked.soft, hard: asked.hard }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_proto::Code;

    fn field(exec: &Exec) -> String {
        let error = setup(exec, false).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
        error.field.unwrap()
    }

    #[test]
    fn values_out_of_range_name_their_field() {
        let exec = Exec::default;
        assert_eq!(field(&Exec { umask: Some(0o1000), ..exec() }), "umask");
        for nice in [-21, 20, i32::MIN, i32::MAX] {
            assert_eq!(field(&Exec { nice: Some(nice), ..exec() }), "nice");
        }
        for adj in [-1001, 1001] {
            assert_eq!(field(&Exec { oom_score_adj: Some(adj), ..exec() }), "oom_score_adj");
        }
        let rlimit = |resource: &str, soft, hard| {
            let limit = Rlimit { resource: resource.to_owned(), soft, hard };
            Exec { rlimits: vec![limit], ..exec() }
        };
        assert_eq!(field(&rlimit("NOFILE", 1, 1)), "rlimits");
        assert_eq!(field(&rlimit("maxlogins", 1, 1)), "rlimits");
        assert_eq!(field(&rlimit("nofile", 2, 1)), "rlimits");
        assert_eq!(
            field(&Exec { rlimits: vec![rlimit("nofile", 1, 1).rlimits[0].clone(); 65], ..exec() }),
            "rlimits"
        );
    }

    #[test]
    fn limits_are_the_kernels_own() {
        let all = RESOURCES.map(|(name, _)| Rlimit {
            resource: name.to_owned(),
            soft: 1,
            hard: u64::MAX,
        });
        let made = setup(&Exec { rlimits: all.to_vec(), ..Exec::default() }, false).unwrap();
        let mut numbers: Vec<_> = made.rlimits.iter().map(|(n, _)| *n).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..16).collect::<Vec<_>>(), "every resource, each once");
        assert_eq!(made.umask, 0o022);
    }

    #[test]
    fn what_the_session_gives_up_no_command_has() {
        for (asked, session, is) in
            [(false, false, false), (false, true, true), (true, false, true)]
        {
            let exec = Exec { no_new_privs: asked, ..Exec::default() };
            assert_eq!(setup(&exec, session).unwrap().no_new_privs, is, "{asked} {session}");
        }
    }

    #[test]
    fn a_limit_of_nothing_is_refused() {
        let zero = CgroupLimits { pids: Some(0), ..CgroupLimits::default() };
        assert_eq!(limits(&zero).unwrap_err().field.as_deref(), Some("limits.pids"));
        assert!(limits(&CgroupLimits::default()).is_ok());
    }
}
