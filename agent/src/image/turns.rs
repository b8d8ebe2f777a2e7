//! Whose turn it is at the tree: layers come several at once and are written in
//! order.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postern_proto::limits::LAYERS_AT_ONCE;

use super::error::{Cause, UnpackError};
use super::tree::Tree;
use super::{Limits, Unpacked};

/// How long a layer waits when no other is being written: the host has forgotten
/// the one that is due.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// The tree, and how far it is.
#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
    forgotten: Duration,
}

#[derive(Debug)]
struct State {
    /// None while a layer is being written.
    tree: Option<Tree>,
    next: u32,
    /// Layers that are on their way.
    begun: BTreeSet<u32>,
    entries: u64,
    tar_bytes: u64,
    poisoned: bool,
}

impl State {
    /// From here on nothing can be added, and nothing of the root is held open.
    fn close(&mut self) {
        self.poisoned = true;
        self.tree = None;
    }
}

impl Turns {
    pub(super) fn new(tree: Tree) -> Self {
        let (tree, begun) = (Some(tree), BTreeSet::new());
        let state = State { tree, next: 0, begun, entries: 0, tar_bytes: 0, poisoned: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), forgotten: FORGOTTEN }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A layer begins to come. One that is not expected touches nothing: the
    /// right one may still come.
    pub(super) fn begin(&self, index: u32) -> Result<(), Cause> {
        let mut state = self.state();
        if state.poisoned {
            return Err(Cause::Poisoned);
        }
        let ahead = index.checked_sub(state.next);
        if ahead.is_none_or(|ahead| ahead >= LAYERS_AT_ONCE) || !state.begun.insert(index) {
            return Err(Cause::OutOfOrder { expected: state.next, got: index });
        }
        Ok(())
    }

    /// The tree, once every layer before this one is in it, and what may still be
    /// put there.
    pub(super) fn wait(&self, index: u32, limits: Limits) -> Result<(Tree, Limits), Cause> {
        let mut state = self.state();
        loop {
            if state.poisoned {
                return Err(Cause::Poisoned);
            }
            if state.next == index
                && let Some(tree) = state.tree.take()
            {
                let entries = limits.entries - state.entries;
                let bytes = limits.bytes - state.tar_bytes;
                return Ok((tree, Limits { entries, bytes, ..limits }));
            }
            let due = state.next;
            let waited = self.changed.wait_timeout(state, self.forgotten);
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() && state.next == due && state.tree.is_some() {
                return Err(Cause::OutOfOrder { expected: due, got: index });
            }
        }
    }

    /// A layer is in.
    pub(super) fn done(&self, tree: Tree, entries: u64, tar_bytes: u64) {
        let mut state = self.state();
        let index = state.next;
        state.begun.remove(&index);
        state.tree = Some(tree);
        state.next += 1;
        state.entries += entries;
        state.tar_bytes += tar_bytes;
        self.changed.notify_all();
    }

    /// There will be no image: nobody waits for it any longer.
    pub(super) fn poison(&self) {
        self.state().close();
        self.changed.notify_all();
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.state().poisoned
    }

    /// How many layers are in.
    pub(super) fn layers(&self) -> u32 {
        self.state().next
    }

    /// No more layers will come.
    pub(super) fn finish(&self) -> Result<Unpacked, UnpackError> {
        let mut state = self.state();
        if state.poisoned || !state.begun.is_empty() {
            return Err(UnpackError { layer: state.next, cause: Cause::Poisoned });
        }
        state.close();
        Ok(Unpacked { layers: state.next, entries: state.entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Root;

    fn turns() -> (tempfile::TempDir, Turns) {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(Root::open(dir.path()).unwrap());
        (dir, Turns::new(tree))
    }

    #[test]
    fn one_that_is_too_far_ahead_behind_or_twice_touches_nothing() {
        let (_dir, turns) = turns();
        turns.begin(0).unwrap();
        turns.begin(LAYERS_AT_ONCE - 1).unwrap();
        for wrong in [0, LAYERS_AT_ONCE, u32::MAX] {
            let error = turns.begin(wrong).unwrap_err();
            assert!(matches!(error, Cause::OutOfOrder { expected: 0, .. }), "{wrong}: {error}");
        }
        let (tree, _) = turns.wait(0, Limits::default()).unwrap();
        turns.done(tree, 1, 1);
        turns.begin(1).unwrap();
        assert!(matches!(turns.begin(0), Err(Cause::OutOfOrder { expected: 1, got: 0 })));
    }

    #[test]
    fn limits_count_over_all_layers() {
        let (_dir, turns) = turns();
        turns.begin(0).unwrap();
        turns.begin(1).unwrap();
        let limits = Limits { entries: 10, bytes: 100, ..Limits::default() };
        let (tree, left) = turns.wait(0, limits).unwrap();
        assert_eq!((left.entries, left.bytes), (10, 100));
        turns.done(tree, 4, 90);
        let (tree, left) = turns.wait(1, limits).unwrap();
        assert_eq!((left.entries, left.bytes), (6, 10));
        turns.done(tree, 6, 10);
        assert_eq!(turns.finish().unwrap(), Unpacked { layers: 2, entries: 10 });
    }

    #[test]
    fn a_layer_that_waits_is_told_when_there_will_be_no_image() {
        let (_dir, turns) = turns();
        turns.begin(1).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| turns.wait(1, Limits::default()).map(drop));
            turns.poison();
            assert!(matches!(waiting.join().unwrap(), Err(Cause::Poisoned)));
        });
    }

    #[test]
    fn a_layer_does_not_wait_for_ever_for_one_that_never_comes() {
        let (_dir, mut turns) = turns();
        turns.forgotten = Duration::from_millis(10);
        turns.begin(1).unwrap();
        let error = turns.wait(1, Limits::default()).map(drop).unwrap_err();
        assert!(matches!(error, Cause::OutOfOrder { expected: 0, got: 1 }));
    }
}
