//! What a start that failed means to whoever asked for it.

use bytes::Bytes;
use nix::errno::Errno;
use postern_proto::{Code, Error, SpawnStage};

use crate::sys::spawn::{SpawnError, Step};

/// Something before the process ran out: descriptors, memory, cgroups.
pub(super) fn limit_error(doing: &str, errno: Errno) -> Error {
    Error::new(Code::ResourceExhausted, format!("{doing}: {}", errno.desc()))
        .with_errno(errno as i32)
        .with_stage(SpawnStage::ResourceLimit)
}

/// What a failed step means.
pub(super) fn spawn_error(e: SpawnError, program: &Bytes, cwd: &str) -> Error {
    let program = String::from_utf8_lossy(program);
    let why = e.errno.desc();
    let (code, stage, message) = match (e.step, e.errno) {
        (_, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => (
            Code::ResourceExhausted,
            SpawnStage::ResourceLimit,
            format!("starting {program}: {why}"),
        ),
        (Step::Cwd, _) => {
            (Code::InvalidArgument, SpawnStage::BadCwd, format!("entering {cwd}: {why}"))
        }
        (Step::Exec, Errno::ENOENT | Errno::ENOTDIR) => {
            (Code::InvalidArgument, SpawnStage::NotFound, format!("{program}: no such program"))
        }
        (Step::Exec, Errno::E2BIG) => {
            (Code::InvalidArgument, SpawnStage::BadArguments, format!("starting {program}: {why}"))
        }
        (Step::Exec, _) => (
            Code::InvalidArgument,
            SpawnStage::NotExecutable,
            format!("{program} cannot be executed: {why}"),
        ),
        (Step::Credentials, _) => (
            Code::PermissionDenied,
            SpawnStage::Credentials,
            format!("taking on the user's identity for {program}: {why}"),
        ),
        (Step::Capabilities | Step::NoNewPrivs, _) => (
            Code::PermissionDenied,
            SpawnStage::Credentials,
            format!("giving up rights for {program}: {why}"),
        ),
        (Step::OomScoreAdj | Step::Nice | Step::Rlimits, _) => (
            Code::PermissionDenied,
            SpawnStage::ProcessSetup,
            format!("{} for {program}: {why}", doing(e.step)),
        ),
        (Step::Terminal, _) => (
            Code::Internal,
            SpawnStage::PtySetup,
            format!("making the terminal that of {program}: {why}"),
        ),
        (Step::Clone | Step::Setup | Step::Stdio, _) => (
            Code::Internal,
            SpawnStage::ProcessSetup,
            format!("starting {program} ({:?}): {why}", e.step),
        ),
    };
    let field = field(e.step).map(str::to_owned);
    Error { field, ..Error::new(code, message).with_stage(stage).with_errno(e.errno as i32) }
}

/// What of the request a step carries out.
fn field(step: Step) -> Option<&'static str> {
    match step {
        Step::OomScoreAdj => Some("oom_score_adj"),
        Step::Nice => Some("nice"),
        Step::Terminal => Some("tty"),
        Step::Rlimits => Some("rlimits"),
        Step::Capabilities => Some("capabilities"),
        Step::NoNewPrivs => Some("no_new_privs"),
        Step::Cwd => Some("cwd"),
        _ => None,
    }
}

fn doing(step: Step) -> &'static str {
    match step {
        Step::OomScoreAdj => "setting the OOM score",
        Step::Nice => "setting the nice value",
        _ => "setting the limits",
    }
}
