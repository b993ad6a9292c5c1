//! Samples as bytes: how an interval of a shard is kept in a record, exactly as it was measured.
//!
//! | part | bytes |
//! |---|---|
//! | shard | varint |
//! | from, to, origin | 8 each, nanoseconds, little endian |
//! | number of series | varint |
//! | each: metric | varint |
//! | phase, outcome | 1, 1 |
//! | workload, row, scenario, stage, level, group, op, check, target, error, extra | varint each, a name's number |
//! | second | varint, 0 for none, else one more |
//! | kind | 1: counter 0, gauge 1, rate 2, trend 3 |
//! | counter | 8, a float's bits |
//! | gauge | last, min, max, sum, Σt, Σt², Σtv: 8 each; last_at, count: varint |
//! | rate | hits, total: varint |
//! | trend | known, censored: varint length and HdrHistogram V2, length 0 for none; sum, sum of squares: 8 each; min, max: varint |
//!
//! Whole bits of every float, so that sums made of these are the sums that were made while it ran. Names
//! are numbers here; whoever keeps them keeps the table too. What is read back is held against every
//! bound before anything is made of it: a file may have been written by anybody.

use hdrhistogram::{
    Histogram,
    serialization::{Serializer, V2Serializer},
};

use super::{
    Cell, Gauge, Kind, MetricId, Name, Names, Outcome, Phase, Rate, Registry, SeriesKey, Snapshot,
    TagSet, Trend, histogram,
};
use crate::clock::Instant;

/// Samples of a cell: so few that no number of cells adds up to more than 64 bits hold.
const MOST: u64 = 1 << 40;

/// Bytes that are no samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these are no samples: {0}")]
pub struct BytesError(&'static str);

/// Turns snapshots into bytes; keeps its buffers.
pub struct SnapshotEncoder {
    histograms: V2Serializer,
    scratch: Vec<u8>,
}

impl Default for SnapshotEncoder {
    fn default() -> Self {
        Self { histograms: V2Serializer::new(), scratch: Vec::new() }
    }
}

impl SnapshotEncoder {
    /// Appends a snapshot. Names are numbers of the table that the snapshot was made with.
    pub fn encode(&mut self, snapshot: &Snapshot, into: &mut Vec<u8>) {
        put(into, snapshot.shard as u64);
        for instant in [snapshot.from, snapshot.to, snapshot.origin] {
            into.extend(instant.as_nanos().to_le_bytes());
        }
        put(into, snapshot.cells.len() as u64);
        for (key, second, cell) in &snapshot.cells {
            put(into, u64::from(key.metric.0));
            put_tags(into, &key.tags);
            put(into, second.map_or(0, |second| u64::from(second) + 1));
            self.cell(cell, into);
        }
    }

    fn cell(&mut self, cell: &Cell<u32>, into: &mut Vec<u8>) {
        match cell {
            Cell::Counter(sum) => {
                into.push(0);
                put_float(into, *sum);
            }
            Cell::Gauge(gauge) => {
                into.push(1);
                let [t, tt, tv] = gauge.slope_sums;
                for float in [gauge.last, gauge.min, gauge.max, gauge.sum, t, tt, tv] {
                    put_float(into, float);
                }
                put(into, gauge.last_at);
                put(into, gauge.count);
            }
            Cell::Rate(rate) => {
                into.push(2);
                put(into, rate.hits);
                put(into, rate.total);
            }
            Cell::Trend(trend) => {
                into.push(3);
                self.histogram(&trend.values, into);
                self.histogram(&trend.censored, into);
                put_float(into, trend.sum);
                put_float(into, trend.sum_squares);
                put(into, trend.min);
                put(into, trend.max);
            }
        }
    }

    fn histogram(&mut self, histogram: &Histogram<u32>, into: &mut Vec<u8>) {
        self.scratch.clear();
        // Counts of 32 bits always have a place in the format, and a vector takes what it is given.
        let written = !histogram.is_empty()
            && self.histograms.serialize(histogram, &mut self.scratch).is_ok();
        put(into, if written { self.scratch.len() as u64 } else { 0 });
        if written {
            into.extend(&self.scratch);
        }
    }
}

impl Snapshot {
    /// Reads what [`SnapshotEncoder::encode`] has written, and nothing else.
    pub fn decode(bytes: &[u8], registry: &Registry, names: &Names) -> Result<Self, BytesError> {
        let mut bytes = Bytes(bytes);
        let shard = bytes.number(1 << 16)? as usize;
        let [from, to, origin] = [bytes.instant()?, bytes.instant()?, bytes.instant()?];
        let count = bytes.number(bytes.0.len() as u64)?;
        let (metrics, names) = (registry.iter().count() as u64, names.len() as u64);
        let mut cells = Vec::new();
        for _ in 0..count {
            let metric = MetricId(below(bytes.number(u64::MAX)?, metrics)? as u16);
            let tags = bytes.tags(names)?;
            let second = bytes.number(1 << 32)?.checked_sub(1);
            let cell = bytes.cell()?;
            let fits = matches!(
                (&cell, registry.get(metric).kind),
                (Cell::Counter(_), Kind::Counter)
                    | (Cell::Gauge(_), Kind::Gauge)
                    | (Cell::Rate(_), Kind::Rate)
                    | (Cell::Trend(_), Kind::Trend)
            );
            if !fits {
                return Err(BytesError("a cell is not of its metric's kind"));
            }
            cells.push((SeriesKey { metric, tags }, second.map(|second| second as u32), cell));
        }
        if !bytes.0.is_empty() {
            return Err(BytesError("there is something behind them"));
        }
        Ok(Self { shard, from, to, origin, cells })
    }
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BytesError> {
        let (taken, left) = self.0.split_at_checked(count).ok_or(BytesError("they end early"))?;
        self.0 = left;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, BytesError> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn eight(&mut self) -> Result<[u8; 8], BytesError> {
        self.take(8)?.try_into().map_err(|_| BytesError("they end early"))
    }

    fn float(&mut self) -> Result<f64, BytesError> {
        self.eight().map(f64::from_le_bytes)
    }

    fn instant(&mut self) -> Result<Instant, BytesError> {
        self.eight().map(|bytes| Instant::from_nanos(u64::from_le_bytes(bytes)))
    }

    fn number(&mut self, most: u64) -> Result<u64, BytesError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if number <= most {
                    Ok(number)
                } else {
                    Err(BytesError("a number too large"))
                };
            }
        }
        Err(BytesError("a number without an end"))
    }

    fn tags(&mut self, names: u64) -> Result<TagSet, BytesError> {
        let phase = *PHASES.get(usize::from(self.byte()?)).ok_or(BytesError("an unknown phase"))?;
        let outcome =
            *OUTCOMES.get(usize::from(self.byte()?)).ok_or(BytesError("an unknown outcome"))?;
        let mut tags = TagSet { phase, outcome, ..TagSet::default() };
        for slot in fields(&mut tags) {
            *slot = Name::numbered(below(self.number(u64::MAX)?, names)? as u16);
        }
        Ok(tags)
    }

    fn cell(&mut self) -> Result<Cell<u32>, BytesError> {
        Ok(match self.byte()? {
            0 => Cell::Counter(self.float()?),
            1 => {
                let [last, min, max, sum] =
                    [self.float()?, self.float()?, self.float()?, self.float()?];
                let slope_sums = [self.float()?, self.float()?, self.float()?];
                let (last_at, count) = (self.number(u64::MAX)?, self.number(MOST)?);
                Cell::Gauge(Gauge { last, last_at, min, max, sum, count, slope_sums })
            }
            2 => {
                let (hits, total) = (self.number(MOST)?, self.number(MOST)?);
                if hits > total {
                    return Err(BytesError("more hits than samples"));
                }
                Cell::Rate(Rate { hits, total })
            }
            3 => {
                let (values, censored) = (self.histogram()?, self.histogram()?);
                let mut trend = Trend::<u32> {
                    sum: self.float()?,
                    sum_squares: self.float()?,
                    min: self.number(u64::MAX)?,
                    max: self.number(u64::MAX)?,
                    ..Trend::default()
                };
                trend.values = values.unwrap_or(trend.values);
                trend.censored = censored.unwrap_or(trend.censored);
                Cell::Trend(Box::new(trend))
            }
            _ => return Err(BytesError("a cell of an unknown kind")),
        })
    }

    fn histogram(&mut self) -> Result<Option<Histogram<u32>>, BytesError> {
        let length = self.number(self.0.len() as u64)? as usize;
        let bytes = self.take(length)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut histogram: Histogram<u32> = histogram::read(bytes).map_err(BytesError)?;
        histogram.auto(true);
        Ok(Some(histogram))
    }
}

const PHASES: [Phase; 6] =
    [Phase::Main, Phase::Setup, Phase::Warmup, Phase::Teardown, Phase::Probe, Phase::Service];
const OUTCOMES: [Outcome; 3] = [Outcome::None, Outcome::Ok, Outcome::Error];

/// The names of a set of tags, in the order of the table above.
fn fields(tags: &mut TagSet) -> [&mut Name; 11] {
    let TagSet {
        phase: _,
        outcome: _,
        workload,
        row,
        scenario,
        stage,
        level,
        group,
        op,
        check,
        target,
        error,
        extra,
    } = tags;
    [workload, row, scenario, stage, level, group, op, check, target, error, extra]
}

fn put_tags(into: &mut Vec<u8>, tags: &TagSet) {
    let mut tags = *tags;
    into.push(PHASES.iter().position(|phase| *phase == tags.phase).unwrap_or_default() as u8);
    into.push(OUTCOMES.iter().position(|it| *it == tags.outcome).unwrap_or_default() as u8);
    for name in fields(&mut tags) {
        put(into, u64::from(name.number()));
    }
}

fn put(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn put_float(into: &mut Vec<u8>, float: f64) {
    into.extend(float.to_le_bytes());
}

fn below(number: u64, end: u64) -> Result<u64, BytesError> {
    if number < end { Ok(number) } else { Err(BytesError("a name or a metric that is not known")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metric::{Builtin, Recorder, RecorderConfig, Selector, Totals, Windowed};

    fn recorder() -> Recorder {
        let metric = Builtin::IterationDuration.id();
        let config = RecorderConfig {
            registry: std::sync::Arc::default(),
            names: Names::default(),
            windowed: vec![Windowed { metric, selector: Selector::default() }],
            max_series: 100,
        };
        Recorder::new(config, 3, Instant::from_nanos(5))
    }

    fn sampled(values: &[(u64, bool)]) -> (Snapshot, Registry, Names) {
        let recorder = recorder();
        let names = recorder.names().clone();
        for (index, (value, odd)) in values.iter().enumerate() {
            let at = Instant::from_nanos(index as u64 * 700_000_000);
            let op = names.intern(&format!("op{}", index % 3));
            let tags =
                TagSet { op, outcome: Outcome::Ok, phase: Phase::Probe, ..TagSet::default() };
            recorder.trend(Builtin::IterationDuration.id(), tags, at, *value);
            recorder.censored(Builtin::BusRequestDuration.id(), tags, at, *value);
            recorder.add(Builtin::DbRows.id(), tags, at, 0.1 * (*value as f64));
            recorder.gauge(Builtin::Vus.id(), tags, at, *value as f64 / 3.0);
            recorder.rate(Builtin::Checks.id(), tags, at, *odd);
        }
        (recorder.take(Instant::from_nanos(99)), Registry::default(), names)
    }

    /// Everything that a snapshot says; histograms by their recorded values.
    fn told(snapshot: &Snapshot) -> Vec<String> {
        let times = [snapshot.from, snapshot.to, snapshot.origin];
        let mut told = vec![format!("{} {times:?}", snapshot.shard)];
        for (key, second, cell) in &snapshot.cells {
            let cell = match cell {
                Cell::Trend(trend) => {
                    let steps = |histogram: &Histogram<u32>| {
                        let steps = histogram.iter_recorded();
                        let step = steps
                            .map(|it| (it.value_iterated_to(), it.count_since_last_iteration()));
                        step.collect::<Vec<_>>()
                    };
                    let [sum, squares] = [trend.sum, trend.sum_squares].map(f64::to_bits);
                    let steps = [steps(&trend.values), steps(&trend.censored)];
                    format!("{steps:?} {sum} {squares} {} {}", trend.min, trend.max)
                }
                other => format!("{other:?}"),
            };
            told.push(format!("{key:?} {second:?} {cell}"));
        }
        told
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn what_is_read_back_is_what_was_measured(
            values in prop::collection::vec((prop_oneof![0_u64..5_000, any::<u64>()], any::<bool>()), 0..60),
        ) {
            let (snapshot, registry, names) = sampled(&values);
            let mut bytes = Vec::new();
            SnapshotEncoder::default().encode(&snapshot, &mut bytes);
            let again = Snapshot::decode(&bytes, &registry, &names).unwrap();
            prop_assert_eq!(told(&again), told(&snapshot));
            let (mut one, mut other) = (Totals::default(), Totals::default());
            one.merge(&snapshot);
            other.merge(&again);
            prop_assert_eq!(format!("{:?}", one.series().len()), format!("{:?}", other.series().len()));
        }

        #[test]
        fn other_bytes_are_refused_or_read_but_never_panic(
            flips in prop::collection::vec((any::<u16>(), any::<u8>()), 1..4),
            cut in any::<u16>(),
        ) {
            let (snapshot, registry, names) = sampled(&[(5, true), (7_000, false), (1 << 40, true)]);
            let mut bytes = Vec::new();
            SnapshotEncoder::default().encode(&snapshot, &mut bytes);
            let cut = usize::from(cut) % bytes.len();
            prop_assert!(Snapshot::decode(&bytes[..cut], &registry, &names).is_err());
            for (place, flip) in flips {
                let place = usize::from(place) % bytes.len();
                bytes[place] ^= flip;
            }
            let _ = Snapshot::decode(&bytes, &registry, &names);
        }
    }
}
