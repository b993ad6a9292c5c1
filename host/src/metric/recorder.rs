//! Where a shard's samples go. One per shard, never locked, emptied each second.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use super::{
    Builtin, Cell, Kind, MetricId, Name, Names, Registry, Selector, SeriesKey, Snapshot, TagSet,
};
use crate::clock::Instant;

/// A family of series whose samples are kept per second of their intended start, because a windowed
/// threshold or the report asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windowed {
    /// The metric.
    pub metric: MetricId,
    /// Which of its series.
    pub selector: Selector,
}

/// What a recorder needs to know of the plan.
#[derive(Clone, Debug)]
pub struct RecorderConfig {
    /// The run's metrics.
    pub registry: std::sync::Arc<Registry>,
    /// The run's names.
    pub names: Names,
    /// What is kept per second.
    pub windowed: Vec<Windowed>,
    /// Series beyond this number are folded into `other`.
    pub max_series: usize,
}

/// Series that a recorder finds without hashing all of their tags.
const RECENT: usize = 256;

/// The samples of one shard.
#[derive(Debug)]
pub struct Recorder {
    config: RecorderConfig,
    shard: usize,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    /// Where each series' samples go; kept over snapshots.
    slots: FxHashMap<SeriesKey, Slot>,
    /// The series that were sampled last, by [`SeriesKey::mixed`]: hashing all tags of every sample
    /// costs more than recording it.
    recent: Box<[Option<(SeriesKey, Slot)>; RECENT]>,
    /// Series with samples since the last snapshot.
    cells: Vec<Option<(SeriesKey, Cell<u32>)>>,
    /// Per-second cells of windowed series.
    seconds: FxHashMap<(u32, u32), Cell<u32>>,
    since: Instant,
    /// From where seconds count.
    origin: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    index: u32,
    windowed: bool,
    kind: Kind,
}

impl State {
    /// The second of an instant; what was before the start belongs to the first.
    fn second(&self, at: Instant) -> u32 {
        u32::try_from(at.since(self.origin).as_secs()).unwrap_or(u32::MAX)
    }
}

impl Recorder {
    /// A recorder for a shard.
    pub fn new(config: RecorderConfig, shard: usize, since: Instant) -> Self {
        let state = State {
            slots: FxHashMap::default(),
            recent: Box::new([None; RECENT]),
            cells: Vec::new(),
            seconds: FxHashMap::default(),
            since,
            origin: Instant::ZERO,
        };
        Self { config, shard, state: RefCell::new(state) }
    }

    /// Counts seconds from `start`, the start of the first scenario, so that windows begin where
    /// the load does. To be called before its first sample.
    pub fn start_at(&self, start: Instant) {
        self.state.borrow_mut().origin = start;
    }

    /// The run's metrics.
    pub fn registry(&self) -> &Registry {
        &self.config.registry
    }

    /// The run's names.
    pub fn names(&self) -> &Names {
        &self.config.names
    }

    /// Adds to a counter. `at` is the intended start of what the sample belongs to.
    pub fn add(&self, metric: MetricId, tags: TagSet, at: Instant, amount: f64) {
        self.sample(metric, tags, at, |cell| {
            if let Cell::Counter(sum) = cell {
                *sum += amount;
            }
        });
    }

    /// Samples a gauge.
    pub fn gauge(&self, metric: MetricId, tags: TagSet, at: Instant, value: f64) {
        self.sample(metric, tags, at, |cell| {
            if let Cell::Gauge(gauge) = cell {
                gauge.sample(at.as_nanos(), value);
            }
        });
    }

    /// Samples a rate.
    pub fn rate(&self, metric: MetricId, tags: TagSet, at: Instant, hit: bool) {
        self.sample(metric, tags, at, |cell| {
            if let Cell::Rate(rate) = cell {
                rate.hits += u64::from(hit);
                rate.total += 1;
            }
        });
    }

    /// Samples a trend, in the steps of its unit: nanoseconds for times.
    pub fn trend(&self, metric: MetricId, tags: TagSet, at: Instant, value: u64) {
        self.sample(metric, tags, at, |cell| {
            if let Cell::Trend(trend) = cell {
                trend.record(value);
            }
        });
    }

    /// Samples a trend with a value of which is known only that it is at least `value`.
    pub fn censored(&self, metric: MetricId, tags: TagSet, at: Instant, value: u64) {
        self.sample(metric, tags, at, |cell| {
            if let Cell::Trend(trend) = cell {
                trend.record_censored(value);
            }
        });
    }

    /// Moves out what was sampled since the last snapshot.
    pub fn take(&self, now: Instant) -> Snapshot {
        let mut state = self.state.borrow_mut();
        let mut cells = Vec::new();
        let seconds = std::mem::take(&mut state.seconds);
        let keys: Vec<_> =
            state.cells.iter().map(|cell| cell.as_ref().map(|(key, _)| *key)).collect();
        for ((index, second), cell) in seconds {
            if let Some(Some(key)) = keys.get(index as usize) {
                cells.push((*key, Some(second), cell));
            }
        }
        for (key, cell) in state.cells.iter_mut().flatten() {
            if cell.samples() == 0 || matches!(cell, Cell::Counter(sum) if *sum == 0.0) {
                continue;
            }
            let empty = Cell::empty(self.config.registry.get(key.metric).kind);
            cells.push((*key, None, std::mem::replace(cell, empty)));
        }
        let from = std::mem::replace(&mut state.since, now);
        Snapshot { shard: self.shard, from, to: now, origin: state.origin, cells }
    }

    fn sample(
        &self,
        metric: MetricId,
        tags: TagSet,
        at: Instant,
        put: impl FnOnce(&mut Cell<u32>),
    ) {
        let mut state = self.state.borrow_mut();
        let key = SeriesKey { metric, tags };
        let place = key.mixed() % RECENT;
        let slot = match state.recent[place] {
            Some((recent, slot)) if recent == key => slot,
            _ => self.find(&mut state, key, place, at),
        };
        if slot.windowed {
            let second = state.second(at);
            put(state
                .seconds
                .entry((slot.index, second))
                .or_insert_with(|| Cell::empty(slot.kind)));
        } else if let Some(Some((_, cell))) = state.cells.get_mut(slot.index as usize) {
            put(cell);
        }
    }

    /// The slot of a series that was not sampled lately.
    fn find(&self, state: &mut State, key: SeriesKey, place: usize, at: Instant) -> Slot {
        let Some(slot) = state.slots.get(&key).copied() else {
            // Not remembered: what is folded into `other` is counted each time.
            return self.open(state, key, at);
        };
        state.recent[place] = Some((key, slot));
        slot
    }

    /// Gives a new series its slot, or folds it into `other` when there are too many.
    fn open(&self, state: &mut State, key: SeriesKey, at: Instant) -> Slot {
        let kind = self.config.registry.get(key.metric).kind;
        // Checks and groups are named by the workload, which may never stop: what it declared keeps room.
        let named = key.tags.check.is_some() || key.tags.group.is_some();
        let most = self.config.max_series;
        if state.slots.len() >= if named { most - most / 4 } else { most } {
            let tags = TagSet {
                phase: key.tags.phase,
                outcome: key.tags.outcome,
                scenario: key.tags.scenario,
                extra: Name::OTHER,
                ..TagSet::default()
            };
            let folded = SeriesKey { metric: key.metric, tags };
            if key != folded {
                let slot = match state.slots.get(&folded) {
                    Some(slot) => *slot,
                    None => self.insert(state, folded, kind),
                };
                self.count_folded(state, at);
                return slot;
            }
        }
        self.insert(state, key, kind)
    }

    fn count_folded(&self, state: &mut State, at: Instant) {
        let key = SeriesKey { metric: Builtin::SeriesFolded.id(), tags: TagSet::default() };
        let slot = match state.slots.get(&key) {
            Some(slot) => *slot,
            None => self.insert(state, key, Kind::Counter),
        };
        let cell = if slot.windowed {
            let second = state.second(at);
            Some(state.seconds.entry((slot.index, second)).or_insert(Cell::Counter(0.0)))
        } else {
            state
                .cells
                .get_mut(slot.index as usize)
                .and_then(|cell| cell.as_mut().map(|cell| &mut cell.1))
        };
        if let Some(Cell::Counter(sum)) = cell {
            *sum += 1.0;
        }
    }

    fn insert(&self, state: &mut State, key: SeriesKey, kind: Kind) -> Slot {
        let windowed = self.config.windowed.iter().any(|windowed| {
            windowed.metric == key.metric
                && windowed.selector.matches(kind, &key.tags, &self.config.names)
        });
        let slot = Slot { index: state.cells.len() as u32, windowed, kind };
        state.cells.push(Some((key, Cell::empty(kind))));
        state.slots.insert(key, slot);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Totals;

    fn recorder(max_series: usize, windowed: Vec<Windowed>) -> Recorder {
        let config = RecorderConfig {
            registry: std::sync::Arc::default(),
            names: Names::default(),
            windowed,
            max_series,
        };
        Recorder::new(config, 0, Instant::ZERO)
    }

    #[test]
    fn series_beyond_the_limit_fold_into_other_and_no_sample_is_lost() {
        let recorder = recorder(4, Vec::new());
        for index in 0..100 {
            let op = recorder.names().intern(&format!("op{index}"));
            let tags = TagSet { op, ..TagSet::default() };
            recorder.trend(Builtin::BusRequestDuration.id(), tags, Instant::ZERO, 5);
        }
        let mut totals = Totals::default();
        totals.merge(&recorder.take(Instant::from_nanos(1)));
        let sum = totals.select(
            recorder.registry(),
            recorder.names(),
            Builtin::BusRequestDuration.id(),
            &Selector::default(),
        );
        assert_eq!(sum.samples(), 100);
        let folded = totals.select(
            recorder.registry(),
            recorder.names(),
            Builtin::SeriesFolded.id(),
            &Selector::default(),
        );
        assert!(matches!(folded, Cell::Counter(count) if count == 96.0));
    }

    #[test]
    fn seconds_count_from_the_start_of_the_load() {
        let windowed =
            Windowed { metric: Builtin::IterationDuration.id(), selector: Selector::default() };
        let recorder = recorder(100, vec![windowed]);
        let start = Instant::from_nanos(2_700_000_000);
        recorder.start_at(start);
        let metric = Builtin::IterationDuration.id();
        recorder.trend(metric, TagSet::default(), start, 1);
        recorder.trend(metric, TagSet::default(), Instant::from_nanos(3_699_999_999), 1);
        recorder.trend(metric, TagSet::default(), Instant::from_nanos(3_700_000_000), 1);
        let snapshot = recorder.take(Instant::from_nanos(9_000_000_000));
        let mut seconds: Vec<_> =
            snapshot.cells.iter().map(|(_, second, cell)| (*second, cell.samples())).collect();
        seconds.sort_unstable();
        assert_eq!((snapshot.origin, seconds), (start, vec![(Some(0), 2), (Some(1), 1)]));
    }

    #[test]
    fn windowed_samples_belong_to_the_second_of_their_intended_start() {
        let windowed =
            Windowed { metric: Builtin::IterationDuration.id(), selector: Selector::default() };
        let recorder = recorder(100, vec![windowed]);
        let metric = Builtin::IterationDuration.id();
        recorder.trend(metric, TagSet::default(), Instant::from_nanos(3_200_000_000), 1);
        recorder.trend(metric, TagSet::default(), Instant::from_nanos(8_100_000_000), 1);
        let snapshot = recorder.take(Instant::from_nanos(9_000_000_000));
        let mut seconds: Vec<_> = snapshot.cells.iter().map(|(_, second, _)| *second).collect();
        seconds.sort_unstable();
        assert_eq!(seconds, [Some(3), Some(8)]);
        assert!(recorder.take(Instant::from_nanos(10)).cells.is_empty());
    }
}
