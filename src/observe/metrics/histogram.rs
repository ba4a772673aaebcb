//! How long things took.

use std::fmt;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::family::Value;

/// Microseconds. OpenTelemetry's for `http.server.request.duration`, and before them 1 ms: most of what a gateway does takes
/// less.
const BOUNDS_US: [u64; 15] = [
    1_000, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000, 5_000_000,
    7_500_000, 10_000_000,
];
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Durations, by how long they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_us: u64,
}

impl Histogram {
    /// One more.
    pub(super) fn observe(&mut self, duration_us: u64) {
        self.counts[BOUNDS_US.partition_point(|bound| *bound < duration_us)] += 1;
        self.sum_us = self.sum_us.saturating_add(duration_us);
    }

    /// All of another one.
    pub(super) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts == [0; BUCKETS]
    }
}

impl Value for Histogram {
    const KIND: MetricType = MetricType::Histogram;

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS_US.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.counts).collect();
        encoder.encode_histogram::<NoLabelSet>(seconds(self.sum_us), self.counts.iter().sum(), &buckets, None)
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_is_long_enough() {
        let mut histogram = Histogram::default();
        for us in [0, 1_000, 1_001, 10_000_000, 10_000_001, u64::MAX] {
            histogram.observe(us);
        }
        let mut expected = [0; BUCKETS];
        (expected[0], expected[1], expected[14], expected[15]) = (2, 1, 1, 2);
        assert_eq!((histogram.counts, histogram.sum_us), (expected, u64::MAX));
        let mut sum = Histogram::default();
        sum.observe(1);
        sum.add(&histogram);
        assert_eq!(sum.counts.iter().sum::<u64>(), 7);
    }
}
