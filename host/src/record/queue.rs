//! The way from a run to its journal: a bounded queue and a thread that writes.
//!
//! The run never waits for the disk. When the thread is behind, what waits is merged: of a shard's
//! intervals that wait, the last takes the next one in, and only the last facts are kept. So the queue has
//! a bound, no count is lost, and how often it happened is told. A disk that does not take anything for so
//! long that even what was merged grows beyond [`MOST_CELLS`] ends the journal, which is said.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rustc_hash::FxHashMap;

use super::{
    content::{End, Start},
    journal::{Appender, Kind, RecordError},
};
use crate::{
    clock::{Clock, Instant},
    metric::{Names, Snapshot, SnapshotEncoder},
    run::{Happening, comparison::AgainstBaseline, summary::tidy_facts, tape::Tape},
    verdict::{ErrorFacts, Facts},
};

/// Intervals that may wait before they are merged.
const MOST_INTERVALS: usize = 64;
/// Series, times seconds where these are kept apart, that may wait in one merged interval.
const MOST_CELLS: usize = 200_000;
/// Notes and phases that may wait; those beyond are left out and counted, for they are words and no figures.
/// What charts are made of, and what workloads log, is bounded by the run, and never left out here.
const MOST_WORDS: usize = 1_000;
/// How often `--durable` waits for the disk.
const DURABLE: Duration = Duration::from_secs(1);

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    way: Arc<Way>,
    thread: Option<JoinHandle<Result<Appender, RecordError>>>,
}

/// A journal that has its end.
pub struct Sealed(Appender);

impl Sealed {
    /// Adds what was found when the run was set against its baseline, which is not before its end.
    pub fn baseline(mut self, found: &AgainstBaseline) -> Result<(), RecordError> {
        self.0.append_json(Kind::Baseline, found)?;
        self.0.sync()
    }
}

/// What the end of a run adds to its journal.
#[derive(Debug)]
pub struct Ending<'a> {
    /// What is known beside the samples.
    pub facts: &'a Facts,
    /// Whether it did what it was to do.
    pub complete: bool,
    /// When its first scenario started.
    pub start: Instant,
    /// Whether it will be set against a baseline.
    pub baseline: bool,
}

#[derive(Debug, Default)]
struct Way {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Entry>,
    intervals: usize,
    words: usize,
    merged: u64,
    /// Words that there was no room for.
    left_out: u64,
    closed: bool,
    /// Why nothing more is written.
    failure: Option<String>,
}

#[derive(Debug)]
enum Entry {
    Names(Names),
    Begun(Instant),
    Interval(Snapshot),
    Facts(Box<Facts>),
    Errors(Vec<ErrorFacts>),
    Happened(Happening),
    End(End),
}

impl Journal {
    /// Makes the journal of a run in its folder. With `durable`, the disk has it each second.
    pub fn open(folder: &Path, start: &Start, durable: bool) -> Result<Self, RecordError> {
        Self::begin(Appender::create(folder)?, start, durable)
    }

    /// Begins the journal of a run where nothing is yet.
    pub(super) fn begin(
        mut file: Appender,
        start: &Start,
        durable: bool,
    ) -> Result<Self, RecordError> {
        file.append_json(Kind::Start, start)?;
        file.sync()?;
        let way = Arc::<Way>::default();
        let theirs = Arc::clone(&way);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let written = write(&mut file, &theirs, durable);
            if let Err(error) = &written {
                theirs.lock().failure = Some(error.to_string());
            }
            written.map(|()| file)
        });
        let journal = Path::new(super::JOURNAL);
        let thread = thread.map_err(|error| RecordError::disk(journal, "recorded into", error))?;
        Ok(Self { way, thread: Some(thread) })
    }

    /// What the run is given.
    pub fn tape(&self) -> Box<dyn Tape> {
        Box::new(Sender(Arc::clone(&self.way)))
    }

    /// Writes the run's end and waits until the disk has everything.
    pub fn finish(mut self, ending: Ending<'_>) -> Result<Sealed, RecordError> {
        let Ending { facts, complete, start, baseline } = ending;
        let mut facts = facts.clone();
        let mut state = self.way.lock();
        state.push(Entry::Errors(std::mem::take(&mut facts.errors)));
        tidy_facts(&mut facts);
        state.push(Entry::Facts(Box::new(facts)));
        state.push(Entry::End(End { complete, start: start.as_nanos(), baseline }));
        drop(state);
        self.close().map(Sealed)
    }

    fn close(&mut self) -> Result<Appender, RecordError> {
        self.way.lock().closed = true;
        self.way.filled.notify_one();
        let failed = |why: &str| {
            let error = std::io::Error::other(why.to_owned());
            Err(RecordError::disk(Path::new(super::JOURNAL), "written", error))
        };
        let Some(thread) = self.thread.take() else { return failed("it was closed before") };
        match (thread.join(), self.way.lock().failure.take()) {
            (Ok(Ok(file)), None) => Ok(file),
            (Ok(Err(error)), _) => Err(error),
            (Ok(Ok(_)), Some(why)) => failed(&why),
            (Err(_), _) => failed("its thread panicked"),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // A run that failed before its end: what it has told is kept, its end is not told.
        let _ = self.close();
    }
}

impl Way {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, entry: Entry) {
        self.lock().push(entry);
        self.filled.notify_one();
    }

    /// The next entry; `None` when nothing waits, with whether anything will come.
    fn pop(&self) -> (Option<Entry>, bool) {
        let mut state = self.lock();
        let entry = state.queue.pop_front();
        match &entry {
            Some(Entry::Interval(_)) => state.intervals -= 1,
            Some(Entry::Happened(happening)) if happening.is_words() => state.words -= 1,
            _ => {}
        }
        let over = entry.is_none() && state.closed;
        (entry, over)
    }

    fn wait(&self) {
        let state = self.lock();
        let nothing = |state: &mut State| state.queue.is_empty() && !state.closed;
        drop(self.filled.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner));
    }
}

impl State {
    fn push(&mut self, entry: Entry) {
        if self.failure.is_some() {
            return;
        }
        match entry {
            Entry::Interval(snapshot) => self.push_interval(snapshot),
            Entry::Facts(facts) => {
                // Facts that wait are older, and what comes before them may have been merged since.
                self.queue.retain(|waiting| !matches!(waiting, Entry::Facts(_)));
                self.queue.push_back(Entry::Facts(facts));
            }
            Entry::Errors(errors) => {
                self.queue.retain(|waiting| !matches!(waiting, Entry::Errors(_)));
                self.queue.push_back(Entry::Errors(errors));
            }
            Entry::Happened(happening) if happening.is_words() => {
                if self.words >= MOST_WORDS {
                    self.left_out += 1;
                } else {
                    self.words += 1;
                    self.queue.push_back(Entry::Happened(happening));
                }
            }
            entry => self.queue.push_back(entry),
        }
    }

    fn push_interval(&mut self, snapshot: Snapshot) {
        if self.intervals >= MOST_INTERVALS {
            let mut waiting = self.queue.iter_mut().rev().filter_map(|entry| match entry {
                Entry::Interval(waiting) => Some(waiting),
                _ => None,
            });
            let same =
                |it: &&mut Snapshot| it.shard == snapshot.shard && it.origin == snapshot.origin;
            if let Some(last) = waiting.find(same) {
                merge(last, snapshot);
                self.merged += 1;
                if last.cells.len() > MOST_CELLS {
                    self.failure = Some(
                        "the disk has taken nothing of the journal for so long that what waits has \
                         outgrown its bound"
                            .to_owned(),
                    );
                    self.queue.clear();
                }
                return;
            }
        }
        self.intervals += 1;
        self.queue.push_back(Entry::Interval(snapshot));
    }
}

/// Adds a later interval of a shard to an earlier one.
fn merge(into: &mut Snapshot, later: Snapshot) {
    let places = into.cells.iter().enumerate().map(|(at, (key, second, _))| ((*key, *second), at));
    let places: FxHashMap<_, _> = places.collect();
    for (key, second, cell) in later.cells {
        match places.get(&(key, second)) {
            Some(at) => into.cells[*at].2.merge(&cell),
            None => into.cells.push((key, second, cell)),
        }
    }
    into.to = into.to.max(later.to);
}

#[derive(Debug)]
struct Sender(Arc<Way>);

impl Tape for Sender {
    fn names(&mut self, names: &Names) {
        self.0.push(Entry::Names(names.clone()));
    }

    fn begun(&mut self, start: Instant) {
        self.0.push(Entry::Begun(start));
    }

    fn interval(&mut self, snapshot: Snapshot) {
        self.0.push(Entry::Interval(snapshot));
    }

    fn facts(&mut self, mut facts: Facts) {
        tidy_facts(&mut facts);
        self.0.push(Entry::Facts(Box::new(facts)));
    }

    fn errors(&mut self, errors: Vec<ErrorFacts>) {
        self.0.push(Entry::Errors(errors));
    }

    fn happened(&mut self, happening: Happening) {
        self.0.push(Entry::Happened(happening));
    }

    fn left_out(&self) -> u64 {
        self.0.lock().left_out
    }

    fn merged(&self) -> u64 {
        self.0.lock().merged
    }

    fn failure(&self) -> Option<String> {
        self.0.lock().failure.clone()
    }
}

/// Writes what comes until nothing will come.
fn write(file: &mut Appender, way: &Way, durable: bool) -> Result<(), RecordError> {
    let clock = Clock::real();
    let mut synced = clock.now();
    let mut page = Page::default();
    loop {
        match way.pop() {
            (Some(entry), _) => page.append(file, entry)?,
            (None, true) => return file.sync(),
            (None, false) => {
                if durable && clock.now().since(synced) >= DURABLE {
                    file.sync()?;
                    synced = clock.now();
                } else {
                    file.flush()?;
                }
                way.wait();
            }
        }
    }
}

/// What the writing of one record leaves for the next.
#[derive(Default)]
struct Page {
    names: Option<Names>,
    /// Names that are written; the first two are in every table.
    written: usize,
    samples: SnapshotEncoder,
    bytes: Vec<u8>,
}

impl Page {
    fn append(&mut self, file: &mut Appender, entry: Entry) -> Result<(), RecordError> {
        match entry {
            Entry::Names(names) => {
                (self.names, self.written) = (Some(names), 2);
                Ok(())
            }
            Entry::Begun(start) => file.append_json(Kind::Begun, &start.as_nanos()),
            Entry::Interval(snapshot) => {
                self.names(file)?;
                self.bytes.clear();
                self.samples.encode(&snapshot, &mut self.bytes);
                file.append(Kind::Interval, &self.bytes)
            }
            Entry::Facts(facts) => file.append_json(Kind::Facts, &facts),
            Entry::Errors(errors) => file.append_json(Kind::Errors, &errors),
            Entry::Happened(happening) => file.append_json(Kind::Event, &happening),
            Entry::End(end) => file.append_json(Kind::End, &end),
        }
    }

    /// The names that the next interval may use and that are not written yet.
    fn names(&mut self, file: &mut Appender) -> Result<(), RecordError> {
        let Some(names) = &self.names else { return Ok(()) };
        let new = names.since(self.written);
        if new.is_empty() {
            return Ok(());
        }
        self.written += new.len();
        file.append_json(Kind::Names, &new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Cell, MetricId, SeriesKey, TagSet};

    fn snapshot(shard: usize, second: u32) -> Snapshot {
        let key = SeriesKey { metric: MetricId(0), tags: TagSet::default() };
        Snapshot {
            shard,
            from: Instant::ZERO,
            to: Instant::from_nanos(u64::from(second)),
            origin: Instant::ZERO,
            cells: vec![
                (key, None, Cell::Counter(1.0)),
                (key, Some(second % 10), Cell::Counter(1.0)),
            ],
        }
    }

    #[test]
    fn what_waits_too_long_is_merged_and_nothing_of_it_is_lost() {
        let mut state = State::default();
        for second in 0..10_000 {
            state.push(Entry::Interval(snapshot((second % 3) as usize, second)));
            state.push(Entry::Facts(Box::default()));
        }
        assert!(state.queue.len() <= MOST_INTERVALS + 1, "{}", state.queue.len());
        assert_eq!(state.merged, 10_000 - MOST_INTERVALS as u64);
        assert!(
            matches!(state.queue.back(), Some(Entry::Facts(_))),
            "facts are of all before them"
        );
        let mut sum = 0.0;
        for entry in &state.queue {
            let Entry::Interval(snapshot) = entry else { continue };
            for (_, _, cell) in &snapshot.cells {
                let Cell::Counter(count) = cell else { panic!() };
                sum += count;
            }
        }
        assert_eq!(sum, 20_000.0);
        assert_eq!(state.failure, None);
    }

    #[test]
    fn what_waits_has_a_bound_even_when_merged() {
        let mut state = State::default();
        for round in 0..1_000 {
            let mut snapshot = snapshot(0, 0);
            let key = snapshot.cells[0].0;
            let seconds = (0..20_000).map(|second| round * 20_000 + second);
            let cells = seconds.map(|second| (key, Some(second), Cell::Counter(1.0)));
            snapshot.cells = cells.collect();
            state.push(Entry::Interval(snapshot));
            if state.failure.is_some() {
                break;
            }
        }
        assert!(state.failure.unwrap().contains("outgrown"));
        assert!(state.queue.is_empty());
    }
}
