//! What a run makes of its targets: samples become metrics of the part of the run that they fall in, and
//! what happened to them becomes facts.
//!
//! CPU and bytes between two samples belong to the middle between them, so a tenth of a second around the
//! edge of a scenario or a stage may be counted on its other side; at the load's beginning and end the
//! targets are looked at once more, and nothing is.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;

use super::{
    Shared,
    chronicle::{Happening, MarkerKind},
    facts::Ledger,
};
use crate::{
    clock::{Instant, Span},
    metric::{Builtin, Name, Phase, Recorder, TagSet},
    primitive::{bus, outage::OperationKind},
    target::{self, Event, Listener, Sample, Standing, Subscription},
    verdict::{SlopeSeries, TargetFacts, TargetSlope},
};

/// Between two requests that nobody answers.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Asks the run's bus whether a target answers.
pub struct BusProbe(bus::Source);

impl BusProbe {
    /// Asks this bus.
    pub const fn new(bus: bus::Source) -> Self {
        Self(bus)
    }
}

impl fmt::Debug for BusProbe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BusProbe")
    }
}

impl target::Probe for BusProbe {
    fn answered(
        &self,
        subject: &str,
        payload: &str,
    ) -> LocalBoxFuture<'static, Result<(), String>> {
        let (bus, subject) = (self.0.clone(), subject.to_owned());
        let payload = bytes::Bytes::from(payload.to_owned());
        Box::pin(async move {
            let failed = |error: &dyn fmt::Display| format!("`{subject}` cannot be asked: {error}");
            let connection = bus.connect("wavetank ready").await;
            let connection = connection.map_err(|error| failed(&error))?;
            let token: u64 = rand::random();
            let inbox = format!("_wavetank.ready.{token:016x}");
            let replies = connection.subscribe_raw(&inbox, None, 16).await;
            let replies = replies.map_err(|error| failed(&error))?;
            loop {
                let asking = connection.publish_raw(
                    &subject,
                    payload.clone(),
                    bus::Headers::new(),
                    Some(&inbox),
                );
                asking.await.map_err(|error| failed(&error))?;
                let again = tokio::time::sleep(ASK_AGAIN);
                tokio::pin!(again);
                loop {
                    tokio::select! {
                        () = &mut again => break,
                        reply = replies.next() => match reply {
                            // That nobody subscribes is told as a reply without a message.
                            Some(reply) if is_status(&reply) => {}
                            Some(_) => return Ok(()),
                            None => return Err(failed(&"the connection has ended")),
                        },
                    }
                }
            }
        })
    }
}

fn is_status(message: &bus::Message) -> bool {
    message.headers.iter().any(|(name, status)| name == "Status" && status == "503")
}

/// The books of a run on its targets.
pub(super) struct Targets {
    source: target::Source,
    subscription: Subscription,
    books: Vec<Book>,
    user: Name,
    system: Name,
    /// Deaths from before this run.
    dead: Vec<String>,
    /// What happened since it was last asked for.
    happened: Vec<Happening>,
}

/// What is known of one target.
#[derive(Default)]
struct Book {
    name: Name,
    last: Option<(Instant, Sample)>,
    network: Option<u64>,
    facts: TargetFacts,
    cpu_s: f64,
    main_s: f64,
    pss: SlopeSeries,
    rss: SlopeSeries,
    threads: SlopeSeries,
    fds: SlopeSeries,
}

impl Targets {
    /// Begins to listen; `None` without targets.
    pub(super) fn of(shared: &Shared) -> Option<Self> {
        let source = shared.targets.clone()?;
        let outages = Arc::clone(&shared.outages);
        let listener = Listener::new(move |at, event| match event {
            Event::Down { target } => outages.down(*target, at),
            Event::Up { target, .. } => outages.up(*target, at),
            Event::Sample(_) | Event::Died { .. } => {}
        });
        let subscription = source.subscribe(shared.clock, listener);
        let books = source.plans().iter().map(|plan| Book {
            name: shared.names.intern(&plan.name),
            facts: TargetFacts {
                name: plan.name.clone(),
                source: plan.describe(),
                ..TargetFacts::default()
            },
            ..Book::default()
        });
        let books = books.collect();
        let died = |standing: Standing| standing.death.filter(|_| !standing.running);
        let dead = source.standings().into_iter().filter_map(died).collect();
        let extra = |mode: &str| {
            let mut tags = shared.plan.tags.clone();
            tags.insert("mode".to_owned(), mode.to_owned());
            let pairs: Vec<_> = tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            shared.names.intern(&pairs.join(","))
        };
        let (user, system) = (extra("user"), extra("system"));
        let happened = Vec::new();
        Some(Self { source, subscription, books, user, system, dead, happened })
    }

    /// Looks at all of them now.
    pub(super) async fn look(&self) {
        self.source.look().await;
    }

    /// Records what has come; the deaths among it, in words.
    pub(super) fn take(
        &mut self,
        shared: &Shared,
        recorder: &Recorder,
        ledger: &Ledger,
    ) -> Vec<String> {
        let mut deaths = std::mem::take(&mut self.dead);
        for (at, event) in self.subscription.take() {
            match event {
                Event::Sample(sample) => self.sample(shared, recorder, ledger, at, sample),
                Event::Died { target, text } => {
                    self.note(MarkerKind::Died, target, at, None);
                    deaths.push(text);
                }
                Event::Up { target, asked, started: true } => {
                    // Its first start is none again.
                    if let Some(book) = self.books.get(target) {
                        let tags = book.tags(shared, ledger, at);
                        let span = Span::between(asked, at);
                        let metric = Builtin::TargetRestartDuration.id();
                        recorder.trend(metric, tags, asked, span.nanos());
                    }
                    self.note(MarkerKind::Restart, target, asked, Some(at));
                }
                Event::Down { target } => self.note(MarkerKind::Down, target, at, None),
                Event::Up { .. } => {}
            }
        }
        self.outages(shared, recorder, ledger, false);
        deaths
    }

    /// What operations met while a target was away; at the end also what has not ended, which is a
    /// lower bound.
    pub(super) fn outages(
        &mut self,
        shared: &Shared,
        recorder: &Recorder,
        ledger: &Ledger,
        all: bool,
    ) {
        let now = shared.clock.now();
        for outage in shared.outages.take(now, all) {
            let Some(book) = self.books.get(outage.what) else { continue };
            let OperationKind { op, scenario, count: kind } = outage.kind;
            let tags = TagSet { scenario, op, ..book.tags(shared, ledger, outage.from) };
            let metric = Builtin::TargetOutageDuration.id();
            let named = |name: Name| shared.names.resolve(name).to_string();
            let what = [named(book.name), kind.name().to_owned(), named(op)];
            let words: Vec<_> = what.into_iter().filter(|word| !word.is_empty()).collect();
            self.happened.push(Happening::marked(
                MarkerKind::Outage,
                outage.from,
                outage.to,
                words.join(" "),
            ));
            match outage.to {
                Some(to) => {
                    let span = Span::between(outage.from, to);
                    recorder.trend(metric, tags, outage.from, span.nanos());
                }
                None => {
                    let span = Span::between(outage.from, now);
                    recorder.censored(metric, tags, outage.from, span.nanos());
                }
            }
        }
    }

    fn sample(
        &mut self,
        shared: &Shared,
        recorder: &Recorder,
        ledger: &Ledger,
        at: Instant,
        sample: Sample,
    ) {
        let Some(book) = self.books.get_mut(sample.target) else { return };
        if let Some((since, before)) = book.last.replace((at, sample)) {
            let length = at.since(since);
            let middle = since + length / 2;
            let tags = book.tags(shared, ledger, middle);
            let user_s = seconds(before.user_ns, sample.user_ns);
            let system_s = seconds(before.system_ns, sample.system_ns);
            let cpu = Builtin::TargetCpuSeconds.id();
            recorder.add(cpu, TagSet { extra: self.user, ..tags }, middle, user_s);
            recorder.add(cpu, TagSet { extra: self.system, ..tags }, middle, system_s);
            let read = sample.read_bytes.saturating_sub(before.read_bytes);
            let written = sample.written_bytes.saturating_sub(before.written_bytes);
            recorder.add(Builtin::TargetReadBytes.id(), tags, middle, read as f64);
            recorder.add(Builtin::TargetWrittenBytes.id(), tags, middle, written as f64);
            let network = match (book.network, sample.network_bytes) {
                (Some(before), Some(now)) => Some(now.saturating_sub(before)),
                (None, Some(_)) => Some(0),
                (_, None) => None,
            };
            book.network = sample.network_bytes;
            if let Some(network) = network {
                recorder.add(Builtin::TargetNetworkBytes.id(), tags, middle, network as f64);
            }
            if tags.phase == Phase::Main {
                book.count(user_s, system_s, length, [read, written], network);
            }
            if length >= target::INTERVAL / 2 && sample.running {
                let percent = (user_s + system_s) / length.as_secs_f64() * 100.0;
                recorder.gauge(Builtin::TargetCpuPercent.id(), tags, at, percent);
                if tags.phase == Phase::Main {
                    let most = book.facts.cpu_percent_max.unwrap_or(0.0).max(percent);
                    book.facts.cpu_percent_max = Some(most);
                }
            }
        }
        if sample.running {
            let tags = book.tags(shared, ledger, at);
            gauges(recorder, tags, at, &sample);
            if tags.phase == Phase::Main {
                book.measure(at, &sample);
            }
        }
    }

    /// What happened since this was last asked.
    pub(super) fn happened(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happened)
    }

    fn note(&mut self, kind: MarkerKind, target: usize, at: Instant, until: Option<Instant>) {
        if let Some(book) = self.books.get(target) {
            let what = book.facts.name.clone();
            self.happened.push(Happening::marked(kind, at, until, what));
        }
    }

    /// What the summary says of them.
    pub(super) fn facts(&self) -> Vec<TargetFacts> {
        let standings = self.source.standings();
        self.books.iter().zip(standings).map(|(book, standing)| book.facts(standing)).collect()
    }
}

fn seconds(before: u64, now: u64) -> f64 {
    now.saturating_sub(before) as f64 / 1e9
}

fn gauges(recorder: &Recorder, tags: TagSet, at: Instant, sample: &Sample) {
    let gauge = |metric: Builtin, value: u64| recorder.gauge(metric.id(), tags, at, value as f64);
    gauge(Builtin::TargetRssBytes, sample.rss_bytes);
    gauge(Builtin::TargetPeakRssBytes, sample.peak_rss_bytes);
    gauge(Builtin::TargetVmsBytes, sample.vms_bytes);
    gauge(Builtin::TargetThreads, sample.threads);
    if let Some(pss) = sample.pss_bytes {
        gauge(Builtin::TargetPssBytes, pss);
    }
    if let Some(fds) = sample.fds {
        gauge(Builtin::TargetFds, fds);
    }
}

impl Book {
    fn tags(&self, shared: &Shared, ledger: &Ledger, at: Instant) -> TagSet {
        let (phase, scenario, stage) = ledger.place(shared, at);
        let workload = shared.names.intern(&shared.plan.name);
        TagSet { phase, workload, scenario, stage, target: self.name, ..TagSet::default() }
    }

    fn count(
        &mut self,
        user_s: f64,
        system_s: f64,
        length: Duration,
        [read, written]: [u64; 2],
        network: Option<u64>,
    ) {
        self.facts.cpu_user_s += user_s;
        self.facts.cpu_system_s += system_s;
        self.cpu_s += user_s + system_s;
        self.main_s += length.as_secs_f64();
        self.facts.read_bytes += read;
        self.facts.written_bytes += written;
        if let Some(network) = network {
            *self.facts.network_bytes.get_or_insert_default() += network;
        }
    }

    fn measure(&mut self, at: Instant, sample: &Sample) {
        let facts = &mut self.facts;
        let most = |before: Option<u64>, now: u64| Some(before.unwrap_or(0).max(now));
        facts.rss_start_bytes.get_or_insert(sample.rss_bytes);
        facts.rss_end_bytes = Some(sample.rss_bytes);
        facts.rss_max_bytes = most(facts.rss_max_bytes, sample.rss_bytes);
        facts.peak_rss_bytes = most(facts.peak_rss_bytes, sample.peak_rss_bytes);
        facts.vms_bytes = Some(sample.vms_bytes);
        facts.threads_max = most(facts.threads_max, sample.threads);
        let seconds = at.as_nanos() as f64 / 1e9;
        self.rss.push(seconds, sample.rss_bytes as f64);
        self.threads.push(seconds, sample.threads as f64);
        if let Some(pss) = sample.pss_bytes {
            facts.pss_bytes = Some(pss);
            self.pss.push(seconds, pss as f64);
        }
        if let Some(fds) = sample.fds {
            facts.fds_max = most(facts.fds_max, fds);
            self.fds.push(seconds, fds as f64);
        }
    }

    fn facts(&self, standing: Standing) -> TargetFacts {
        let slopes = [
            (Builtin::TargetRssBytes, &self.rss),
            (Builtin::TargetPssBytes, &self.pss),
            (Builtin::TargetThreads, &self.threads),
            (Builtin::TargetFds, &self.fds),
        ];
        let slopes = slopes
            .into_iter()
            .filter_map(|(metric, series)| Some(TargetSlope::new(metric.name(), series.slope()?)));
        TargetFacts {
            pid: standing.pid,
            running: standing.running,
            starts: standing.starts,
            planned_stops: standing.planned_stops,
            unplanned_deaths: standing.unplanned_deaths,
            cpu_percent: (self.main_s > 0.0).then(|| self.cpu_s / self.main_s * 100.0),
            slopes: slopes.collect(),
            last_lines: standing.last_lines,
            ..self.facts.clone()
        }
    }
}
