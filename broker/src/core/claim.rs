//! Who a command runs for, when that is a connection of a terminal or a viewer.
//!
//! A foreground call holds its command while it waits for it. A socket holds one
//! in the same way, but may be replaced by another that attaches to the same
//! command within the grace.

use postern_proto::OnDisconnect;

use super::abandon::Caller;
use super::{CommandInfo, Result, Session};

/// The command is wanted while this lives. Dropped, it is ended after a grace of
/// 10 s, unless somebody claims it again.
#[derive(Debug)]
pub struct Claim {
    caller: Option<Caller>,
}

impl Claim {
    /// The command is left alone: it has ended, or goes on without anybody.
    pub fn release(mut self) {
        if let Some(caller) = self.caller.take() {
            caller.done();
        }
    }
}

impl Session {
    /// Claims a command that the caller has started.
    pub fn claim(&self, command_id: &str) -> Result<Claim> {
        let caller = self.callers().enter(self.guest()?, &key(command_id), command_id);
        Ok(Claim { caller: Some(caller) })
    }

    /// Claims a command that is ended without its sockets, if it is one.
    pub fn claim_again(&self, command: &CommandInfo) -> Result<Option<Claim>> {
        if command.on_disconnect == OnDisconnect::Keep || command.state.is_final() {
            return Ok(None);
        }
        let id = &command.command_id;
        let caller = self.callers().enter_again(self.guest()?, &key(id), id);
        Ok(caller.map(|caller| Claim { caller: Some(caller) }))
    }
}

/// No caller's own key has a NUL.
fn key(command_id: &str) -> String {
    format!("\0{command_id}")
}
