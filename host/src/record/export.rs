//! A run as an interval log, as other HdrHistogram tools read it: one tag for each series.
//!
//! Values are in the steps of their metric's unit (nanoseconds for times). Samples that a windowed figure
//! asked for are kept by the second of their intended start, and are told as of that second; any other as of
//! the interval in which they ended. Censored samples have no place in the format and are left out, which the
//! log's first lines say.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    time::{Duration, SystemTime},
};

use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};

use super::{
    content::Start,
    journal::{JOURNAL, Kind, RecordError, Records},
};
use crate::{
    clock::Instant,
    metric::{Cell, Names, Registry, SeriesKey, Snapshot},
};

/// Writes the trends of the run in a folder; how many intervals there were.
pub fn export(folder: &Path, into: &mut impl Write) -> Result<u64, RecordError> {
    let path = folder.join(JOURNAL);
    let too_little =
        |what: &str| RecordError::TooLittle { path: path.clone(), what: what.to_owned() };
    let mut records = Records::open(folder)?;
    let first = records.next();
    if first.as_ref().is_some_and(|record| record.kind == Kind::Suite) {
        return Err(too_little("it is a suite's; export one of the folders in it"));
    }
    let start = first.and_then(|record| record.json::<Start>());
    let start = start.ok_or_else(|| too_little("it does not begin with a run"))?;
    let plan = start.recipe.build();
    let plan = plan
        .map_err(|error| RecordError::Plan { path: path.clone(), what: error.message.clone() })?;
    let written = |error: &dyn std::fmt::Display| {
        RecordError::disk(&path, "exported", std::io::Error::other(error.to_string()))
    };
    let (names, mut count, mut censored) = (Names::default(), 0, 0);
    let base = base_time(&start);
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!("wavetank {} run {}", start.run.version, tag_text(&start.run.id)))
        .add_comment("values of times are in nanoseconds; interval times are since BaseTime")
        .with_base_time(base)
        .with_start_time(base)
        .begin_log_with(into, &mut serializer)
        .map_err(|error| written(&error))?;
    while let Some(record) = records.next() {
        match record.kind {
            Kind::Names => {
                let new: Vec<String> = record.json().unwrap_or_default();
                for name in &new {
                    names.intern(name);
                }
            }
            Kind::Interval => {
                let bytes = record.payload().unwrap_or_default();
                let Ok(snapshot) = Snapshot::decode(&bytes, &plan.registry, &names) else { break };
                for (times, key, values) in trends(&snapshot, &mut censored) {
                    let text = tag(&plan.registry, &names, &key);
                    log.write_histogram(values, times.0, times.1, Tag::new(&text))
                        .map_err(|error| written(&error))?;
                    count += 1;
                }
            }
            _ => {}
        }
    }
    if censored > 0 {
        let text =
            format!("{censored} censored samples (cut off, true value unknown) are not in here");
        log.write_comment(&text).map_err(|error| written(&error))?;
    }
    if let Some(damage) = &records.damage {
        log.write_comment(&damage.to_string()).map_err(|error| written(&error))?;
    }
    Ok(count)
}

/// When the run's clock was at zero, nearly: its record begins with it.
fn base_time(start: &Start) -> SystemTime {
    let started: Option<jiff::Timestamp> = start.run.started.parse().ok();
    started.map_or(SystemTime::UNIX_EPOCH, SystemTime::from)
}

type Times = (Duration, Duration);

/// The trends of a snapshot, in the order of their beginning.
fn trends<'a>(
    snapshot: &'a Snapshot,
    censored: &mut u64,
) -> Vec<(Times, SeriesKey, &'a Histogram<u32>)> {
    let second = Duration::from_secs(1);
    let mut trends: BTreeMap<_, _> = BTreeMap::new();
    for (key, at, cell) in &snapshot.cells {
        let Cell::Trend(trend) = cell else { continue };
        *censored += trend.censored.len();
        if trend.values.is_empty() {
            continue;
        }
        let times = match at {
            Some(at) => {
                let origin = snapshot.origin.since(Instant::ZERO);
                (origin + Duration::from_secs(u64::from(*at)), second)
            }
            None => (snapshot.from.since(Instant::ZERO), snapshot.to.since(snapshot.from)),
        };
        trends.insert((times, *key), &trend.values);
    }
    trends.into_iter().map(|((times, key), values)| (times, key, values)).collect()
}

/// `metric{tag:value;tag:value}`; what would end a tag is written as `_`.
fn tag(registry: &Registry, names: &Names, key: &SeriesKey) -> String {
    let metric = &registry.get(key.metric).name;
    let pairs: Vec<_> =
        key.tags.resolve(names).iter().map(|(key, value)| format!("{key}:{value}")).collect();
    let text =
        if pairs.is_empty() { metric.clone() } else { format!("{metric}{{{}}}", pairs.join(";")) };
    tag_text(&text)
}

fn tag_text(text: &str) -> String {
    let bad = |c: char| c == ',' || c == '#' || c.is_whitespace() || c.is_control();
    text.chars().map(|c| if bad(c) { '_' } else { c }).collect()
}
