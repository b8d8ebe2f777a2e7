//! Holds: what must not be pruned, and room that is promised.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::Digest;

/// Blobs that somebody uses, or is about to write.
#[derive(Debug, Clone, Default)]
pub(super) struct Holds {
    held: Arc<Mutex<HashMap<Digest, Held>>>,
}

#[derive(Debug)]
pub(super) struct Held {
    users: usize,
    /// What the blob will take, whether it is there yet or not.
    pub(super) size: u64,
}

/// Keeps blobs in the store until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    holds: Holds,
    digests: Vec<Digest>,
}

impl Holds {
    pub(super) fn take(&self, blobs: &[(Digest, u64)]) -> Hold {
        let mut held = self.now();
        for (digest, size) in blobs {
            let entry = held.entry(digest.clone()).or_insert(Held { users: 0, size: 0 });
            entry.users += 1;
            entry.size = entry.size.max(*size);
        }
        let digests = blobs.iter().map(|(digest, _)| digest.clone()).collect();
        Hold { holds: self.clone(), digests }
    }

    /// While this is there, nothing becomes held and nothing is let go.
    pub(super) fn now(&self) -> MutexGuard<'_, HashMap<Digest, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.holds.now();
        for digest in &self.digests {
            if let Some(entry) = held.get_mut(digest) {
                entry.users -= 1;
                if entry.users == 0 {
                    held.remove(digest);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_until_the_last_one_lets_go() {
        let holds = Holds::default();
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let first = holds.take(&[(a.clone(), 5), (b.clone(), 1), (a.clone(), 5)]);
        let second = holds.take(&[(a.clone(), 5)]);
        drop(first);
        assert_eq!(holds.now().keys().collect::<Vec<_>>(), [&a]);
        drop(second);
        assert!(holds.now().is_empty());
    }
}
