//! Counts of a scenario on a shard, and the errors of a shard.
//!
//! Counts belong to one thread and are copied out each second, so that counting an iteration touches
//! no cache line that another core writes.

use std::ops::AddAssign;

use rustc_hash::FxHashMap;

use crate::{verdict::ErrorFacts, workload::GuestError};

/// Distinct errors that a shard remembers; the rest of a kind is counted under one line.
const MAX_ERRORS: usize = 200;
/// Bytes of a message that tell errors apart and are kept.
const MAX_MESSAGE: usize = 2_000;

/// How a scenario stands. Exact: planned = started + dropped + never started; started = completed +
/// interrupted + running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Arrivals that were due; closed model: iterations started.
    pub planned: u64,
    /// Iterations that began.
    pub started: u64,
    /// Iterations that ran to their end, with or without an error.
    pub completed: u64,
    /// Iterations that were cut off.
    pub interrupted: u64,
    /// Arrivals that were dropped.
    pub dropped: u64,
    /// Arrivals that were still waiting at the end.
    pub never_started: u64,
    /// Iterations that threw, trapped or timed out.
    pub errors: u64,
    /// Arrivals that the runner itself dropped, never started or started more than a second late.
    pub runner_short: u64,
    /// VUs made while an arrival waited.
    pub cold_vus: u64,
    /// VUs that rested because they kept using their whole time slice.
    pub rested_vus: u64,
    /// VUs that ran at least one iteration.
    pub vus_used: u32,
    /// VUs that exist.
    pub vus: u32,
    /// VUs that are running an iteration.
    pub running: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.planned += other.planned;
        self.started += other.started;
        self.completed += other.completed;
        self.interrupted += other.interrupted;
        self.dropped += other.dropped;
        self.never_started += other.never_started;
        self.errors += other.errors;
        self.runner_short += other.runner_short;
        self.cold_vus += other.cold_vus;
        self.rested_vus += other.rested_vus;
        self.vus_used += other.vus_used;
        self.vus += other.vus;
        self.running += other.running;
    }
}

impl Counts {
    /// After a panic: what was running was cut off, what was due and is not accounted for never
    /// started.
    pub fn settle(&mut self) {
        self.interrupted = self.started.saturating_sub(self.completed);
        self.never_started = self.planned.saturating_sub(self.started + self.dropped);
        self.running = 0;
    }
}

/// Iteration errors by scenario, kind and message; bounded.
#[derive(Clone, Debug, Default)]
pub struct ErrorTally {
    errors: FxHashMap<(String, &'static str, String), (u64, Option<String>)>,
    all: u64,
}

impl ErrorTally {
    /// Counts an error; true if it is the first of its kind and message.
    pub fn count(&mut self, scenario: &str, error: &GuestError) -> bool {
        self.insert(scenario, error.kind.name(), &error.message, error.place.as_deref())
    }

    /// Counts an error of a kind; true if it is the first with its message.
    pub fn insert(
        &mut self,
        scenario: &str,
        kind: &'static str,
        message: &str,
        place: Option<&str>,
    ) -> bool {
        self.all += 1;
        let mut end = message.len().min(MAX_MESSAGE);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let mut key = (scenario.to_owned(), kind, message[..end].to_owned());
        let is_new = !self.errors.contains_key(&key);
        if is_new && self.errors.len() >= MAX_ERRORS {
            "(messages beyond the first ones)".clone_into(&mut key.2);
        }
        let entry = self.errors.entry(key).or_insert_with(|| (0, place.map(str::to_owned)));
        entry.0 += 1;
        is_new && entry.0 == 1
    }

    /// Adds the errors of another shard.
    pub fn merge(&mut self, other: &Self) {
        for (key, (count, place)) in &other.errors {
            let entry = self.errors.entry(key.clone()).or_insert_with(|| (0, place.clone()));
            entry.0 += count;
        }
        self.all += other.all;
    }

    /// How many there were in all.
    pub const fn all(&self) -> u64 {
        self.all
    }

    /// All of them, the most frequent first.
    pub fn facts(self) -> Vec<ErrorFacts> {
        let mut facts: Vec<_> = self
            .errors
            .into_iter()
            .map(|((scenario, kind, message), (count, place))| ErrorFacts {
                scenario,
                kind: kind.to_owned(),
                message,
                place,
                count,
            })
            .collect();
        facts.sort_by(|a, b| {
            (b.count, &a.scenario, &a.message).cmp(&(a.count, &b.scenario, &b.message))
        });
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_bounded_and_none_is_lost() {
        let mut tally = ErrorTally::default();
        for index in 0..1_000 {
            tally.insert("s", "threw", &format!("user {index} is missing"), Some("a.rhai:1:1"));
        }
        assert!(!tally.insert("s", "threw", "user 3 is missing", None));
        let facts = tally.facts();
        assert_eq!(facts.iter().map(|fact| fact.count).sum::<u64>(), 1_001);
        assert!(facts.len() <= MAX_ERRORS + 1, "{}", facts.len());
        assert_eq!(facts[0].count, 800, "the overflow line is the most frequent");
        assert_eq!(facts[1].message, "user 3 is missing");
    }
}
