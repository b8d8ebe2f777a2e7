//! `Configure`: the session's settings.

use postern_proto::{Code, Configure, Error, Reply};

use crate::guest::State;

/// sethostname(2).
const MAX_HOSTNAME: usize = 64;

pub(super) fn handle(state: &State, configure: Configure) -> Result<Reply, Error> {
    check(&configure)?;
    apply(state, configure)?;
    Ok(Reply::Done)
}

pub(super) fn check(configure: &Configure) -> Result<(), Error> {
    let name = &configure.hostname;
    if name.len() > MAX_HOSTNAME || name.contains(['/', '\0']) {
        return Err(Error::invalid("hostname", format!("{name:?} is no host name")));
    }
    for var in &configure.env {
        if var.name.is_empty() || var.name.contains(&b'=') || var.name.contains(&0) {
            return Err(Error::invalid("env", "a name must not be empty and has no `=` or NUL"));
        }
    }
    Ok(())
}

/// What was checked.
pub(super) fn apply(state: &State, configure: Configure) -> Result<(), Error> {
    let name = &configure.hostname;
    if !name.is_empty() {
        nix::unistd::sethostname(name).map_err(|errno| {
            Error::new(Code::Internal, format!("setting the host name: {}", errno.desc()))
                .with_errno(errno as i32)
        })?;
    }
    state.reconfigure(configure)
}
