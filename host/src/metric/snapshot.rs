//! What a shard measured in an interval, and what all of them measured in all of it.

use rustc_hash::FxHashMap;

use super::{Cell, MetricId, Names, Registry, Selector, SeriesKey};
use crate::clock::Instant;

/// The samples of one shard in one interval.
#[derive(Debug)]
pub struct Snapshot {
    /// The shard.
    pub shard: usize,
    /// Start of the interval.
    pub from: Instant,
    /// End of the interval.
    pub to: Instant,
    /// From where the seconds of `cells` count.
    pub origin: Instant,
    /// Each series; with the second of their intended start where that is kept apart (a series is
    /// either always split into seconds or never).
    pub cells: Vec<(SeriesKey, Option<u32>, Cell<u32>)>,
}

/// The samples of a whole run, or of any part of it.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    cells: FxHashMap<SeriesKey, Cell<u64>>,
}

impl Totals {
    /// Adds an interval of a shard.
    pub fn merge(&mut self, snapshot: &Snapshot) {
        for (key, _, cell) in &snapshot.cells {
            self.merge_cell(*key, cell);
        }
    }

    /// Adds the samples of one series.
    pub fn merge_cell<W: hdrhistogram::Counter>(&mut self, key: SeriesKey, cell: &Cell<W>) {
        match self.cells.get_mut(&key) {
            Some(mine) => mine.merge(cell),
            None => {
                let mut mine = match cell {
                    Cell::Counter(_) => Cell::Counter(0.0),
                    Cell::Gauge(_) => Cell::Gauge(super::Gauge::default()),
                    Cell::Rate(_) => Cell::Rate(super::Rate::default()),
                    Cell::Trend(_) => Cell::Trend(Box::default()),
                };
                mine.merge(cell);
                self.cells.insert(key, mine);
            }
        }
    }

    /// All series of a metric that a selector matches, as one; empty if there is none.
    pub fn select(
        &self,
        registry: &Registry,
        names: &Names,
        metric: MetricId,
        selector: &Selector,
    ) -> Cell<u64> {
        let kind = registry.get(metric).kind;
        let mut sum = Cell::empty(kind);
        for (key, cell) in &self.cells {
            if key.metric == metric && selector.matches(kind, &key.tags, names) {
                sum.merge(cell);
            }
        }
        sum
    }

    /// Each series, in a stable order.
    pub fn series(&self) -> Vec<(SeriesKey, &Cell<u64>)> {
        let mut series: Vec<_> = self.cells.iter().map(|(key, cell)| (*key, cell)).collect();
        series.sort_by_key(|(key, _)| *key);
        series
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}
