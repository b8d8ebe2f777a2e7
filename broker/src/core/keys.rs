//! Idempotency keys beyond the life of the agent's serving process.
//!
//! The agent knows the keys of the commands that it keeps. When its serving
//! process dies they are gone with the commands, and a retry would start a second
//! one, though the first may have run: so the broker remembers what a key was for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// The oldest key goes first: by then a retry of it is none.
const MAX_KEYS: usize = 4096;

/// The keys of one session, in memory: a broker that is started again knows them
/// from the agent as long as that lives.
#[derive(Debug, Default)]
pub(super) struct Keys(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    commands: HashMap<String, String>,
    oldest: VecDeque<String>,
}

impl Keys {
    /// The command that a key was first used for.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).commands.get(key).cloned()
    }

    /// A command may exist under this key from now on.
    pub(super) fn put(&self, key: &str, command_id: &str) {
        if key.is_empty() {
            return;
        }
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if book.commands.insert(key.to_owned(), command_id.to_owned()).is_none() {
            book.oldest.push_back(key.to_owned());
        }
        if book.oldest.len() > MAX_KEYS
            && let Some(oldest) = book.oldest.pop_front()
        {
            book.commands.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_none_is_counted_twice() {
        let keys = Keys::default();
        for n in 0..=MAX_KEYS {
            keys.put(&format!("k{n}"), "cmd");
            keys.put(&format!("k{n}"), "again");
        }
        assert_eq!((keys.get("k0"), keys.get("k1").as_deref()), (None, Some("again")));
        keys.put("", "cmd");
        assert_eq!(keys.get(""), None);
        assert_eq!(keys.0.lock().unwrap().oldest.len(), MAX_KEYS);
    }
}
