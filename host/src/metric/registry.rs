//! The metrics of a run: the built-in ones, what the workload declared, and the derived ones.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::Builtin;

/// What kind of samples a metric has, and so which aggregates it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A sum.
    Counter,
    /// Last, minimum, maximum, average, slope.
    Gauge,
    /// The share of non-zero samples.
    Rate,
    /// A distribution.
    Trend,
}

/// The unit of a metric's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Unit {
    /// A time, held in nanoseconds.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// A time, held in seconds (CPU seconds).
    #[serde(rename = "s")]
    Seconds,
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
    /// A percentage, 0 to 100 and beyond.
    #[serde(rename = "%")]
    Percent,
    /// A number of things.
    #[serde(rename = "")]
    Count,
}

impl Unit {
    /// As it is written behind a number; empty for a number of things.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::Percent => "%",
            Self::Count => "",
        }
    }

    /// What one histogram step stands for: times and bytes are whole numbers, anything else is
    /// kept in thousandths, so that a trend of small fractions is not all zeroes.
    pub const fn step(self) -> f64 {
        match self {
            Self::Nanoseconds | Self::Bytes => 1.0,
            Self::Seconds | Self::Percent | Self::Count => 0.001,
        }
    }
}

/// Index of a metric in the run's [`Registry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricId(pub u16);

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As it is written in thresholds.
    pub name: String,
    /// Which aggregates it has.
    pub kind: Kind,
    /// The unit of its samples.
    pub unit: Unit,
}

/// All metrics of a run, fixed once the plan is built.
#[derive(Clone, Debug)]
pub struct Registry {
    metrics: Vec<Metric>,
    /// What a workload's values are multiplied with, by id; 1 beyond the end.
    scales: Vec<f64>,
    by_name: HashMap<String, MetricId>,
}

impl Default for Registry {
    fn default() -> Self {
        let mut registry =
            Self { metrics: Vec::new(), scales: Vec::new(), by_name: HashMap::new() };
        for builtin in Builtin::ALL {
            registry.insert(Metric {
                name: builtin.name().to_owned(),
                kind: builtin.kind(),
                unit: builtin.unit(),
            });
        }
        registry
    }
}

impl Registry {
    /// Adds a metric; `None` if the name is taken or the table is full (65 535).
    pub fn insert(&mut self, metric: Metric) -> Option<MetricId> {
        let id = MetricId(u16::try_from(self.metrics.len()).ok()?);
        if self.by_name.contains_key(&metric.name) {
            return None;
        }
        self.by_name.insert(metric.name.clone(), id);
        self.metrics.push(metric);
        Some(id)
    }

    /// The metric of that name.
    pub fn find(&self, name: &str) -> Option<MetricId> {
        self.by_name.get(name).copied()
    }

    /// Sets what a workload's values of a metric are multiplied with: 1 000 000 for a metric that is
    /// declared in milliseconds and held in nanoseconds.
    pub fn set_scale(&mut self, id: MetricId, scale: f64) {
        let index = usize::from(id.0);
        self.scales.resize(self.scales.len().max(index + 1), 1.0);
        self.scales[index] = scale;
    }

    /// What a workload's values of a metric are multiplied with; 1 unless its declaration says else.
    pub fn scale(&self, id: MetricId) -> f64 {
        self.scales.get(usize::from(id.0)).copied().unwrap_or(1.0)
    }

    /// The metric behind an id that this registry gave out.
    pub fn get(&self, id: MetricId) -> &Metric {
        &self.metrics[usize::from(id.0)]
    }

    /// All metrics with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (MetricId, &Metric)> {
        self.metrics.iter().enumerate().map(|(index, metric)| (MetricId(index as u16), metric))
    }
}
