//! What the workloads themselves cost, apart from the operations' time: a slow plugin must never be taken for
//! a slow system.

use super::{
    quantity::{digits, quantity},
    terminal::bound,
};
use crate::{
    metric::Unit,
    run::summary::{MetricSummary, Summary, TrendValues, Values},
};

/// The cost of a workload.
pub(super) struct Cost<'a> {
    /// Its name in a suite; `None` where it is the only one.
    pub workload: Option<&'a str>,
    cpu: &'a TrendValues,
    calls: f64,
    memory: Option<f64>,
    traps: f64,
    refused: f64,
}

/// The cost of each workload that ran iterations.
pub(super) fn costs<'a>(summary: &'a Summary) -> Vec<Cost<'a>> {
    let joined = summary.is_joined();
    let whole = |metric: &&MetricSummary| {
        let named = metric.tags.contains_key("workload");
        named == joined && metric.tags.keys().all(|key| key == "workload" || key == "row")
    };
    let times = summary.metrics.iter().filter(|it| it.name == "guest_cpu_time").filter(whole);
    let cost = |metric: &'a MetricSummary| {
        let Values::Trend(cpu) = &metric.values else { return None };
        let of = |name: &str| {
            let mut same =
                summary.metrics.iter().filter(|it| it.name == name && it.tags == metric.tags);
            same.next().map(|it| &it.values)
        };
        let count = |name: &str| match of(name) {
            Some(Values::Counter { count, .. }) => *count,
            _ => 0.0,
        };
        let memory = match of("guest_memory_bytes") {
            Some(Values::Gauge { max, .. }) => *max,
            _ => None,
        };
        Some(Cost {
            workload: metric.tags.get("workload").map(String::as_str),
            cpu,
            calls: count("guest_host_calls") / (cpu.count.max(1)) as f64,
            memory,
            traps: count("guest_traps"),
            refused: count("guest_refused"),
        })
    };
    times.filter_map(cost).collect()
}

impl Cost<'_> {
    /// In words, without the workload's name.
    pub fn words(&self) -> String {
        let time = |name: &str, value| bound(self.cpu, name, value, Unit::Nanoseconds);
        let mut words = vec![
            format!(
                "CPU per iteration p50 {}, p99 {}",
                time("p(50)", self.cpu.p50),
                time("p(99)", self.cpu.p99)
            ),
            format!("host calls per iteration {}", digits(self.calls)),
        ];
        let memory = |bytes| format!("memory of the largest instance {}", quantity(bytes, "B"));
        words.extend(self.memory.map(memory));
        for (count, what) in [(self.traps, "traps"), (self.refused, "calls refused")] {
            words.extend((count > 0.0).then(|| format!("{what} {count}")));
        }
        words.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        metric::Kind,
        report::{html, markdown, terminal, tests::story},
        run::summary::WorkloadInfo,
    };

    fn metric(name: &str, workload: &str, kind: Kind, unit: Unit, values: Values) -> MetricSummary {
        let tags = [("workload", workload), ("row", "R1")];
        let tags = tags.into_iter().filter(|_| !workload.is_empty());
        let tags: BTreeMap<_, _> = tags.map(|(key, it)| (key.to_owned(), it.to_owned())).collect();
        MetricSummary { name: name.to_owned(), kind, unit, tags, values }
    }

    fn metrics(workload: &str, p50: f64, calls: f64) -> Vec<MetricSummary> {
        let cpu =
            TrendValues { count: 50, p50: Some(p50), p99: Some(4e6), ..TrendValues::default() };
        let memory = Values::Gauge { value: None, min: None, max: Some(2e6), avg: None };
        let counted = |count| Values::Counter { count, per_second: None };
        vec![
            metric(
                "guest_cpu_time",
                workload,
                Kind::Trend,
                Unit::Nanoseconds,
                Values::Trend(Box::new(cpu)),
            ),
            metric("guest_host_calls", workload, Kind::Counter, Unit::Count, counted(calls)),
            metric("guest_memory_bytes", workload, Kind::Gauge, Unit::Bytes, memory),
            metric("guest_traps", workload, Kind::Counter, Unit::Count, counted(3.0)),
            metric("guest_refused", workload, Kind::Counter, Unit::Count, counted(4.0)),
        ]
    }

    #[test]
    fn every_report_tells_what_each_workload_cost() {
        let mut told = story();
        told.summary.run.workloads.clear();
        told.summary.metrics.extend(metrics("", 1e6, 125.0));
        let words = "CPU per iteration p50 1 ms, p99 4 ms; host calls per iteration 2.50; memory of the \
                     largest instance 2 MB; traps 3; calls refused 4";
        let shown = |told: &crate::report::story::Story| {
            let options = terminal::Options { color: false, long: false };
            let terminal = terminal::render(&told.summary, options);
            let unbroken = terminal.split_whitespace().collect::<Vec<_>>().join(" ");
            [unbroken, markdown::render(told), html::render(told)]
        };
        for page in shown(&told) {
            assert!(page.contains(words), "no `{words}` in {page}");
        }
        // Of a suite, of each workload by its name, and not of all of them together.
        told.summary.run.workloads =
            vec![WorkloadInfo { duration_s: 10.0, ..WorkloadInfo::default() }; 2];
        told.summary.metrics.extend(metrics("one", 2e6, 100.0));
        told.summary.metrics.extend(metrics("two", 3e6, 50.0));
        for page in shown(&told) {
            assert!(!page.contains(words), "{page}");
            for (p50, calls) in [(2, 2), (3, 1)] {
                let words = format!(
                    "CPU per iteration p50 {p50} ms, p99 4 ms; host calls per iteration {calls};"
                );
                assert!(page.contains(&words), "{page}");
            }
        }
    }
}
