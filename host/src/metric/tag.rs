//! Names as small integers, sets of tags, and the selectors that match them.
//!
//! A string is interned once; a series is found by comparing a few integers. The table of names is
//! the run's, shared by all shards, so that a key means the same everywhere.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{Kind, MetricId};

/// An interned string; the default is "no such tag".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(u16);

impl Name {
    /// No such tag.
    pub const NONE: Self = Self(0);
    /// What stands for everything beyond the table's limit.
    pub const OTHER: Self = Self(1);

    /// Whether the tag is there.
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Its number in the table.
    pub(super) const fn number(self) -> u16 {
        self.0
    }

    /// The name of a number that a table has given out.
    pub(super) const fn numbered(number: u16) -> Self {
        Self(number)
    }
}

/// The run's table of names. Cheap to clone.
///
/// What is secret never gets into it: texts of workloads become names, and names get into every file.
#[derive(Clone, Debug)]
pub struct Names {
    table: Arc<RwLock<Table>>,
    hidden: Arc<[String]>,
}

/// Names beyond which a workload's words are `other`.
const LABELS: usize = 60_000;
/// What is shown in the place of a secret.
const COVER: &str = "***";
/// Bytes of the shortest secret that is looked for: a shorter one is part of too many words.
const SHORTEST_SECRET: usize = 4;

#[derive(Debug)]
struct Table {
    strings: Vec<Arc<str>>,
    by_string: FxHashMap<Arc<str>, Name>,
}

impl Default for Names {
    fn default() -> Self {
        let strings: Vec<Arc<str>> = vec!["".into(), "other".into()];
        let by_string = FxHashMap::from_iter([
            (strings[0].clone(), Name::NONE),
            (strings[1].clone(), Name::OTHER),
        ]);
        let table = Arc::new(RwLock::new(Table { strings, by_string }));
        Self { table, hidden: Arc::default() }
    }
}

impl Names {
    /// A table into which none of these secrets gets.
    pub fn hiding(secrets: impl IntoIterator<Item = String>) -> Self {
        let long = |secret: &String| secret.len() >= SHORTEST_SECRET;
        let mut hidden: Vec<_> = secrets.into_iter().filter(long).collect();
        // One that holds another goes first, or what is left of it would stay.
        hidden.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { hidden: hidden.into(), ..Self::default() }
    }

    /// The text with every secret covered.
    pub fn cover<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut covered = Cow::Borrowed(text);
        for secret in self.hidden.iter() {
            if covered.contains(secret.as_str()) {
                covered = Cow::Owned(covered.replace(secret.as_str(), COVER));
            }
        }
        covered
    }

    /// The name of a string; [`Name::OTHER`] when 65 535 are taken.
    pub fn intern(&self, string: &str) -> Name {
        self.intern_within(string, usize::from(u16::MAX))
    }

    /// The name of a string that a workload made up; [`Name::OTHER`] when 60 000 names are taken. What is
    /// left is for the host's own words: however many names a workload makes up, an error keeps its kind.
    pub fn intern_label(&self, string: &str) -> Name {
        self.intern_within(string, LABELS)
    }

    fn intern_within(&self, string: &str, most: usize) -> Name {
        if let Some(name) = self.read().by_string.get(string) {
            return *name;
        }
        let string = &*self.cover(string);
        let mut table = self.table.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(name) = table.by_string.get(string) {
            return *name;
        }
        if table.strings.len() >= most {
            return Name::OTHER;
        }
        let index = table.strings.len() as u16;
        let string: Arc<str> = string.into();
        table.strings.push(string.clone());
        table.by_string.insert(string, Name(index));
        Name(index)
    }

    /// The name of a string that is already in the table.
    pub fn find(&self, string: &str) -> Option<Name> {
        self.read().by_string.get(&*self.cover(string)).copied()
    }

    /// The string of a name.
    pub fn resolve(&self, name: Name) -> Arc<str> {
        self.read().strings[usize::from(name.0)].clone()
    }

    /// How many there are; the first two are in every table.
    pub fn len(&self) -> usize {
        self.read().strings.len()
    }

    /// Whether there is none; never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The strings behind the first `known`, in the order in which they were interned.
    pub fn since(&self, known: usize) -> Vec<Arc<str>> {
        self.read().strings.iter().skip(known).cloned().collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Not an operation.
    #[default]
    None,
    /// It succeeded.
    Ok,
    /// It failed; its duration is kept apart.
    Error,
}

/// Which part of a run a sample is from. Only [`Phase::Main`] is judged and reported as the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The iterations.
    #[default]
    Main,
    /// `setup` and `init`.
    Setup,
    /// The first seconds of a scenario with `warmup`.
    Warmup,
    /// `teardown`.
    Teardown,
    /// What the host itself does to see an effect: the instrument, not the load.
    Probe,
    /// What the workload's own services do with bus and database: the system, not the load.
    Service,
}

/// The tags of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagSet {
    /// The part of the run.
    pub phase: Phase,
    /// `outcome`
    pub outcome: Outcome,
    /// `workload`
    pub workload: Name,
    /// `row`
    pub row: Name,
    /// `scenario`
    pub scenario: Name,
    /// `stage`
    pub stage: Name,
    /// `level`
    pub level: Name,
    /// `group`
    pub group: Name,
    /// `op`
    pub op: Name,
    /// `check`
    pub check: Name,
    /// `target`
    pub target: Name,
    /// `error`
    pub error: Name,
    /// Tags that a scenario or a workload made up: the interned text `key:value,key:value`,
    /// sorted by key.
    pub extra: Name,
}

impl TagSet {
    /// The tags as text, sorted by key, for reports and selectors.
    pub fn resolve(&self, names: &Names) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        let fields = [
            ("workload", self.workload),
            ("row", self.row),
            ("scenario", self.scenario),
            ("stage", self.stage),
            ("level", self.level),
            ("group", self.group),
            ("op", self.op),
            ("check", self.check),
            ("target", self.target),
            ("error", self.error),
        ];
        for (key, name) in fields.into_iter().filter(|(_, name)| name.is_some()) {
            tags.insert(key.to_owned(), names.resolve(name).to_string());
        }
        match self.outcome {
            Outcome::None => {}
            Outcome::Ok => drop(tags.insert("outcome".to_owned(), "ok".to_owned())),
            Outcome::Error => drop(tags.insert("outcome".to_owned(), "error".to_owned())),
        }
        match self.phase {
            Phase::Main => {}
            Phase::Setup => drop(tags.insert("phase".to_owned(), "setup".to_owned())),
            Phase::Warmup => drop(tags.insert("phase".to_owned(), "warmup".to_owned())),
            Phase::Teardown => drop(tags.insert("phase".to_owned(), "teardown".to_owned())),
            Phase::Probe => drop(tags.insert("phase".to_owned(), "probe".to_owned())),
            Phase::Service => drop(tags.insert("phase".to_owned(), "service".to_owned())),
        }
        if self.extra.is_some() {
            for pair in names.resolve(self.extra).split(',') {
                if let Some((key, value)) = pair.split_once(':') {
                    tags.entry(key.to_owned()).or_insert_with(|| value.to_owned());
                }
            }
        }
        tags
    }
}

/// What a series is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The metric.
    pub metric: MetricId,
    /// Its tags.
    pub tags: TagSet,
}

impl SeriesKey {
    /// A small number that differs between the series of a usual scenario: a place in a table that
    /// compares the whole key.
    pub(super) fn mixed(&self) -> usize {
        let TagSet { phase, outcome, scenario, stage, op, check, .. } = self.tags;
        let near = usize::from(self.metric.0) + 61 * usize::from(op.0) + 17 * usize::from(check.0);
        let far = 113 * usize::from(scenario.0) + 29 * usize::from(stage.0);
        near + far + 71 * outcome as usize + 101 * phase as usize
    }
}

/// `{tag:value,…}`: matches the samples that bear all of the tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Selector(pub BTreeMap<String, String>);

impl Selector {
    /// Whether samples with these tags are selected.
    ///
    /// Samples outside the iterations (setup, warm-up, teardown, what services do) are selected only by a
    /// selector that names their `phase`; durations of failed operations only by one that names `outcome` or
    /// `error` (SEMANTICS §2).
    pub fn matches(&self, kind: Kind, tags: &TagSet, names: &Names) -> bool {
        if tags.phase != Phase::Main && !self.0.contains_key("phase") {
            return false;
        }
        if kind == Kind::Trend
            && tags.outcome == Outcome::Error
            && !self.0.contains_key("outcome")
            && !self.0.contains_key("error")
        {
            return false;
        }
        if self.0.is_empty() {
            return true;
        }
        self.is_in(&tags.resolve(names))
    }

    /// The same for tags as a summary keeps them.
    pub fn matches_written(&self, kind: Kind, tags: &BTreeMap<String, String>) -> bool {
        let names = |key| self.0.contains_key(key);
        if tags.contains_key("phase") && !names("phase") {
            return false;
        }
        let failed = tags.get("outcome").is_some_and(|outcome| outcome == "error");
        if kind == Kind::Trend && failed && !names("outcome") && !names("error") {
            return false;
        }
        self.is_in(tags)
    }

    /// Whether all of its tags are among these.
    fn is_in(&self, tags: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, value)| tags.get(key) == Some(value))
    }

    /// As it is written: empty, or `{a:b,c:d}`.
    pub fn text(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let pairs: Vec<_> = self.0.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        format!("{{{}}}", pairs.join(","))
    }
}
