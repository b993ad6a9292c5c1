//! From a tape to a journal, and from there to a summary and an interval log; cut and damaged anywhere.

use std::{path::Path, sync::Arc};

use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};
use serde_json::json;

use super::*;
use crate::{
    clock::Instant,
    metric::{Builtin, Name, Names, Point, Recorder, RecorderConfig, TagSet},
    plan::{Options, Plan, PlanInput},
    run::{
        Happening, What,
        summary::{Environment, RunInfo, Summary, Values},
    },
    verdict::{Facts, ScenarioFacts, Status},
};

const SECOND: u64 = 1_000_000_000;
const SECONDS: u64 = 6;

fn plan() -> Plan {
    let options = json!({
        "scenarios": { "steady": { "executor": "constant-vus", "vus": 1, "duration": "1m" } },
        "thresholds": { "iteration_duration": "p(95) over last 2s < 1s", "iterations": "count > 1" },
    });
    let serde_json::Value::Object(options) = options else { unreachable!() };
    let functions = vec!["iteration".to_owned()];
    let input = PlanInput { name: "kept".to_owned(), functions, cores: 1, ..PlanInput::default() };
    Plan::build(PlanInput { options: Options(options), ..input }).unwrap()
}

fn facts(completed: u64) -> Facts {
    let scenario =
        ScenarioFacts { name: "steady".to_owned(), completed, ..ScenarioFacts::default() };
    Facts { scenarios: vec![scenario], ..Facts::default() }
}

fn recorded(plan: &Plan, names: &Names) -> RecorderConfig {
    RecorderConfig {
        registry: Arc::clone(&plan.registry),
        names: names.clone(),
        windowed: crate::verdict::windowed(plan),
        max_series: 100,
    }
}

/// A journal of a run in whose n-th second n iterations end; of n to 6 000 n nanoseconds.
fn keep(folder: &Path) -> Vec<u8> {
    let plan = Arc::new(plan());
    let run = RunInfo { id: "kept_1".to_owned(), version: "0".to_owned(), ..RunInfo::default() };
    let start = Start::new(&plan, run, Environment::default(), false, None, &[]);
    let journal = Journal::open(folder, &start, true).unwrap();
    let mut tape = journal.tape();
    let names = Names::default();
    let recorder = Recorder::new(recorded(&plan, &names), 0, Instant::ZERO);
    tape.names(&names);
    tape.facts(facts(0));
    tape.begun(Instant::ZERO);
    let mut all = 0;
    for second in 1..=SECONDS {
        let scenario = names.intern(&format!("of second {second}"));
        let tags = TagSet { scenario, group: Name::OTHER, ..TagSet::default() };
        for n in 1..=second {
            let at = Instant::from_nanos((second - 1) * SECOND + n);
            recorder.add(Builtin::Iterations.id(), tags, at, 1.0);
            recorder.trend(Builtin::IterationDuration.id(), tags, at, second * n * 1_000);
            recorder.trend(Builtin::BusRequestDuration.id(), tags, at, second * n * 1_000);
        }
        all += second;
        tape.interval(recorder.take(Instant::from_nanos(second * SECOND)));
        tape.facts(facts(all));
        let what = What::Note { text: "a second".to_owned() };
        tape.happened(Happening { at: Instant::ZERO, what });
    }
    drop(tape);
    let ending =
        Ending { facts: &facts(all), complete: true, start: Instant::ZERO, baseline: false };
    journal.finish(ending).unwrap();
    std::fs::read(folder.join(JOURNAL)).unwrap()
}

fn count(summary: &Summary, name: &str) -> u64 {
    match summary.metric(name).map(|metric| &metric.values) {
        Some(Values::Counter { count, .. }) => *count as u64,
        Some(Values::Trend(trend)) => trend.count,
        _ => 0,
    }
}

/// That a summary is of one instant, and true of it; how many iterations it tells of.
fn check(summary: &Summary) -> u64 {
    let told = count(summary, "iterations");
    assert_eq!(told, count(summary, "iteration_duration"));
    assert_eq!(told, count(summary, "bus_request_duration"));
    assert_eq!(told, summary.scenarios.first().map_or(0, |scenario| scenario.completed));
    // Whole seconds and nothing else: 1, 1 + 2, 1 + 2 + 3 …
    assert!((0..=SECONDS).any(|n| n * (n + 1) / 2 == told), "{told}");
    told
}

#[test]
fn a_journal_tells_what_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    keep(folder.path());
    let Told { summary, chapters } = report(folder.path()).unwrap();
    assert_eq!(check(&summary), 21);
    let points = chapters[0].chronicle.timeline.of("iterations").flat_map(|line| &line.points);
    let sums = points.filter_map(|(step, point)| match point {
        Point::Counter(sum) => Some((*step, *sum)),
        _ => None,
    });
    let sums: Vec<_> = sums.collect();
    let known: Vec<_> = (0..SECONDS as u32).map(|step| (step, f64::from(step + 1))).collect();
    assert_eq!(sums, known, "each second by itself");
    assert!(summary.run.complete && summary.remarks.is_empty(), "{:?}", summary.remarks);
    assert_eq!((summary.run.id.as_str(), summary.run.name.as_str()), ("kept_1", "kept"));
    assert_eq!(payloads(folder.path()).unwrap()[0].0, Kind::Start);
}

#[test]
fn a_journal_that_is_cut_anywhere_never_tells_a_wrong_total() {
    let folder = tempfile::tempdir().unwrap();
    let whole = keep(folder.path());
    let (mut last, mut shown) = (0, 0);
    for length in 0..whole.len() {
        std::fs::write(folder.path().join(JOURNAL), &whole[..length]).unwrap();
        let Ok(Told { summary, .. }) = report(folder.path()) else {
            assert_eq!(shown, 0, "what is longer tells more");
            continue;
        };
        let told = check(&summary);
        assert!(told >= last, "what is longer tells more: {told} after {last}");
        (last, shown) = (told, shown + 1);
        assert!(!summary.run.complete);
        assert_eq!(summary.verdict.status, Status::Fail);
        assert!(summary.verdict.reasons[0].contains("was cut off"), "{:?}", summary.verdict);
    }
    assert_eq!(last, 21, "only its end was missing in the end");
    assert!(shown > whole.len() / 2);
}

#[test]
fn a_journal_that_is_damaged_anywhere_never_tells_a_wrong_total() {
    let folder = tempfile::tempdir().unwrap();
    let whole = keep(folder.path());
    let mut told = std::collections::BTreeSet::new();
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        std::fs::write(folder.path().join(JOURNAL), bytes).unwrap();
        let Ok(Told { summary, .. }) = report(folder.path()) else { continue };
        told.insert(check(&summary));
        assert!(!summary.run.complete);
        let says = |text: &String| text.contains("is whole up to byte");
        assert!(summary.remarks.iter().any(says), "at {place}: {:?}", summary.remarks);
    }
    assert!(told.len() > 1, "{told:?}");
}

#[test]
fn what_another_version_would_plan_otherwise_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, run) = (plan(), RunInfo { version: "0.0.7".to_owned(), ..RunInfo::default() });
    let start = Start::new(&plan, run, Environment::default(), false, None, &[]);
    let start = Start { plan: "of another mind".to_owned(), ..start };
    drop(Journal::open(folder.path(), &start, false).unwrap());
    let error = report(folder.path()).unwrap_err().to_string();
    assert!(error.contains("0.0.7") && error.contains("use that version"), "{error}");
}

/// A disk that takes nothing until it is told to: whoever writes there hangs.
struct Hanging {
    file: std::fs::File,
    go: std::sync::mpsc::Receiver<()>,
    hangs: bool,
}

impl std::io::Write for Hanging {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.hangs {
            self.hangs = self.go.recv().is_err();
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl journal::Disk for Hanging {
    fn sync(&mut self) -> std::io::Result<()> {
        // The journal's own first sync is that of its start: what hangs is what comes behind it.
        self.hangs = true;
        self.file.sync_data()
    }
}

#[test]
fn a_disk_that_hangs_costs_resolution_and_no_count() {
    const ROUNDS: u64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(JOURNAL);
    let (go_on, go) = std::sync::mpsc::channel();
    let disk = Hanging { file: std::fs::File::create(&path).unwrap(), go, hangs: false };
    let plan = Arc::new(plan());
    let start = Start::new(&plan, RunInfo::default(), Environment::default(), false, None, &[]);
    let file = journal::Appender::begin(path, Box::new(disk)).unwrap();
    let kept = Journal::begin(file, &start, false).unwrap();
    let mut tape = kept.tape();
    let names = Names::default();
    let shards: Vec<_> =
        (0..2).map(|shard| Recorder::new(recorded(&plan, &names), shard, Instant::ZERO)).collect();
    tape.names(&names);
    tape.begun(Instant::ZERO);
    for round in 1..=ROUNDS {
        let to = Instant::from_nanos(round * SECOND / 10);
        for recorder in &shards {
            let at = Instant::from_nanos(to.as_nanos() - 1);
            recorder.add(Builtin::Iterations.id(), TagSet::default(), at, 1.0);
            recorder.trend(Builtin::IterationDuration.id(), TagSet::default(), at, round);
            recorder.trend(Builtin::BusRequestDuration.id(), TagSet::default(), at, round);
            tape.interval(recorder.take(to));
        }
        tape.facts(facts(2 * round));
    }
    let merged = tape.merged();
    // Before anything is asserted: whoever waits for the journal's end would wait for ever.
    go_on.send(()).unwrap();
    drop(go_on);
    assert!(merged > ROUNDS, "the disk hung, and most had to wait: {merged}");
    let mut facts = facts(2 * ROUNDS);
    facts.runner.journal_merged = merged;
    let ending = Ending { facts: &facts, complete: true, start: Instant::ZERO, baseline: false };
    drop(tape);
    kept.finish(ending).unwrap();
    let intervals = payloads(folder.path()).unwrap();
    let intervals = intervals.iter().filter(|(kind, _)| *kind == Kind::Interval).count();
    assert_eq!(intervals as u64 + merged, 2 * ROUNDS, "each was written or merged, once");
    let Told { summary, chapters } = report(folder.path()).unwrap();
    for name in ["iterations", "iteration_duration", "bus_request_duration"] {
        assert_eq!(count(&summary, name), 2 * ROUNDS, "{name}");
    }
    let trend = summary.trend("iteration_duration").unwrap();
    assert_eq!(trend.mean, Some((ROUNDS + 1) as f64 / 2.0), "every value is there");
    assert_eq!(summary.runner.journal_merged, merged);
    let points = chapters[0].chronicle.timeline.of("iterations").flat_map(|line| &line.points);
    let sum: f64 = points
        .map(|(_, point)| match point {
            Point::Counter(sum) => *sum,
            _ => 0.0,
        })
        .sum();
    assert_eq!(sum, (2 * ROUNDS) as f64);
}

#[test]
fn an_interval_log_holds_every_sample_of_every_series() {
    let folder = tempfile::tempdir().unwrap();
    keep(folder.path());
    let mut log = Vec::new();
    let intervals = export(folder.path(), &mut log).unwrap();
    let mut sums = std::collections::BTreeMap::<String, u64>::new();
    let mut read = 0;
    for entry in IntervalLogIterator::new(&log) {
        let Ok(LogEntry::Interval(interval)) = entry else { continue };
        let tag = interval.tag().unwrap().as_str().to_owned();
        let text = interval.encoded_histogram();
        let bytes =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
        let values: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        *sums.entry(tag).or_default() += values.len();
        read += 1;
    }
    assert_eq!(read, intervals);
    for second in 1..=SECONDS {
        for metric in ["iteration_duration", "bus_request_duration"] {
            let tag = format!("{metric}{{group:other;scenario:of_second_{second}}}");
            assert_eq!(sums.get(&tag), Some(&second), "{tag}: {sums:?}");
        }
    }
    let text = String::from_utf8(log).unwrap();
    assert!(text.starts_with("#wavetank 0 run kept_1\n"), "{text}");
}
