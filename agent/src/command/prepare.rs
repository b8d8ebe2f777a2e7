//! From what was asked for to what execve(2) takes; all checks that need no
//! process are made here.

use std::ffi::CString;
use std::time::Duration;

use bytes::Bytes;
use postern_proto::limits::{MAX_EXEC_STRINGS, MAX_ID};
use postern_proto::{CgroupLimits, Code, Error, Exec, SpawnStage, TtySize};

use super::life::{KILL_GRACE, Timeout};
use super::session::Session;
use super::setup;
use super::terminal::check_size;
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
    pub(super) tty: Option<TtySize>,
    pub(super) login: bool,
    pub(super) stdin: Bytes,
    pub(super) stdin_open: bool,
    pub(super) timeout: Timeout,
}

/// Checks the request's own form: what is wrong here never becomes a command.
pub fn check(exec: &Exec) -> Result<(), Error> {
    if exec.command_id.is_empty() || exec.command_id.len() > MAX_ID {
        return Err(Error::invalid("command_id", format!("it must have 1 to {MAX_ID} bytes")));
    }
    if let Some(size) = exec.tty {
        check_size("tty", size)?;
    }
    if !exec.login_shell && exec.argv.first().is_none_or(Bytes::is_empty) {
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
    if exec.stop_signal.is_some_and(|signal| !(1..=MAX_SIGNAL).contains(&signal)) {
        return Err(Error::invalid("stop_signal", format!("it must be 1 to {MAX_SIGNAL}")));
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
    let mut env = session.environment(exec, &user);
    if exec.tty.is_some() && !env.iter().any(|(n, _)| n == b"TERM") {
        env.push((b"TERM".to_vec(), DEFAULT_TERM.to_vec()));
    }
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
    let mut argv = Vec::new();
    let programs = match exec.argv.first() {
        _ if exec.login_shell => {
            argv.push(login_name(&user.shell)?);
            login_shells(&user.shell)?
        }
        Some(program) => candidates(program, path.as_deref())?,
        None => Vec::new(),
    };
    for argument in &exec.argv {
        argv.push(c_string("argv", argument.to_vec())?);
    }
    Ok(Prepared {
        programs,
        argv,
        env: env.collect::<Result<_, _>>()?,
        cwd: c_string("cwd", cwd.as_bytes().to_vec())
            .map_err(|e| e.with_stage(SpawnStage::BadCwd))?,
        user,
        setup: setup::setup(exec, session.no_new_privs)?,
        limits: setup::limits(&exec.limits)?,
        tty: exec.tty,
        login: exec.login_shell,
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

/// The user's own, and the one that every image has where that is missing.
fn login_shells(shell: &str) -> Result<Vec<CString>, Error> {
    [shell, "/bin/sh"].into_iter().map(|path| c_string("user", path.into())).collect()
}

/// A shell with a dash before its name reads its profile, as login(1) has it.
fn login_name(shell: &str) -> Result<CString, Error> {
    let name = shell.rsplit('/').next().unwrap_or_default();
    c_string("user", format!("-{name}").into())
}

/// SIGRTMAX of Linux.
const MAX_SIGNAL: u32 = 64;

/// What a terminal is taken for where nobody says; the ones of today all are.
const DEFAULT_TERM: &[u8] = b"xterm-256color";

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
