//! From what was typed to a valid plan.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Derived, DerivedKind, Executor, Limits, Options, Overrides, Per, Recipe, Row, Scenario,
    Segment, Shortcuts, Start, Threshold, declare, derived,
    options::{KEYS, Level},
    quantity::shown,
    scenario::read::{self, Draft},
    section::{Item, Places, Section, listed, suggestion},
    threshold::{self, Operand, Universe},
};
use crate::{
    diagnostic::Diagnostic,
    metric::{Builtin, Kind, MetricId, Registry, Selector, Unit, Windowed},
};

/// What a plan is built from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PlanInput {
    /// Name of the run: the workload's file name without its ending, unless given.
    pub name: String,
    /// The workload's options.
    pub options: Options,
    /// Names of the functions that an iteration may call.
    pub functions: Vec<String>,
    /// What replaces the options.
    pub overrides: Overrides,
    /// Cores that VUs may run on.
    pub cores: usize,
    /// Where a value of the options stands, by its path (`["scenarios", "steady", "rate"]`): the
    /// loader knows. Used for carets.
    #[serde(skip)]
    pub places: BTreeMap<Vec<String>, crate::diagnostic::Place>,
    /// What is never measured of this kind of workload.
    pub unmeasured: Vec<Builtin>,
}

/// A run, valid.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the run.
    pub name: String,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// All metrics, built-in, declared, derived.
    pub registry: Arc<Registry>,
    /// The metrics that the workload declared.
    pub declared_metrics: Vec<MetricDeclaration>,
    /// The operation names that the workload declared.
    pub ops: Vec<String>,
    /// The thresholds, the defaults among them.
    pub thresholds: Vec<Threshold>,
    /// Metrics computed at the end.
    pub derived: Vec<Derived>,
    /// Subjects that the workload answers while it runs, with the functions that do it.
    pub services: BTreeMap<String, String>,
    /// By subject of `services`: the stream that its messages are consumed from, where there are streams.
    pub consumers: BTreeMap<String, Consumer>,
    /// Seed of all randomness.
    pub seed: u64,
    /// 1, or less with `--quick`.
    pub scale: f64,
    /// Threads that run VUs.
    pub shards: usize,
    /// The share of the plan that this process runs.
    pub segment: Segment,
    /// Limit on `setup`.
    pub setup_timeout: Duration,
    /// Limit on `teardown`.
    pub teardown_timeout: Duration,
    /// The run is stopped from outside after that.
    pub timeout: Option<Duration>,
    /// Tags of every sample.
    pub tags: BTreeMap<String, String>,
    /// The rows of a catalogue that it covers; its thresholds name theirs.
    pub rows: Vec<Row>,
    /// What the workload may use.
    pub limits: Limits,
    /// What the reader should know of how the plan came about: thresholds that were left out because
    /// flags replaced what they look at, for instance.
    pub notes: Vec<String>,
    /// What it was built from: by that it is built again when the run is reported from its record.
    pub recipe: Arc<Recipe>,
}

/// A metric that a workload declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricDeclaration {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// Its id in the plan's registry.
    pub id: MetricId,
    /// How many of `unit` one of the declared unit is: a workload's values are in the declared one,
    /// the registry multiplies them ([`Registry::scale`]).
    pub scale: u64,
}

/// Where a service's messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The stream, as its maker called it.
    pub stream: String,
    /// The durable consumer.
    pub consumer: String,
}

/// Where bus and database are. URLs may hold passwords: never print them as they are.
#[derive(Clone, Debug)]
pub struct Backends {
    /// `--bus`
    pub bus: String,
    /// `--db`
    pub database: String,
    /// `--db-schema`
    pub database_schema: Option<String>,
}

/// The name of the scenario that shortcuts stand for, as in k6.
const DEFAULT: &str = "default";
/// The function that it calls.
const ITERATION: &str = "iteration";
const MINUTE: Duration = Duration::from_secs(60);
const MOST_SHARDS: usize = 1_024;
const MOST_SCENARIOS: usize = 100;

impl Plan {
    /// Checks everything that can be checked without running.
    pub fn build(input: PlanInput) -> Result<Self, Diagnostic> {
        let recipe = Arc::new(Recipe::new(&input));
        let PlanInput { name, options, functions, overrides, cores, places, unmeasured } = input;
        let mut options = options.0;
        replace_thresholds(&mut options, &overrides.thresholds);
        let options = Value::Object(options);
        let root = Item { value: &options, path: Vec::new(), places: &places };
        if let Some(limits) = options.get("limits") {
            return Err(root
                .child("limits", limits)
                .error("a workload does not set its own limits")
                .help("give them with --limit NAME=VALUE"));
        }
        let section = root.section("a workload", KEYS)?;
        let limits = Limits::with(&overrides.limits)?;
        let mut tags = match section.get("tags") {
            Some(tags) => tags.labels()?,
            None => BTreeMap::new(),
        };
        tags.extend(overrides.tags.clone());
        declare::check_tags(&tags, "tags")?;

        let declared = declared_scenarios(&section, &root)?;
        check_scenarios(&declared, &functions, &root)?;
        let drafts = effective_scenarios(&declared, &overrides, &functions)?;
        let scenarios = allot_vus(drafts, limits.vus, &places)?;

        let mut registry = Registry::default();
        let metrics = section.get("metrics").map(|item| declare::metrics(&item, &mut registry));
        let ops = section.get("ops").map(|item| declare::ops(&item)).transpose()?;
        let services =
            section.get("services").map(|item| services(&item, &functions)).transpose()?;
        let (services, consumers) = services.unzip();
        let consumers = consumers.unwrap_or_default();
        let declared: Vec<_> = declared.into_iter().map(|draft| draft.scenario).collect();
        let mut plan = Self {
            name: overrides.name.unwrap_or(name),
            shards: shards(&scenarios, overrides.shards, cores)?,
            scenarios,
            registry: Arc::default(),
            declared_metrics: metrics.transpose()?.unwrap_or_default(),
            ops: ops.unwrap_or_default(),
            thresholds: Vec::new(),
            derived: Vec::new(),
            services: services.unwrap_or_default(),
            consumers,
            seed: overrides.seed.or(section.whole_u64("seed")?).unwrap_or(0),
            scale: 1.0,
            segment: Segment::default(),
            setup_timeout: read::positive(&section, "setup_timeout")?.unwrap_or(MINUTE),
            teardown_timeout: read::positive(&section, "teardown_timeout")?.unwrap_or(MINUTE),
            timeout: overrides.timeout,
            tags,
            rows: overrides.rows,
            limits,
            notes: Vec::new(),
            recipe,
        };
        plan.judge_by(&section, registry, &declared, &unmeasured)?;
        plan.check_search()?;
        if let Some(scale) = overrides.scale {
            plan.quicken(scale);
        }
        Ok(plan)
    }

    /// The plan of a workload that is only to answer messages: nothing is started, nothing judged.
    ///
    /// Its scenarios need not be runnable: a service has no iteration function.
    pub fn service(mut input: PlanInput) -> Result<Self, Diagnostic> {
        let name = input.name.clone();
        if !input.functions.iter().any(|function| function == ITERATION) {
            input.functions.push(ITERATION.to_owned());
        }
        let plan = Self::build(input)?;
        if plan.services.is_empty() {
            return Err(Diagnostic::new(format!("`{}` offers no services", shown(&name)))
                .help("declare them in its options: `services: #{ \"subject\": \"function\" }`"));
        }
        Ok(Self {
            scenarios: Vec::new(),
            thresholds: Vec::new(),
            derived: Vec::new(),
            shards: 1,
            ..plan
        })
    }

    /// Sees to it that each shard has a database connection: fewer shards where their number was left
    /// open, a refusal where `asked` says how many. For databases whose connections are shared out.
    pub fn share_connections(&mut self, asked: Option<usize>) -> Result<(), Diagnostic> {
        let most = self.limits.database_connections as usize;
        match asked {
            Some(asked) if asked > most => Err(Diagnostic::new(format!(
                "{asked} shards are more than the {most} database connections (database_connections): \
                 each shard needs one of its own"
            ))
            .help(format!(
                "raise them with --limit database_connections={asked}, or use --shards {most}"
            ))),
            _ => {
                self.shards = self.shards.min(most);
                Arc::make_mut(&mut self.recipe).shards = Some(self.shards);
                Ok(())
            }
        }
    }

    /// Adds derived metrics and thresholds. They are checked against the scenarios that the workload
    /// declares; what looks at scenarios or stages that flags took away is left out, with a note.
    fn judge_by(
        &mut self,
        section: &Section<'_>,
        mut registry: Registry,
        declared: &[Scenario],
        unmeasured: &[Builtin],
    ) -> Result<(), Diagnostic> {
        let first_derived = MetricId(registry.iter().count() as u16);
        let (ops, tags) = (self.ops.clone(), self.tags.clone());
        let all = Universe {
            registry: &registry,
            scenarios: declared,
            ops: &ops,
            tags: &tags,
            left: &self.scenarios,
            unmeasured,
            first_derived,
        };
        if let Some(item) = section.get("derived") {
            let found = derived::read(&item, &all)?;
            for (derived, unit) in found {
                declare::insert(&mut registry, &derived.name, Kind::Gauge, unit, &item)?;
                self.derived.push(derived);
            }
        }
        let all = Universe {
            registry: &registry,
            scenarios: declared,
            ops: &ops,
            tags: &tags,
            left: &self.scenarios,
            unmeasured,
            first_derived,
        };
        if let Some(item) = section.get("thresholds") {
            self.thresholds = threshold::read(&item, &all, &self.rows)?;
        }
        let left = Universe { scenarios: &self.scenarios, left: &[], ..all };
        let notes = &mut self.notes;
        self.derived.retain(|derived| {
            let kept = left.still_means(derived);
            if !kept {
                notes.push(format!(
                    "the derived `{}` is left out: flags took away what it looks at",
                    derived.name
                ));
            }
            kept
        });
        let derived: Vec<_> = self.derived.iter().map(|derived| derived.name.as_str()).collect();
        self.thresholds.retain(|threshold| {
            let kept = left.can_judge(threshold, &derived);
            if !kept {
                notes.push(format!(
                    "the threshold on `{}{}` ({}) is left out: flags took away what it looks at",
                    threshold.metric,
                    threshold.selector.text(),
                    threshold.source
                ));
            }
            kept
        });
        self.thresholds.extend(threshold::defaults(&self.thresholds));
        self.registry = Arc::new(registry);
        Ok(())
    }

    /// The series that windowed thresholds and derived metrics need per second.
    pub fn windowed(&self) -> Vec<Windowed> {
        let mut windowed = Vec::new();
        let mut add = |metric: &str, selector: &Selector| {
            let Some(metric) = self.registry.find(metric) else { return };
            let family = Windowed { metric, selector: selector.clone() };
            if !windowed.contains(&family) {
                windowed.push(family);
            }
        };
        for threshold in &self.thresholds {
            for assertion in threshold.expression.0.iter().flatten() {
                if assertion.window.is_some() {
                    add(&threshold.metric, &threshold.selector);
                }
                if let Operand::Figure { metric, selector, window: Some(_), .. } =
                    &assertion.operand
                {
                    let (metric, selector) = threshold.looks_at(metric.as_deref(), selector);
                    add(metric, &selector);
                }
            }
        }
        for derived in &self.derived {
            match &derived.kind {
                // The judge's courses of them are kept by this process.
                DerivedKind::Formula(_)
                | DerivedKind::Scaling { .. }
                | DerivedKind::Search { .. } => {}
                DerivedKind::RecoveryTime { metric, selector, .. } => add(metric, selector),
                DerivedKind::Growth(growth) => {
                    add(&growth.metric, &growth.selector);
                    if let Per::Count { metric, selector, .. } = &growth.per {
                        add(metric, selector);
                    }
                }
            }
        }
        windowed
    }
}

/// Puts a suite's thresholds in the place of the workload's own under the same key, or beside them.
fn replace_thresholds(
    options: &mut serde_json::Map<String, Value>,
    with: &serde_json::Map<String, Value>,
) {
    if with.is_empty() {
        return;
    }
    let own = options.entry("thresholds").or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let Value::Object(own) = own {
        own.extend(with.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}

/// The scenarios of the workload: `scenarios`, or what its shortcuts stand for, or one iteration.
fn declared_scenarios(section: &Section<'_>, root: &Item<'_>) -> Result<Vec<Draft>, Diagnostic> {
    let (shortcuts, stages) = Shortcuts::read(section)?;
    let Some(item) = section.get("scenarios") else {
        let executor = shortcuts.executor(Level::Options(root))?;
        let (mut executor, open) = executor.unwrap_or((one_iteration(), false));
        if let Executor::RampingVus { stages: unnamed, .. } = &mut executor {
            *unnamed = stages;
        }
        return Ok(vec![draft(DEFAULT, executor, open)]);
    };
    if !shortcuts.is_empty() {
        return Err(item
            .error("`scenarios` and a shortcut (vus, iterations, duration, stages, rate) are mixed")
            .help("move the shortcut into a scenario, or leave `scenarios` out"));
    }
    let entries = item.entries()?;
    if entries.is_empty() {
        return Err(item.error("there is no scenario").help("add one, or leave `scenarios` out"));
    }
    if entries.len() > MOST_SCENARIOS {
        return Err(item
            .error(format!("{} scenarios are too many", entries.len()))
            .help(format!("{MOST_SCENARIOS} at most")));
    }
    entries.iter().map(|(name, item)| read::read(name, item)).collect()
}

fn one_iteration() -> Executor {
    Executor::SharedIterations { vus: 1, iterations: 1, max_duration: 10 * MINUTE }
}

/// A scenario with the defaults of all options.
fn draft(name: &str, executor: Executor, max_vus_open: bool) -> Draft {
    let scenario = Scenario {
        name: name.to_owned(),
        executor,
        start: Start::At(Duration::ZERO),
        graceful_stop: MINUTE / 2,
        exec: ITERATION.to_owned(),
        env: BTreeMap::new(),
        tags: BTreeMap::new(),
        warmup: Duration::ZERO,
        iteration_timeout: 10 * MINUTE,
        cpu_timeout: Duration::from_secs(5),
        connection: super::ConnectionSharing::default(),
        generator_limited: super::GeneratorLimited::default(),
        driver: None,
    };
    Draft { scenario, max_vus_open, pre_allocated_given: !max_vus_open, exec_given: false }
}

/// What concerns scenarios together: functions, tags, the order of starts.
fn check_scenarios(
    drafts: &[Draft],
    functions: &[String],
    root: &Item<'_>,
) -> Result<(), Diagnostic> {
    let names: Vec<_> = drafts.iter().map(|draft| draft.scenario.name.as_str()).collect();
    for Draft { scenario, exec_given, .. } in drafts {
        let item = |key: &str| Item {
            value: &Value::Null,
            path: vec!["scenarios".into(), scenario.name.clone(), key.into()],
            places: root.places,
        };
        declare::check_tags(&scenario.tags, &format!("scenario `{}`", scenario.name))?;
        if *exec_given {
            check_exec(&scenario.exec, functions).map_err(|error| at(item("exec"), error))?;
        }
        let mut seen = vec![scenario.name.as_str()];
        let mut current = scenario;
        while let Start::After(before) = &current.start {
            let Some(next) = drafts.iter().find(|draft| draft.scenario.name == *before) else {
                return Err(item("start_after")
                    .error(format!("there is no scenario `{}`", shown(before)))
                    .help(suggestion(before, &names)));
            };
            if seen.contains(&before.as_str()) {
                return Err(item("start_after")
                    .error(format!("{} wait for each other for ever", listed(&seen)))
                    .help("let one of them start by `start_time`"));
            }
            seen.push(before);
            current = &next.scenario;
        }
    }
    Ok(())
}

/// The services, whose handlers must be functions of the workload.
fn services(item: &Item<'_>, functions: &[String]) -> Result<declare::Services, Diagnostic> {
    let (services, consumers) = declare::services(item)?;
    for (subject, item) in item.entries()? {
        check_exec(&services[subject], functions).map_err(|error| at(item, error))?;
    }
    Ok((services, consumers))
}

fn at(item: Item<'_>, error: Diagnostic) -> Diagnostic {
    Diagnostic { help: error.help, ..item.error(error.message) }
}

fn check_exec(exec: &str, functions: &[String]) -> Result<(), Diagnostic> {
    if functions.iter().any(|function| function == exec) {
        return Ok(());
    }
    let names: Vec<_> = functions.iter().map(String::as_str).collect();
    let help = if names.is_empty() {
        format!("write `fn {exec}(ctx) {{ … }}`")
    } else {
        format!("{}, or write `fn {exec}(ctx) {{ … }}`", suggestion(exec, &names))
    };
    Err(Diagnostic::new(format!("there is no function `{}` to call", shown(exec))).help(help))
}

/// What is left of the declared scenarios under the overrides.
///
/// Shortcuts replace all scenarios. Where these call one function, the shortcut's scenario calls it
/// too; where there is (or `--scenario` leaves) but one, its name and other options are kept, so
/// that thresholds on it still mean something.
fn effective_scenarios(
    declared: &[Draft],
    overrides: &Overrides,
    functions: &[String],
) -> Result<Vec<Draft>, Diagnostic> {
    let mut drafts = declared.to_vec();
    if let Some(only) = &overrides.scenario {
        drafts.retain(|draft| draft.scenario.name == *only);
        if drafts.is_empty() {
            let names: Vec<_> = declared.iter().map(|it| it.scenario.name.as_str()).collect();
            return Err(Diagnostic::new(format!("there is no scenario `{}`", shown(only)))
                .help(suggestion(only, &names)));
        }
    }
    if let Some((executor, open)) = overridden(&drafts, &overrides.shortcuts)? {
        let first = drafts.swap_remove(0);
        let mut merged = if drafts.is_empty() {
            Draft {
                max_vus_open: open,
                pre_allocated_given: !open,
                scenario: Scenario { executor, driver: None, ..first.scenario },
                ..first
            }
        } else {
            let one = drafts.iter().all(|draft| draft.scenario.exec == first.scenario.exec);
            let mut merged = draft(DEFAULT, executor, open);
            if one {
                merged.scenario.exec = first.scenario.exec;
            }
            merged
        };
        merged.scenario.start = Start::At(Duration::ZERO);
        if merged.scenario.warmup >= merged.scenario.executor.duration() {
            merged.scenario.warmup = Duration::ZERO;
        }
        drafts = vec![merged];
    }
    let kept: Vec<_> = drafts.iter().map(|draft| draft.scenario.name.clone()).collect();
    for Draft { scenario, .. } in &mut drafts {
        check_exec(&scenario.exec, functions)?;
        if matches!(&scenario.start, Start::After(before) if !kept.contains(before)) {
            scenario.start = Start::At(Duration::ZERO);
        }
    }
    Ok(drafts)
}

/// The executor that shortcuts of the higher level ask for.
fn overridden(
    drafts: &[Draft],
    shortcuts: &Shortcuts,
) -> Result<Option<(Executor, bool)>, Diagnostic> {
    if shortcuts.is_empty() {
        return Ok(None);
    }
    // `--vus` alone changes the number of VUs of the only scenario, as in k6.
    if let ([only], Some(count), false) = (drafts, shortcuts.vus, shortcuts.replace_scenarios()) {
        let mut executor = only.scenario.executor.clone();
        match &mut executor {
            Executor::SharedIterations { vus, iterations, .. } if count > 0 => {
                *vus = count;
                *iterations = (*iterations).max(u64::from(count));
            }
            Executor::PerVuIterations { vus, .. } | Executor::ConstantVus { vus, .. }
                if count > 0 =>
            {
                *vus = count;
            }
            _ => return shortcuts.executor(Level::Flags),
        }
        return Ok(Some((executor, false)));
    }
    shortcuts.executor(Level::Flags)
}

/// Chooses `max_vus` where it was left open, and holds all VUs against the limit.
fn allot_vus(
    mut drafts: Vec<Draft>,
    limit: u32,
    places: &Places,
) -> Result<Vec<Scenario>, Diagnostic> {
    for draft in drafts.iter_mut().filter(|it| it.max_vus_open && !it.pre_allocated_given) {
        if let Executor::ConstantArrivalRate { arrival, .. }
        | Executor::RampingArrivalRate { arrival, .. } = &mut draft.scenario.executor
        {
            arrival.pre_allocated_vus = arrival.pre_allocated_vus.min(limit);
            arrival.max_vus = arrival.max_vus.min(limit);
        }
    }
    let total: u64 = drafts.iter().map(|it| u64::from(it.scenario.executor.max_vus())).sum();
    if let Some(largest) = drafts.iter().max_by_key(|it| it.scenario.executor.max_vus())
        && total > u64::from(limit)
    {
        let path = vec!["scenarios".to_owned(), largest.scenario.name.clone()];
        return Err(Item { value: &Value::Null, path, places }
            .error(format!("{total} VUs in all are more than the limit of {limit}"))
            .help("use fewer VUs, or raise the limit with --limit vus=…"));
    }
    let open = drafts.iter().filter(|draft| draft.max_vus_open).count().max(1) as u32;
    let spare = (limit - total as u32) / open;
    for Draft { scenario, max_vus_open, .. } in &mut drafts {
        if let (
            true,
            Executor::ConstantArrivalRate { arrival, .. }
            | Executor::RampingArrivalRate { arrival, .. },
        ) = (*max_vus_open, &mut scenario.executor)
        {
            arrival.max_vus += spare;
        }
    }
    Ok(drafts.into_iter().map(|draft| draft.scenario).collect())
}

/// As many shards as there are cores, but none without a VU.
fn shards(scenarios: &[Scenario], asked: Option<usize>, cores: usize) -> Result<usize, Diagnostic> {
    if let Some(shards) = asked {
        return match shards {
            1..=MOST_SHARDS => Ok(shards),
            _ => Err(Diagnostic::new(format!("{shards} shards are not possible"))
                .help(format!("from 1 to {MOST_SHARDS}; one per core is the default"))),
        };
    }
    let vus = scenarios.iter().map(|scenario| scenario.executor.max_vus()).max().unwrap_or(1);
    Ok(cores.clamp(1, MOST_SHARDS).min((vus as usize).max(1)))
}

#[cfg(test)]
mod tests;
