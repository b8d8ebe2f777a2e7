//! Samples and what is told of them.

use std::time::{Duration, Instant};

/// Times of one operation, in seconds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64());
    }

    /// Runs and times `work`.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let value = work();
        self.push(begun.elapsed());
        value
    }

    pub(crate) fn p50(&self) -> f64 {
        self.at(0.50)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.at(0.99)
    }

    /// The median of what each sample is to the one of the same round: drift of
    /// the machine from round to round falls out.
    pub(crate) fn ratio_to(&self, other: &Self) -> f64 {
        Self(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect()).p50()
    }

    fn at(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let index = (sorted.len() as f64 * part) as usize;
        sorted.get(index.min(last)).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let mut samples = Samples::default();
        for ms in (1..=100).rev() {
            samples.push(Duration::from_millis(ms));
        }
        assert_eq!(samples.p50(), 0.051);
        assert_eq!(samples.p99(), 0.100);
        assert!(Samples::default().p50().is_nan());
        assert_eq!(samples.ratio_to(&samples), 1.0);
    }
}
