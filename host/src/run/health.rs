//! The runner's own part in its figures: heartbeats, CPU, memory, what an empty operation costs.
//! SEMANTICS §5.

use std::{collections::BTreeMap, path::Path, rc::Rc, sync::Arc, time::Duration};

use super::{Shared, memory::Footprint};
use crate::{
    clock::{Clock, Instant},
    executor::{Ground, Timer},
    metric::{Builtin, Cell, Name, Names, Recorder, RecorderConfig, Selector, TagSet, Totals},
    plan::{ConnectionSharing, Limits, Plan},
    primitive::{LogLine, LogSink, Operation, Ops, Random, Scope, ScopeConfig, Stamped, database},
};

/// What the names of threads begin with that run services: what they use is not the runner's.
pub(super) const SERVICE: &str = "service-";
/// How often a shard's loop shows that it turns.
const BEAT: Duration = Duration::from_millis(5);
/// Empty operations that are measured before a run.
const PROBES: u32 = 2_001;
/// Kernel clock ticks per second in /proc, fixed by the ABI.
const TICKS_PER_S: f64 = 100.0;

/// Records how late each beat of the shard's loop was; missed ones from when they were due, so that
/// a stall of a second counts as two hundred late beats and not as one. A beat belongs to the part of the
/// run that it was due in: an `init` that keeps the shard busy says nothing of the load's figures.
pub(super) async fn heartbeat(ground: Rc<Ground>, shared: Arc<Shared>) {
    let clock = ground.clock;
    let mut timer = Timer::new(clock, false);
    let mut due = clock.now() + BEAT;
    loop {
        timer.wait_until(due).await;
        let now = clock.now();
        while due <= now {
            let late = now.since(due).as_nanos() as u64;
            let tags = TagSet { phase: shared.load.phase(due), ..TagSet::default() };
            ground.recorder.trend(Builtin::RunnerLoopLag.id(), tags, due, late);
            due = due + BEAT;
        }
    }
}

/// Descriptors that a run needs beside those of its VUs.
const OWN_DESCRIPTORS: u64 = 128;

/// The limits of this machine that a plan comes near, four fifths or more, in words. `room` is how
/// many VUs fit into the process, `descriptors` how many it may open, `footprint` what a VU takes.
pub(super) fn near_limits(
    plan: &Plan,
    room: Option<u32>,
    descriptors: Option<u64>,
    footprint: Option<Footprint>,
) -> BTreeMap<String, String> {
    let near = |wanted: u64, most: u64| wanted.saturating_mul(5) >= most.saturating_mul(4);
    let vus = |of: &dyn Fn(ConnectionSharing) -> bool| -> u64 {
        let scenarios = plan.scenarios.iter().filter(|scenario| of(scenario.connection));
        scenarios.map(|scenario| plan.segment.share(scenario.executor.max_vus().into())).sum()
    };
    let mut limits = BTreeMap::new();
    let all = vus(&|_| true);
    if let Some(room) = room.map(u64::from).filter(|room| near(all, *room)) {
        let words = format!("{all} VUs may exist, and {room} instances fit into a process here");
        limits.insert("vm.max_map_count".to_owned(), words);
    }
    if let Some(Footprint { bytes, room }) = footprint.filter(|it| near(all, it.room)) {
        let words = format!(
            "{all} VUs may exist, and {room} of {} KiB each, as the first ones took, fit into what is left",
            bytes.div_ceil(1024)
        );
        limits.insert("memory".to_owned(), words);
    }
    let connections = vus(&|sharing| sharing == ConnectionSharing::Vu);
    if let Some(most) = descriptors.filter(|most| near(connections + OWN_DESCRIPTORS, *most))
        && connections > 0
    {
        let words =
            format!("{connections} VUs connect by themselves, and {most} files may be open");
        limits.insert("open files".to_owned(), words);
    }
    limits
}

/// How many descriptors this process may open; `None` without a limit.
pub(super) fn descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// CPU and memory of the runner: of this process, without the threads of what it only hosts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// CPU time, in seconds.
    pub(super) cpu_s: f64,
    /// Of it in the kernel, a hundredth of a second more or less for each thread.
    system_s: f64,
    /// Resident memory of the process, now and at most.
    pub(super) rss_bytes: u64,
    pub(super) peak_rss_bytes: u64,
}

impl Usage {
    /// As the kernel tells it; zero where it does not. CPU of the threads of services is left out, and that
    /// of SQLite's threads, which are the database.
    pub(super) fn now() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kilobytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let all = Ticks::read(Path::new("/proc/self")).unwrap_or_default();
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let mut theirs = Ticks::default();
        for task in tasks.filter_map(|task| Ticks::read(&task.path())) {
            if task.name.starts_with(SERVICE) || database::is_thread(&task.name) {
                theirs.system_s += task.system_s;
                theirs.cpu_s += task.cpu_s;
            }
        }
        Self {
            cpu_s: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9 - theirs.cpu_s,
            system_s: all.system_s - theirs.system_s,
            rss_bytes: kilobytes("VmRSS:").unwrap_or(0) * 1024,
            peak_rss_bytes: kilobytes("VmHWM:").unwrap_or(0) * 1024,
        }
    }

    /// CPU time since `before`, in user mode and in the kernel. Their sum is what it was to the nanosecond.
    /// How it divides the kernel knows to a tick of each thread only, so that a part too short to be seen
    /// can be off by more than it is: it is never told as more than all or as less than nothing.
    pub(super) fn since(&self, before: &Self) -> (f64, f64) {
        let cpu_s = self.cpu_s - before.cpu_s;
        let system_s = (self.system_s - before.system_s).min(cpu_s).max(0.0);
        (cpu_s - system_s, system_s)
    }
}

/// CPU time of a process or a thread by the kernel's ticks, which are a hundredth of a second long.
#[derive(Clone, Debug, Default)]
struct Ticks {
    name: String,
    /// In the kernel.
    system_s: f64,
    /// In all; exact where the kernel counts nanoseconds.
    cpu_s: f64,
}

impl Ticks {
    /// What a folder of /proc says.
    fn read(folder: &Path) -> Option<Self> {
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        // The name stands in parentheses and may hold anything; after it, user time is the 12th field.
        let (before, after) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let mut fields = after.split_whitespace().skip(11).map(str::parse::<f64>);
        let (user_s, system_s) =
            (fields.next()?.ok()? / TICKS_PER_S, fields.next()?.ok()? / TICKS_PER_S);
        let exact = std::fs::read_to_string(folder.join("schedstat")).ok();
        let nanos = exact.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        let cpu_s = nanos.map_or(user_s + system_s, |nanos| nanos / 1e9);
        Some(Self { name: name.to_owned(), system_s, cpu_s })
    }
}

/// What the host itself costs on this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnCost {
    /// Median duration of an operation that does nothing, as it would be recorded.
    pub empty_operation_ns: f64,
    /// One reading of the clock.
    pub clock_read_ns: f64,
}

/// Measures it, on the calling thread, with the run's clock and a recorder like the shards'.
pub(super) async fn own_cost(shared: &Arc<Shared>) -> OwnCost {
    if shared.clock.is_virtual() {
        return OwnCost::default();
    }
    noise_floor(shared.clock).await
}

/// Nothing is logged while nothing happens.
#[derive(Debug)]
struct Silence;

impl LogSink for Silence {
    fn line(&self, _: LogLine) {}
}

/// Measures what the host itself costs, on the calling thread, with a recorder like a run's.
pub async fn noise_floor(clock: Clock) -> OwnCost {
    let config = RecorderConfig {
        registry: Arc::default(),
        names: Names::default(),
        windowed: Vec::new(),
        max_series: Limits::default().series,
    };
    let recorder = Rc::new(Recorder::new(config, 0, clock.now()));
    let scope = Scope::new(
        ScopeConfig {
            clock,
            recorder: Rc::clone(&recorder),
            limits: Arc::new(Limits::default()),
            ops: Ops::new::<&str>(&[], recorder.names()),
            metrics: Arc::default(),
            log: Rc::new(Silence),
            trace: false,
            seed: 0,
        },
        0,
    );
    scope.begin(TagSet::default(), clock.now(), Random::new(0, "probe", 0));
    let operation = Operation {
        count: Builtin::BusRequests,
        duration: Builtin::BusRequestDuration,
        failed: Builtin::BusRequestFailed,
    };
    for _ in 0..PROBES {
        let nothing = std::pin::pin!(async { Stamped { result: Ok(()), span: None } });
        let _ = scope.measure(operation, Name::NONE, nothing).await;
    }
    let mut totals = Totals::default();
    totals.merge(&recorder.take(clock.now()));
    let durations = totals.select(
        recorder.registry(),
        recorder.names(),
        operation.duration.id(),
        &Selector::default(),
    );
    let Cell::Trend(durations) = durations else { return OwnCost::default() };
    OwnCost {
        empty_operation_ns: durations.values.value_at_quantile(0.5) as f64,
        clock_read_ns: clock_read(clock),
    }
}

fn clock_read(clock: Clock) -> f64 {
    let first = clock.now();
    let mut last = Instant::ZERO;
    for _ in 0..PROBES {
        last = std::hint::black_box(clock.now());
    }
    last.since(first).as_nanos() as f64 / f64::from(PROBES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::Executor,
        run::tests::{plan, scenario},
    };

    fn vus(vus: u32) -> Plan {
        let duration = Duration::from_secs(1);
        plan(vec![scenario("load", Executor::ConstantVus { vus, duration, pace: None })])
    }

    #[test]
    fn cpu_is_divided_as_far_as_ticks_tell_and_its_sum_is_kept() {
        let usage = |cpu_s, system_s| Usage { cpu_s, system_s, ..Usage::default() };
        let before = usage(1.0, 0.25);
        assert_eq!(usage(3.0, 0.75).since(&before), (1.5, 0.5));
        // Ticks that were taken off for others' threads are more than the kernel's own sum has; or ticks are
        // more than all.
        assert_eq!(usage(1.5, 0.125).since(&before), (0.5, 0.0));
        assert_eq!(usage(1.125, 0.5).since(&before), (0.0, 0.125));
    }

    #[test]
    fn limits_that_a_plan_comes_near_are_told() {
        let (mut many, few) = (vus(1_000), vus(10));
        assert_eq!(near_limits(&few, Some(10_000), Some(1_024), None), BTreeMap::new());
        let told = near_limits(&many, Some(1_200), Some(1_024), None);
        assert_eq!(told.keys().collect::<Vec<_>>(), ["vm.max_map_count"]);
        assert!(told["vm.max_map_count"].contains("1000 VUs"), "{told:?}");
        many.scenarios[0].connection = ConnectionSharing::Vu;
        let told = near_limits(&many, None, Some(1_024), None);
        assert_eq!(told.keys().collect::<Vec<_>>(), ["open files"]);
        assert_eq!(near_limits(&many, None, None, None), BTreeMap::new());
        let footprint = |room| Some(Footprint { bytes: 13_000, room });
        assert_eq!(near_limits(&many, None, None, footprint(1_251)), BTreeMap::new());
        let told = near_limits(&many, None, None, footprint(900));
        let words = "1000 VUs may exist, and 900 of 13 KiB each";
        assert!(told["memory"].starts_with(words), "{told:?}");
    }
}
