//! Command ids that tell which serving process they were made for, so that a
//! command that was lost can be told from one that never was, also by a broker
//! that was started after the loss.
//!
//! ```text
//! cmd_ ┌── 18 random characters ──┐┌─ 8 of a keyed hash of them, session, instance ─┐
//! ```
//!
//! No list of ids has to be kept, and none to be written at each start.

use sha2::{Digest, Sha256};

use super::id;
use crate::store::Key;

/// 40 bits: among a session's few instances a made-up id is taken for a lost one
/// less than once in 10^10, and then gets another error than it would have.
const TAG_CHARS: usize = 8;

/// Makes and knows the command ids of one session.
#[derive(Debug)]
pub(super) struct Issued {
    key: Key,
    session: String,
}

impl Issued {
    pub(super) fn new(key: Key, session: &str) -> Self {
        Self { key, session: session.to_owned() }
    }

    /// A new id, for the serving process that was met last.
    pub(super) fn command(&self, instances: &[String]) -> String {
        let mut command = id::command();
        command.truncate(command.len() - TAG_CHARS);
        let tag = self.tag(&command, instances.last().map_or("", String::as_str));
        command.push_str(&tag);
        command
    }

    /// It was made for a serving process that is gone.
    pub(super) fn was_lost(&self, command_id: &str, instances: &[String]) -> bool {
        let Some(at) = command_id.len().checked_sub(TAG_CHARS) else { return false };
        let Some((random, tag)) = command_id.split_at_checked(at) else { return false };
        let gone = instances.split_last().map_or(&[][..], |(_now, gone)| gone);
        gone.iter().any(|instance| self.tag(random, instance) == tag)
    }

    fn tag(&self, random: &str, instance: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.key);
        for part in [self.session.as_str(), instance, random] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        id::letters(&hash.finalize()[..TAG_CHARS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instances(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn lost_is_told_from_never_was_by_any_broker_of_the_store() {
        let issued = Issued::new([7; 32], "s");
        let id = issued.command(&instances(&["a", "b"]));
        assert_eq!(id.len(), id::command().len());
        let later = Issued::new([7; 32], "s");
        assert!(!later.was_lost(&id, &instances(&["a", "b"])), "its process is there");
        assert!(later.was_lost(&id, &instances(&["a", "b", "c"])));
        assert!(later.was_lost(&id, &instances(&["b", "c", "d"])));
        assert!(!later.was_lost(&id, &instances(&["a", "c"])), "not of one of these");
        assert!(!later.was_lost(&id, &[]));
        assert!(
            !Issued::new([7; 32], "t").was_lost(&id, &instances(&["b", "c"])),
            "another session's"
        );
        assert!(
            !Issued::new([8; 32], "s").was_lost(&id, &instances(&["b", "c"])),
            "another store's"
        );
        for made_up in ["", "cmd_", "ééééééééé", &id::command()] {
            assert!(!later.was_lost(made_up, &instances(&["b", "c"])), "{made_up}");
        }
    }
}
