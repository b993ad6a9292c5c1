//! The samples that windowed thresholds still need, in bounded memory.
//!
//! Windows are made of whole seconds from the start of the first scenario; a length that is no whole
//! number of seconds is taken as the next one. A sample belongs to the second of its intended start,
//! and may arrive long after it (an operation that took a minute), so nothing is closed early:
//! `over first`, `after` are one set of samples; `over last` keeps its length and a minute; `each`
//! keeps every window open, as a few kilobytes each. Beyond [`MAX_OPEN`] windows or [`MAX_BUCKETS`]
//! histogram buckets the oldest is reduced to its figure, of which the most extreme are kept; a
//! sample that arrives later than that is counted, and the threshold is insufficient rather than wrong.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::{
    routes::Routes,
    samples::{Figure, Samples},
};
use crate::{
    clock::Instant,
    metric::{MetricId, Names, Registry, Selector, SeriesKey, Snapshot},
    plan::threshold::{Aggregate, Window},
};

/// Windows of one `each` that stay open.
pub(super) const MAX_OPEN: usize = 10_000;
/// Histogram buckets that the open windows of one `each` may hold together (some 30 MB).
const MAX_BUCKETS: usize = 1_000_000;
/// Seconds that `over last` keeps beyond its length, for a run whose load ends before its last sample.
const LAST_SLACK: u32 = 60;
/// Per-second cells held back until the start of the run is known.
const MAX_PENDING: usize = 65_536;

/// What a windowed figure is taken of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Need {
    pub(super) metric: MetricId,
    pub(super) selector: Selector,
    pub(super) window: Window,
    pub(super) aggregate: Aggregate,
}

/// A figure of one window, or of the whole run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct View {
    /// `None`: nothing was measured in it.
    pub(super) figure: Option<Figure>,
    /// The number of the window, of `each`.
    pub(super) index: Option<u32>,
}

/// What a window was found to hold.
#[derive(Debug, Default)]
pub(super) struct Views {
    pub(super) views: Vec<View>,
    /// Samples that arrived for a window that had been closed.
    pub(super) late: u64,
}

/// All windows of a plan.
#[derive(Debug, Default)]
pub(super) struct Windows {
    kept: Vec<(Need, Kept)>,
    /// Which of them a series belongs to.
    routes: Routes,
    start: Option<Instant>,
    /// Cells that arrived before the start was known, with the start of their second.
    pending: VecDeque<(SeriesKey, Instant, Samples)>,
}

#[derive(Debug)]
enum Kept {
    /// `over first`, `after`
    One(Samples),
    /// `over last`: the latest seconds
    Latest(BTreeMap<u32, Samples>),
    /// `each`
    Each(Box<Each>),
}

#[derive(Debug, Default)]
struct Each {
    open: BTreeMap<u32, Samples>,
    buckets: usize,
    /// Windows before this one are closed.
    closed: u32,
    extremes: Vec<View>,
    empty: Option<View>,
    late: u64,
}

/// A length in whole seconds, at least one.
pub(super) fn whole_seconds(length: Duration) -> u32 {
    let up = u32::from(length.subsec_nanos() > 0);
    u32::try_from(length.as_secs()).unwrap_or(u32::MAX).saturating_add(up).max(1)
}

impl Windows {
    /// Room for these figures.
    pub(super) fn new(needs: Vec<Need>, registry: &Registry) -> Self {
        let mut kept: Vec<(Need, Kept)> = Vec::new();
        for need in needs {
            if kept.iter().any(|(known, _)| *known == need) {
                continue;
            }
            let room = match need.window {
                Window::First(_) | Window::After(_) => {
                    Kept::One(Samples::empty(registry.get(need.metric).kind))
                }
                Window::Last(_) => Kept::Latest(BTreeMap::new()),
                Window::Each(_) => Kept::Each(Box::default()),
            };
            kept.push((need, room));
        }
        Self { kept, ..Self::default() }
    }

    /// From when windows count.
    pub(super) fn begin(&mut self, start: Instant, registry: &Registry) {
        if self.start.is_some() {
            return;
        }
        self.start = Some(start);
        for (key, at, samples) in std::mem::take(&mut self.pending) {
            self.put(start, key, at, &samples, registry);
        }
    }

    /// Takes the per-second cells of a snapshot.
    pub(super) fn observe(&mut self, snapshot: &Snapshot, registry: &Registry, names: &Names) {
        if self.kept.is_empty() {
            return;
        }
        for (key, second, cell) in &snapshot.cells {
            let Some(second) = second else { continue };
            let kind = registry.get(key.metric).kind;
            let watched = self.kept.iter().map(|(need, _)| (need.metric, &need.selector));
            if self.routes.find(key, kind, watched, names).is_empty() {
                continue;
            }
            let at = snapshot.origin + Duration::from_secs(u64::from(*second));
            let samples = Samples::of(cell);
            match self.start {
                Some(start) => self.put(start, *key, at, &samples, registry),
                None if self.pending.len() < MAX_PENDING => {
                    self.pending.push_back((*key, at, samples));
                }
                // A run without a start is none; what it measured first is taken as its beginning.
                None => self.begin(self.pending.front().map_or(at, |first| first.1), registry),
            }
        }
    }

    fn put(
        &mut self,
        start: Instant,
        key: SeriesKey,
        at: Instant,
        samples: &Samples,
        registry: &Registry,
    ) {
        let second = u32::try_from(at.since(start).as_secs()).unwrap_or(u32::MAX);
        let metric = registry.get(key.metric);
        for index in self.routes.known(&key) {
            let Some((need, kept)) = self.kept.get_mut(*index) else { continue };
            match (kept, need.window) {
                (Kept::One(all), Window::First(length)) if second < whole_seconds(length) => {
                    all.add(samples);
                }
                (Kept::One(all), Window::After(length)) if second >= whole_seconds(length) => {
                    all.add(samples);
                }
                (Kept::Latest(seconds), Window::Last(length)) => {
                    merge(seconds, second, samples);
                    let newest = seconds.keys().next_back().copied().unwrap_or(second);
                    let keep = whole_seconds(length).saturating_add(LAST_SLACK);
                    *seconds = seconds.split_off(&newest.saturating_sub(keep));
                }
                (Kept::Each(each), Window::Each(length)) => {
                    let length = whole_seconds(length);
                    let figure = |samples: &Samples| {
                        samples.figure(need.aggregate, metric.unit.step(), f64::from(length))
                    };
                    let empty = Samples::empty(metric.kind);
                    each.put(second / length, samples, (MAX_OPEN, MAX_BUCKETS), &empty, figure);
                }
                _ => {}
            }
        }
    }

    /// The figures of a window, for a run that has lasted `end`; none if it was not asked for.
    pub(super) fn views(&self, need: &Need, end: Duration, registry: &Registry) -> Views {
        let Some((_, kept)) = self.kept.iter().find(|(known, _)| known == need) else {
            return Views::default();
        };
        let metric = registry.get(need.metric);
        let elapsed = end.as_secs_f64();
        let figure = |samples: &Samples, seconds| {
            samples.figure(need.aggregate, metric.unit.step(), seconds)
        };
        let one = |figure| Views { views: vec![View { figure, index: None }], late: 0 };
        match (kept, need.window) {
            (Kept::One(all), Window::First(length)) => {
                one(figure(all, f64::from(whole_seconds(length)).min(elapsed)))
            }
            (Kept::One(all), Window::After(length)) => {
                one(figure(all, elapsed - f64::from(whole_seconds(length))))
            }
            (Kept::Latest(seconds), Window::Last(length)) => {
                let length = whole_seconds(length);
                let from = whole_seconds(end).saturating_sub(length);
                let mut sum = Samples::empty(metric.kind);
                seconds.range(from..).for_each(|(_, samples)| sum.add(samples));
                one(figure(&sum, f64::from(length).min(elapsed)))
            }
            (Kept::Each(each), Window::Each(length)) => {
                let length = whole_seconds(length);
                // The load of a run that should last N windows may end a moment early.
                let full = ((elapsed + 0.05) / f64::from(length)).floor() as u32;
                let mut views = each.extremes.clone();
                views.extend(each.empty);
                views.extend((each.closed..full).map(|index| {
                    let empty = Samples::empty(metric.kind);
                    let samples = each.open.get(&index).unwrap_or(&empty);
                    View { figure: figure(samples, f64::from(length)), index: Some(index) }
                }));
                Views { views, late: each.late }
            }
            _ => Views::default(),
        }
    }
}

fn merge(into: &mut BTreeMap<u32, Samples>, index: u32, samples: &Samples) {
    match into.get_mut(&index) {
        Some(mine) => mine.add(samples),
        None => drop(into.insert(index, samples.clone())),
    }
}

impl Each {
    fn put(
        &mut self,
        index: u32,
        samples: &Samples,
        (max_open, max_buckets): (usize, usize),
        empty: &Samples,
        figure: impl Fn(&Samples) -> Option<Figure>,
    ) {
        if index < self.closed {
            self.late += samples
                .figure(Aggregate::Count, 1.0, 1.0)
                .map_or(1, |figure| figure.samples.saturating_add(figure.censored).max(1));
            return;
        }
        let before = self.open.get(&index).map_or(0, Samples::buckets);
        merge(&mut self.open, index, samples);
        let after = self.open.get(&index).map_or(0, Samples::buckets);
        self.buckets = self.buckets + after - before;
        while self.open.len() > 2
            && (self.open.len() > max_open || self.buckets > max_buckets)
            && let Some((index, samples)) = self.open.pop_first()
        {
            self.buckets -= samples.buckets();
            if index > self.closed {
                self.keep(View { figure: figure(empty), index: Some(self.closed) });
            }
            self.keep(View { figure: figure(&samples), index: Some(index) });
            self.closed = index + 1;
        }
    }

    /// Keeps a closed window if it is the most extreme in some way that could decide a threshold; of
    /// those without samples the first is enough.
    fn keep(&mut self, view: View) {
        if view.figure.is_none() {
            self.empty.get_or_insert(view);
            return;
        }
        self.extremes.push(view);
        let keys: [fn(&Figure) -> f64; 5] = [
            |figure| figure.low,
            |figure| -figure.low,
            |figure| figure.high,
            |figure| -figure.high,
            |figure| (figure.samples + figure.censored) as f64,
        ];
        let least = keys.map(|key| {
            let by = |view: &View| view.figure.as_ref().map_or(f64::INFINITY, key);
            (0..self.extremes.len())
                .min_by(|a, b| by(&self.extremes[*a]).total_cmp(&by(&self.extremes[*b])))
        });
        let mut index = 0;
        self.extremes.retain(|_| {
            index += 1;
            least.contains(&Some(index - 1))
        });
    }
}
