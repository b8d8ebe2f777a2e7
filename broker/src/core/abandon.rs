//! Commands whose caller went away.
//!
//! A foreground command with `on_disconnect: kill` is ended after a grace,
//! unless a call with the same idempotency key has taken it over meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_proto::SignalScope;

use crate::guest::Guest;

/// In which a retry takes the command over.
const GRACE: Duration = Duration::from_secs(10);

/// Between TERM and KILL.
const KILL_AFTER: Duration = Duration::from_secs(5);

const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;

/// The callers of one session, by idempotency key.
#[derive(Debug, Default)]
pub(super) struct Callers {
    by_key: Mutex<HashMap<String, Key>>,
    /// Commands of this broker's own callers, while it does not know yet which
    /// others there are in a sandbox that it took over.
    met: Mutex<Option<HashSet<String>>>,
}

#[derive(Debug, Default)]
struct Key {
    live: usize,
    /// Graces that run.
    pending: usize,
    /// Counts calls: a grace that began before the last one is void.
    call: u64,
}

impl Callers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Key>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn met(&self) -> MutexGuard<'_, Option<HashSet<String>>> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session was taken over: [`Callers::left_behind`] follows.
    pub(super) fn adopting(&self) {
        *self.met() = Some(HashSet::new());
    }

    /// These commands run and are to be killed without their callers, who died
    /// with an earlier broker. Whoever came to this one counts as usual.
    pub(super) fn left_behind(
        self: &Arc<Self>,
        guest: &Guest,
        commands: impl Iterator<Item = (String, String)>,
    ) {
        let met = self.met().take().unwrap_or_default();
        for (command_id, key) in commands {
            if met.contains(&command_id) || !self.wait_for_a_first_call(&key) {
                continue;
            }
            tokio::spawn(after_grace(self.clone(), guest.clone(), key, 0, command_id));
        }
    }

    /// False if one has come.
    fn wait_for_a_first_call(&self, key: &str) -> bool {
        if key.is_empty() {
            return true;
        }
        let mut keys = self.lock();
        let state = keys.entry(key.to_owned()).or_default();
        state.pending += usize::from(state.call == 0);
        state.call == 0
    }

    /// Notes a caller. While the guard lives the command is wanted; dropped
    /// without [`Caller::done`], the caller went away.
    pub(super) fn enter(self: &Arc<Self>, guest: Guest, key: &str, command_id: &str) -> Caller {
        if !key.is_empty() {
            let mut keys = self.lock();
            let state = keys.entry(key.to_owned()).or_default();
            state.live += 1;
            state.call += 1;
        }
        if let Some(met) = &mut *self.met() {
            met.insert(command_id.to_owned());
        }
        Caller {
            callers: self.clone(),
            guest: Some(guest),
            key: key.to_owned(),
            command_id: command_id.to_owned(),
        }
    }

    /// Another caller of a command that has one, or had one until now.
    pub(super) fn enter_again(
        self: &Arc<Self>,
        guest: Guest,
        key: &str,
        command_id: &str,
    ) -> Option<Caller> {
        let known = self.lock().contains_key(key) || self.met().is_some();
        known.then(|| self.enter(guest, key, command_id))
    }

    /// The caller's number, and that it is gone; it stays counted as pending.
    fn leave(&self, key: &str, pending: bool) -> u64 {
        let mut keys = self.lock();
        let Some(state) = keys.get_mut(key) else { return 0 };
        state.live = state.live.saturating_sub(1);
        state.pending += usize::from(pending);
        let call = state.call;
        if state.live == 0 && state.pending == 0 {
            keys.remove(key);
        }
        call
    }

    /// After the grace: whether nobody came in the meantime.
    fn still_alone(&self, key: &str, call: u64) -> bool {
        let mut keys = self.lock();
        let Some(state) = keys.get_mut(key) else { return true };
        state.pending = state.pending.saturating_sub(1);
        let alone = state.live == 0 && state.call == call;
        if state.live == 0 && state.pending == 0 {
            keys.remove(key);
        }
        alone
    }
}

/// One caller of one command.
#[derive(Debug)]
pub(super) struct Caller {
    callers: Arc<Callers>,
    /// None once the caller has its answer.
    guest: Option<Guest>,
    key: String,
    command_id: String,
}

impl Caller {
    /// The command turned out to be another one, of the same key.
    pub(super) fn is_about(&mut self, command_id: &str) {
        if self.command_id != command_id {
            command_id.clone_into(&mut self.command_id);
        }
    }

    /// The caller has what it came for.
    pub(super) fn done(mut self) {
        self.guest = None;
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let gone = self.guest.take();
        let call = self.callers.leave(&self.key, gone.is_some());
        let (Some(guest), Ok(runtime)) = (gone, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (callers, key) = (self.callers.clone(), std::mem::take(&mut self.key));
        let command_id = std::mem::take(&mut self.command_id);
        runtime.spawn(after_grace(callers, guest, key, call, command_id));
    }
}

async fn after_grace(
    callers: Arc<Callers>,
    guest: Guest,
    key: String,
    call: u64,
    command_id: String,
) {
    tokio::time::sleep(GRACE).await;
    if callers.still_alone(&key, call) {
        end(&guest, &command_id).await;
    }
}

async fn end(guest: &Guest, command_id: &str) {
    for signal in [SIGTERM, SIGKILL] {
        match guest.signal(command_id, signal, SignalScope::Tree).await {
            Ok(true) => tracing::debug!(command_id, signal, "its caller went away"),
            // It has ended, or never was.
            Ok(false) => return,
            Err(error) => {
                tracing::debug!(command_id, %error, "an abandoned command was not signalled");
                return;
            }
        }
        let ended = guest.wait(command_id, false, Some(KILL_AFTER)).await;
        if ended.is_ok_and(|info| info.state.is_final()) {
            return;
        }
    }
}
