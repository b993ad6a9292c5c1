//! Which of several watchers a series is for: a selector is held against its tags once, and not with every
//! second that it has samples in.

use rustc_hash::FxHashMap;

use crate::metric::{Kind, MetricId, Names, Selector, SeriesKey};

/// By series, the places of the watchers that it is for.
#[derive(Debug, Default)]
pub(super) struct Routes(FxHashMap<SeriesKey, Box<[usize]>>);

impl Routes {
    /// The places of those that a series of that kind is for, among watchers whose order never changes.
    pub(super) fn find<'a>(
        &mut self,
        key: &SeriesKey,
        kind: Kind,
        watched: impl Iterator<Item = (MetricId, &'a Selector)>,
        names: &Names,
    ) -> &[usize] {
        self.0.entry(*key).or_insert_with(|| {
            let fits = |(metric, selector): &(MetricId, &Selector)| {
                *metric == key.metric && selector.matches(kind, &key.tags, names)
            };
            let fitting = watched.enumerate().filter(|(_, watcher)| fits(watcher));
            fitting.map(|(place, _)| place).collect()
        })
    }

    /// The same, of a series that was asked for before; none of any other.
    pub(super) fn known(&self, key: &SeriesKey) -> &[usize] {
        self.0.get(key).map_or(&[], |places| places)
    }
}
