//! `Resume`: what a guest cannot know after a snapshot was restored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use postern_proto::{Code, Error, Reply, Resume};

use super::configure;
use crate::guest::State;
use crate::sys::machine;

/// A reseeded pool needs so much that nobody else knows, bytes.
const MIN_ENTROPY: usize = 32;

/// A process sandbox has its host's clock. Who asks for what that says anyway has
/// it; a request is some milliseconds on its way, and a loaded host some seconds.
const HOST_CLOCK_AGREES: Duration = Duration::from_secs(10);

/// Everything or an error: a guest that goes on with another's random numbers
/// would hand out its keys. All of it is a handful of system calls.
pub(super) fn handle(state: &State, resume: Resume) -> Result<Reply, Error> {
    check(&resume)?;
    if !resume.entropy.is_empty() {
        mix(state, &resume.entropy)?;
    }
    if resume.unix_us > 0 && machine::is_ours() {
        machine::set_clock(resume.unix_us).map_err(|errno| Error {
            field: Some("unix_us".to_owned()),
            ..Error::new(Code::Internal, format!("setting the clock: {}", errno.desc()))
                .with_errno(errno as i32)
        })?;
    }
    if let Some(configure) = resume.configure {
        configure::apply(state, configure)?;
    }
    Ok(Reply::Done)
}

/// Before anything is done.
fn check(resume: &Resume) -> Result<(), Error> {
    let len = resume.entropy.len();
    if len > 0 && !(MIN_ENTROPY..=machine::MAX_ENTROPY).contains(&len) {
        let max = machine::MAX_ENTROPY;
        return Err(Error::invalid("entropy", format!("{len} bytes, not {MIN_ENTROPY} to {max}")));
    }
    if resume.unix_us > 0 && !machine::is_ours() && !is_now(resume.unix_us) {
        let message = "a process sandbox has its host's clock, which is not a guest's to set";
        return Err(Error {
            field: Some("unix_us".to_owned()),
            ..Error::new(Code::FailedPrecondition, message)
        });
    }
    resume.configure.as_ref().map_or(Ok(()), configure::check)
}

fn is_now(unix_us: u64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.abs_diff(Duration::from_micros(unix_us)) <= HOST_CLOCK_AGREES
}

fn mix(state: &State, entropy: &[u8]) -> Result<(), Error> {
    if !machine::is_ours() {
        // The host's pool was never restored from anything.
        state.console.line(format_args!("resume: entropy is left out, the pool is the host's"));
        return Ok(());
    }
    machine::add_entropy(entropy).map_err(|e| Error {
        field: Some("entropy".to_owned()),
        ..Error::new(Code::Internal, format!("reseeding the kernel's random numbers: {e}"))
            .with_errno(e.raw_os_error().unwrap_or(0))
    })
}
