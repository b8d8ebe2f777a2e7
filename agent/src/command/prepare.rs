//! From what was asked for to what execve(2) takes; all checks that need no
//! process are made here.

use std::ffi::CString;
use std::time::Duration;

use bytes::Bytes;
use postern_proto::limits::{MAX_EXEC_STRINGS, MAX_ID};
use postern_proto::{CgroupLimits, Code, Error, Exec, SpawnStage};

use super::life::{KILL_GRACE, Timeout};
use super::session::Session;
use super::setup;
use crate::files::{User, UserError};
use crate::sys::setup::Setup;

/// A command that can be started.
#[derive(Debug)]
pub struct Prepared {
    pub(super) programs: Vec<CString>,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) cwd: CString,
    pub(super) user: User,
    pub(super) setup: Setup,
    pub(super) limits: CgroupLimits,
    pub(super) stdin: Bytes,
    pub(super) stdin_open: bool,
    pub(super) timeout: Timeout,
}

/// Checks the request's own form: what is wrong here never becomes a command.
pub fn check(exec: &Exec) -> Result<(), Error> {
    if exec.command_id.is_empty() || exec.command_id.len() > MAX_ID {
        return Err(Error::invalid("command_id", format!("it must have 1 to {MAX_ID} bytes")));
    }
    if exec.tty.is_some() {
        return Err(Error::invalid("tty", "terminals are not supported yet"));
    }
    if exec.argv.first().is_none_or(Bytes::is_empty) {
        return Err(bad_arguments("argv", "argv must begin with a program"));
    }
    let strings = exec.argv.iter().map(Bytes::len).sum::<usize>()
        + exec.env.iter().map(|v| v.name.len() + v.value.len() + 2).sum::<usize>();
    if strings > MAX_EXEC_STRINGS {
        return Err(bad_arguments(
            "argv",
            &format!("argv and environment have {strings} bytes, the cap is {MAX_EXEC_STRINGS}"),
        ));
    }
    for var in &exec.env {
        if var.name.is_empty() || var.name.contains(&b'=') {
            return Err(bad_arguments("env", "a name must not be empty and has no `=`"));
        }
    }
    Ok(())
}

/// Resolves user, environment, directory and program against the session.
pub fn prepare(session: &Session, exec: &Exec) -> Result<Prepared, Error> {
    check(exec)?;
    let spec = if exec.user.is_empty() { &session.image.user } else { &exec.user };
    let user = session.user_or_default(&exec.user).map_err(|e| user_error(spec, &e))?;
    let env = session.environment(exec, &user);
    let path = env.iter().rev().find(|(n, _)| n == b"PATH").map(|(_, v)| v.clone());
    let cwd = match (exec.cwd.as_str(), session.image.working_dir.as_str()) {
        ("", "") => "/",
        ("", image) => image,
        (asked, _) => asked,
    };
    if !cwd.starts_with('/') {
        return Err(
            Error::invalid("cwd", format!("{cwd} is not absolute")).with_stage(SpawnStage::BadCwd)
        );
    }
    let env = env.into_iter().map(|(n, v)| c_string("env", [n, v].join(&b'=')));
    let argv = exec.argv.iter().map(|a| c_string("argv", a.to_vec()));
    Ok(Prepared {
        programs: candidates(&exec.argv[0], path.as_deref())?,
        argv: argv.collect::<Result<_, _>>()?,
        env: env.collect::<Result<_, _>>()?,
        cwd: c_string("cwd", cwd.as_bytes().to_vec())
            .map_err(|e| e.with_stage(SpawnStage::BadCwd))?,
        user,
        setup: setup::setup(exec)?,
        limits: setup::limits(&exec.limits)?,
        stdin: exec.stdin.clone(),
        stdin_open: exec.stdin_open,
        timeout: Timeout {
            after: exec.timeout_ms.map(Duration::from_millis),
            grace: exec.kill_grace_ms.map_or(KILL_GRACE, Duration::from_millis),
        },
    })
}

impl Prepared {
    /// As it will be: for the record.
    pub fn cwd(&self) -> String {
        self.cwd.to_string_lossy().into_owned()
    }

    /// As it was resolved.
    pub fn user(&self) -> &str {
        &self.user.name
    }
}

/// Where to look for a program, as execvp(3) does; relative directories of PATH
/// are relative to the command's own cwd, as in a shell.
fn candidates(program: &Bytes, path: Option<&[u8]>) -> Result<Vec<CString>, Error> {
    if program.contains(&b'/') {
        return Ok(vec![c_string("argv", program.to_vec())?]);
    }
    path.unwrap_or(DEFAULT_PATH)
        .split(|b| *b == b':')
        .map(|dir| {
            let dir = if dir.is_empty() { b"." } else { dir };
            c_string("argv", [dir, program].join(&b'/'))
        })
        .collect()
}

/// Where the environment has none.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn c_string(field: &str, bytes: Vec<u8>) -> Result<CString, Error> {
    CString::new(bytes).map_err(|_| bad_arguments(field, "there is a NUL byte in it"))
}

fn bad_arguments(field: &str, message: &str) -> Error {
    Error::invalid(field, message).with_stage(SpawnStage::BadArguments)
}

fn user_error(spec: &str, e: &UserError) -> Error {
    Error {
        field: Some("user".to_owned()),
        ..Error::new(Code::InvalidArgument, format!("user {spec:?}: {e}"))
            .with_stage(SpawnStage::NoSuchUser)
    }
}
