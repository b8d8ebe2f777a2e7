//! How much of each layer is there.

use std::sync::{Mutex, PoisonError};

use super::super::{Digest, LayerProgress, Progress, ProgressSender};

/// Steps smaller than this are not told: nobody sees them.
const STEP: u64 = 256 << 10;

/// The layers of one pull.
#[derive(Debug)]
pub(super) struct Tally {
    layers: Mutex<Vec<LayerProgress>>,
    to: Option<ProgressSender>,
}

impl Tally {
    pub(super) fn new(layers: &[(Digest, u64)], to: Option<&ProgressSender>) -> Self {
        let layer = |(digest, size): &(Digest, u64)| LayerProgress {
            digest: digest.to_string(),
            have: 0,
            size: *size,
        };
        let layers = Mutex::new(layers.iter().map(layer).collect());
        let tally = Self { layers, to: to.cloned() };
        tally.send(&tally.layers.lock().unwrap_or_else(PoisonError::into_inner));
        tally
    }

    /// So much of one layer is there now.
    pub(super) fn tell(&self, layer: usize, have: u64) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = layers.get_mut(layer) else { return };
        if have == found.size || have.abs_diff(found.have) >= STEP {
            found.have = have;
            self.send(&layers);
        }
    }

    fn send(&self, layers: &[LayerProgress]) {
        if let Some(to) = &self.to {
            to.send_replace(Progress::Pulling(layers.into()));
        }
    }
}
