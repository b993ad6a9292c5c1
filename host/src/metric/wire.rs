//! Samples on the wire: how a `wavetank serve` process hands what it measured to the run.
//!
//! One JSON object per series; histograms as base64 of HdrHistogram's V2 format. Times stay whole: the
//! run merges histograms, never percentiles. What arrives is hostile until decoded: only the metrics
//! that a service may report are taken, and a histogram's claims are checked before it is built.

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Serializer, V2Serializer},
};
use serde::{Deserialize, Serialize};

use super::{
    Builtin, Cell, Names, Outcome, Rate, SeriesKey, Snapshot, TagSet, Trend,
    cell::{LARGEST, put},
    histogram,
};

/// What a service may report.
const REPORTED: [Builtin; 4] = [
    Builtin::ServiceHandleDuration,
    Builtin::ServiceCpuSeconds,
    Builtin::ServiceHandled,
    Builtin::ServiceFailed,
];
/// Series of one report; a service has few operations.
const MOST_SERIES: usize = 256;
/// Bytes of an encoded histogram: three digits over 64 bits take less.
const MOST_BYTES: usize = 1 << 20;
/// The largest sum; so that no number of reports adds up to what is no number.
const MOST: f64 = 1e30;
/// The largest sum of squares.
const MOST_SQUARES: f64 = 1e60;
/// Bytes of a service's name, of its process's and of an operation's.
const MOST_NAME: usize = 128;

/// The samples of one service since its last report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `wavetank.service/1`
    pub schema: String,
    /// The service's name: the tag `target`.
    pub service: String,
    /// Which of the service's processes: each answers for itself.
    #[serde(default)]
    pub instance: String,
    /// Its series.
    pub series: Vec<Series>,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The metric's name.
    pub metric: String,
    /// The tag `op`; empty if there is none.
    pub op: String,
    /// `ok`, `error`, or empty where there is no outcome.
    #[serde(default)]
    pub outcome: String,
    /// Its samples.
    pub samples: Samples,
}

/// The samples of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Samples {
    /// A sum.
    Counter(f64),
    /// Non-zero samples and all.
    Rate(u64, u64),
    /// A distribution.
    Trend {
        /// V2, base64.
        histogram: String,
        /// Exact sum.
        sum: f64,
        /// Exact sum of squares.
        sum_squares: f64,
        /// Exact minimum.
        min: u64,
        /// Exact maximum.
        max: u64,
    },
}

/// A report that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a service's report is not usable: {0}")]
pub struct WireError(String);

impl Report {
    /// The reportable series of a snapshot.
    pub fn new(service: &str, instance: &str, snapshot: &Snapshot, names: &Names) -> Self {
        let series = snapshot
            .cells
            .iter()
            .filter_map(|(key, _, cell)| {
                let builtin = REPORTED.into_iter().find(|builtin| builtin.id() == key.metric)?;
                let op = names.resolve(key.tags.op).to_string();
                let outcome = match key.tags.outcome {
                    Outcome::None => "",
                    Outcome::Ok => "ok",
                    Outcome::Error => "error",
                };
                let (metric, outcome) = (builtin.name().to_owned(), outcome.to_owned());
                Some(Series { metric, op, outcome, samples: encode(cell)? })
            })
            .collect();
        let (service, instance) = (service.to_owned(), instance.to_owned());
        Self { schema: "wavetank.service/1".to_owned(), service, instance, series }
    }

    /// Reads a report that came over the bus.
    pub fn parse(payload: &[u8]) -> Result<Self, WireError> {
        let report: Self =
            serde_json::from_slice(payload).map_err(|error| WireError(error.to_string()))?;
        if report.schema != "wavetank.service/1" {
            return Err(WireError(format!("schema `{:.40}`", report.schema)));
        }
        if report.series.len() > MOST_SERIES {
            return Err(WireError(format!("{} series", report.series.len())));
        }
        let mut names = vec![&report.service, &report.instance];
        names.extend(report.series.iter().map(|series| &series.op));
        let unfit = |name: &str| name.len() > MOST_NAME || name.contains(char::is_control);
        if report.service.is_empty() || names.into_iter().any(|name| unfit(name)) {
            return Err(WireError("a name that cannot be one".to_owned()));
        }
        Ok(report)
    }

    /// The report as cells of the run.
    pub fn cells(&self, names: &Names) -> Result<Vec<(SeriesKey, Cell<u32>)>, WireError> {
        self.series
            .iter()
            .map(|series| {
                let builtin = REPORTED
                    .into_iter()
                    .find(|builtin| builtin.name() == series.metric)
                    .ok_or_else(|| WireError(format!("metric `{:.40}`", series.metric)))?;
                let tags = TagSet {
                    op: names.intern(&series.op),
                    target: names.intern(&self.service),
                    outcome: match series.outcome.as_str() {
                        "" => Outcome::None,
                        "ok" => Outcome::Ok,
                        "error" => Outcome::Error,
                        other => return Err(WireError(format!("outcome `{other:.40}`"))),
                    },
                    ..TagSet::default()
                };
                let cell = decode(&series.samples)?;
                let fits = matches!(
                    (&cell, builtin.kind()),
                    (Cell::Counter(_), super::Kind::Counter)
                        | (Cell::Rate(_), super::Kind::Rate)
                        | (Cell::Trend(_), super::Kind::Trend)
                );
                if !fits {
                    return Err(WireError(format!("`{}` is of another kind", series.metric)));
                }
                Ok((SeriesKey { metric: builtin.id(), tags }, cell))
            })
            .collect()
    }
}

fn encode(cell: &Cell<u32>) -> Option<Samples> {
    match cell {
        Cell::Counter(sum) => Some(Samples::Counter(*sum)),
        Cell::Rate(rate) => Some(Samples::Rate(rate.hits, rate.total)),
        Cell::Gauge(_) => None,
        Cell::Trend(trend) => {
            let mut bytes = Vec::new();
            V2Serializer::new().serialize(&trend.values, &mut bytes).ok()?;
            Some(Samples::Trend {
                histogram: STANDARD.encode(bytes),
                sum: trend.sum,
                sum_squares: trend.sum_squares,
                min: trend.min,
                max: trend.max,
            })
        }
    }
}

fn decode(samples: &Samples) -> Result<Cell<u32>, WireError> {
    match samples {
        Samples::Counter(sum) if (0.0..=MOST).contains(sum) => Ok(Cell::Counter(*sum)),
        Samples::Counter(sum) => Err(WireError(format!("a counter of {sum}"))),
        Samples::Rate(hits, total) if hits <= total => {
            Ok(Cell::Rate(Rate { hits: *hits, total: *total }))
        }
        Samples::Rate(hits, total) => Err(WireError(format!("{hits} of {total}"))),
        Samples::Trend { histogram, sum, sum_squares, min, max } => {
            if histogram.len() > MOST_BYTES
                || !(0.0..=MOST).contains(sum)
                || !(0.0..=MOST_SQUARES).contains(sum_squares)
            {
                return Err(WireError("a histogram beyond its bounds".to_owned()));
            }
            let bytes = STANDARD.decode(histogram).map_err(|error| WireError(error.to_string()))?;
            let values: Histogram<u64> =
                histogram::read(&bytes).map_err(|error| WireError(error.to_owned()))?;
            let mut trend = Trend::<u32> {
                sum: *sum,
                sum_squares: *sum_squares,
                min: *min,
                max: *max,
                ..Trend::default()
            };
            // Counts are added one by one into a histogram of ours: a range that only the sender
            // believes in stays with the sender.
            for step in values.iter_recorded() {
                let count = u32::try_from(step.count_since_last_iteration());
                let value = step.value_iterated_to().min(LARGEST);
                put(&mut trend.values, value, count.unwrap_or(u32::MAX));
            }
            Ok(Cell::Trend(Box::new(trend)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Instant,
        metric::{Recorder, RecorderConfig, Selector, Totals},
    };

    fn recorded() -> (Report, Names) {
        let config = RecorderConfig {
            registry: std::sync::Arc::default(),
            names: Names::default(),
            windowed: Vec::new(),
            max_series: 100,
        };
        let names = config.names.clone();
        let recorder = Recorder::new(config, 0, Instant::ZERO);
        let tags = TagSet { op: names.intern("stats"), ..TagSet::default() };
        for value in 1..=1_000 {
            let took = value * 1_000_000;
            recorder.trend(Builtin::ServiceHandleDuration.id(), tags, Instant::ZERO, took);
            recorder.add(Builtin::ServiceHandled.id(), tags, Instant::ZERO, 1.0);
            recorder.rate(Builtin::ServiceFailed.id(), tags, Instant::ZERO, value % 10 == 0);
            recorder.add(Builtin::BusRequests.id(), tags, Instant::ZERO, 1.0);
        }
        (Report::new("db", "db_1", &recorder.take(Instant::from_nanos(1)), &names), names)
    }

    #[test]
    fn what_a_service_measured_arrives_whole_and_nothing_else_does() {
        let (report, _) = recorded();
        assert_eq!(report.series.len(), 3, "a service does not report bus_requests");
        let payload = serde_json::to_vec(&report).unwrap();
        let names = Names::default();
        let mut totals = Totals::default();
        for (key, cell) in Report::parse(&payload).unwrap().cells(&names).unwrap() {
            totals.merge_cell(key, &cell);
        }
        let registry = crate::metric::Registry::default();
        let selector = Selector([("target".to_owned(), "db".to_owned())].into());
        let select = |builtin: Builtin| totals.select(&registry, &names, builtin.id(), &selector);
        let Cell::Trend(trend) = select(Builtin::ServiceHandleDuration) else { panic!() };
        assert_eq!((trend.count(), trend.min, trend.max), (1_000, 1_000_000, 1_000_000_000));
        let median = trend.values.value_at_quantile(0.5);
        assert!((500_000_000..=500_500_000).contains(&median), "{median}");
        assert!(matches!(select(Builtin::ServiceHandled), Cell::Counter(1_000.0)));
        assert!(matches!(
            select(Builtin::ServiceFailed),
            Cell::Rate(Rate { hits: 100, total: 1_000 })
        ));
    }

    #[test]
    fn a_hostile_report_is_refused() {
        let (report, names) = recorded();
        let nameless = Report { service: String::new(), ..report.clone() };
        assert!(Report::parse(&serde_json::to_vec(&nameless).unwrap()).is_err());
        let mut foreign = report.clone();
        foreign.series[0].metric = "bus_requests".to_owned();
        assert!(foreign.cells(&names).is_err());
        let mut endless = report.clone();
        for series in &mut endless.series {
            series.samples = Samples::Counter(1e308);
        }
        assert!(endless.cells(&names).is_err());
        let mut backwards = report.clone();
        for series in &mut backwards.series {
            series.samples = Samples::Rate(5, 2);
        }
        assert!(backwards.cells(&names).is_err());
        let mut huge = report;
        for series in &mut huge.series {
            if let Samples::Trend { histogram, .. } = &mut series.samples {
                let mut bytes = STANDARD.decode(&*histogram).unwrap();
                bytes[15] = 5;
                *histogram = STANDARD.encode(bytes);
            }
        }
        assert!(huge.cells(&names).is_err());
        for bytes in [
            &b""[..],
            b"{}",
            b"[1,2]",
            b"\xff\xfe",
            b"{\"schema\":\"x\",\"service\":\"\",\"series\":[]}",
        ] {
            assert!(Report::parse(bytes).is_err());
        }
    }
}
