//! Which command ids this broker gave out, so that a command that was lost can
//! be told from one that never was.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// As many as an agent keeps, with room; about half a megabyte at the most.
const KEPT: usize = 4096;

/// Ids, each with the count of agent restarts at which it was given out.
#[derive(Debug, Default)]
pub(super) struct Issued {
    ids: Mutex<(HashMap<String, u64>, VecDeque<String>)>,
}

impl Issued {
    pub(super) fn add(&self, command_id: &str, restarts: u64) {
        let mut guard = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let (map, order) = &mut *guard;
        if order.len() >= KEPT
            && let Some(oldest) = order.pop_front()
        {
            map.remove(&oldest);
        }
        if map.insert(command_id.to_owned(), restarts).is_none() {
            order.push_back(command_id.to_owned());
        }
    }

    /// It was started by a serving process that is gone.
    pub(super) fn was_lost(&self, command_id: &str, restarts: u64) -> bool {
        let guard = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        guard.0.get(command_id).is_some_and(|then| *then < restarts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_is_told_from_never_was_and_the_table_ends() {
        let issued = Issued::default();
        issued.add("a", 0);
        assert!(!issued.was_lost("a", 0));
        assert!(issued.was_lost("a", 1));
        assert!(!issued.was_lost("b", 1));
        for n in 0..KEPT {
            issued.add(&n.to_string(), 1);
        }
        assert!(!issued.was_lost("a", 2));
        assert_eq!(issued.ids.lock().unwrap().0.len(), KEPT);
    }
}
