//! A metric with its series: as many as may be, and one for all that come beyond them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use smallvec::SmallVec;

use super::PREFIX;

/// What every label of the series says that counts what is beyond `metrics.series_max`.
const OTHER: &str = "_other";

/// The values of a series' labels, in the order of their names.
pub type Labels = SmallVec<[Cow<'static, str>; 3]>;

/// [`Labels`] with these values.
macro_rules! labels {
    ($($value:expr),*) => {
        smallvec::smallvec![$(std::borrow::Cow::from($value)),*]
    };
}
pub(crate) use labels;

/// What a series has.
pub trait Value: Default {
    /// As the formats call it.
    const KIND: MetricType;

    /// Writes it behind its name and labels.
    ///
    /// # Errors
    /// The encoder's own.
    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result;
}

/// A value that goes up and down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauge(pub f64);

/// A value that only its labels tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Info;

impl Value for u64 {
    const KIND: MetricType = MetricType::Counter;

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, f64>(self, None)
    }
}

impl Value for Gauge {
    const KIND: MetricType = MetricType::Gauge;

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.0)
    }
}

impl Value for Info {
    const KIND: MetricType = MetricType::Info;

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let none: &[(&str, &str)] = &[];
        encoder.encode_info(&none)
    }
}

/// A metric. Its name is without what the formats add to it: `keyward_`, and `_total` or `_info`.
#[derive(Debug)]
pub struct Family<V> {
    name: &'static str,
    help: &'static str,
    names: &'static [&'static str],
    series: BTreeMap<Labels, V>,
    other: Option<V>,
    told: bool,
}

impl<V: Value> Family<V> {
    /// One without series; `names` are those of its labels.
    pub const fn new(name: &'static str, help: &'static str, names: &'static [&'static str]) -> Self {
        Self { name, help, names, series: BTreeMap::new(), other: None, told: false }
    }

    /// The series with these labels. It gets its place if there are fewer than `max`; else it is one with all others.
    pub fn at(&mut self, labels: Labels, max: usize) -> &mut V {
        if self.series.len() >= max && !self.series.contains_key(&labels) {
            self.tell(max);
            return self.other.get_or_insert_default();
        }
        self.series.entry(labels).or_default()
    }

    /// The first that is beyond them is worth a line, and no other.
    fn tell(&mut self, max: usize) {
        if !std::mem::replace(&mut self.told, true) {
            let metric = format!("{PREFIX}_{}", self.name);
            tracing::warn!(event = "metrics_overflow", metric = metric.as_str(), series_max = max as u64);
        }
    }

    /// Forgets every series.
    pub fn clear(&mut self) {
        self.retain(|_| false);
    }

    /// Forgets every series whose first label is not to be `kept`.
    pub(super) fn retain(&mut self, kept: impl Fn(&str) -> bool) {
        self.series.retain(|labels, _| labels.first().is_none_or(|first| kept(first)));
        if self.series.is_empty() {
            self.other = None;
        }
    }

    /// Every series; nothing at all if there is none.
    ///
    /// # Errors
    /// The encoder's own.
    pub fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if self.series.is_empty() && self.other.is_none() {
            return Ok(());
        }
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, V::KIND)?;
        for (values, value) in &self.series {
            self.encode_one(&mut metric, values.iter().map(|value| &**value), value)?;
        }
        match &self.other {
            Some(other) => self.encode_one(&mut metric, std::iter::repeat(OTHER), other),
            None => Ok(()),
        }
    }

    fn encode_one<'v>(
        &self,
        metric: &mut MetricEncoder<'_>,
        values: impl Iterator<Item = &'v str>,
        value: &V,
    ) -> fmt::Result {
        let pairs: SmallVec<[(&str, &str); 3]> = self.names.iter().copied().zip(values).collect();
        value.encode(&mut metric.encode_family(&pairs.as_slice())?)
    }
}

impl Family<u64> {
    /// Adds to a series that is never one too many: its labels are words of ours.
    pub fn add(&mut self, labels: Labels, more: u64) {
        *self.at(labels, usize::MAX) += more;
    }

    /// Has these series from the begin, so that nobody has to wait for the first of its kind to see that there is none.
    pub(super) fn beginning_with(mut self, series: impl IntoIterator<Item = Labels>) -> Self {
        series.into_iter().for_each(|labels| self.add(labels, 0));
        self
    }
}

impl Family<Gauge> {
    /// Sets a series that is never one too many: its labels are of the configuration.
    pub fn set(&mut self, labels: Labels, value: f64) {
        *self.at(labels, usize::MAX) = Gauge(value);
    }
}
