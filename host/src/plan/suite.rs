//! A suite file: which workloads make up a system's set, against which services and targets, and which
//! rows of the catalogue they cover. DESIGN §7.
//!
//! ```toml
//! name = "rosey"
//! plugins = "../../target/guests/wasm32-wasip2/release"   # where `plugin:NAME` is found
//! fresh = "row"                                           # services and data start anew for each workload
//!
//! [services.database]
//! workload = "plugin:rosey-database"      # inside the runner on the embedded bus, else its own process
//!
//! [[workloads]]
//! workload = "r2-stats.rhai"
//! row = "R2"
//! parameters = { players = 500 }
//!
//! [rows.R2]
//! priority = "P0"
//! not_applicable = { E = "why" }
//! ```
//!
//! Only what is written is read here; files are looked for, and backends chosen, by `cli`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    Backend, DatabaseGrant, Giver, Grants, Priority, Row, TargetPlan, declare, document,
    quantity::shown,
    section::{Item, Places, Section, listed, suggestion},
};
use crate::diagnostic::Diagnostic;

/// A key of a suite file: its name, its JSON type and what it means.
type Key = (&'static str, &'static str, &'static str);

const KEYS: &[Key] = &[
    ("name", "string", "name of the suite"),
    ("bus", "string", "as --bus, where neither flag nor environment names one"),
    ("database", "string", "as --db, where neither flag nor environment names one"),
    ("plugins", "string", "folder in which `plugin:NAME` is found as NAME.wasm, `-` as `_`"),
    (
        "fresh",
        "string",
        "`row` (default): services, targets and data start anew for each workload; `suite`: once",
    ),
    (
        "subjects",
        "string",
        "`own`: on a server that others use, too, a prefix of the run comes before every subject, and \
         `{bus}` hands it on; `shared`: none does. `own` where there are services and no targets",
    ),
    ("limits", "object", "as --limit NAME=VALUE, for every workload"),
    (
        "streams",
        "object",
        "JetStream streams by name, each an array of subjects; made before anything starts",
    ),
    (
        "services",
        "object",
        "services by name: inside the runner on the embedded bus, else processes of their own",
    ),
    ("targets", "object", "processes under test by name"),
    ("workloads", "array", "what is run, in this order"),
    ("rows", "object", "rows of the catalogue by name"),
];
const SERVICE: &[Key] = &[
    ("workload", "string", "a script, a component, `plugin:NAME` or `oci://HOST/NAME:TAG`"),
    ("parameters", "object", "as -p NAME=VALUE"),
    ("concurrency", "integer", "messages that are handled at the same time (64)"),
    ("limits", "object", "as --limit NAME=VALUE"),
    ("rows", "array", "the rows that it is for; all of them if none is named"),
    ("grants", "object", "what a component may use, the subjects that it answers among it"),
];
const WORKLOAD: &[Key] = &[
    ("workload", "string", "a script, a component, `plugin:NAME` or `oci://HOST/NAME:TAG`"),
    ("name", "string", "what it is called; its file's name unless given"),
    ("row", "string", "the row that it covers"),
    ("rows", "array", "the rows that it covers; its thresholds name theirs"),
    ("services", "array", "the services that it is run against; those for its rows unless given"),
    ("scenario", "string", "as --scenario"),
    ("parameters", "object", "as -p NAME=VALUE"),
    (
        "scale",
        "number",
        "of durations and counts, above 0 and at most 1; never below what thresholds need",
    ),
    ("limits", "object", "as --limit NAME=VALUE"),
    ("thresholds", "object", "replace those on the same metric and selector, or are added"),
    ("tags", "array", "words by which --tag chooses"),
    ("grants", "object", "what a component may use, and which targets are its to control"),
    ("soak", "object", "parameters under --soak"),
    ("twin", "string", "the plugin that issues the same operations"),
];
/// Of [`GRANTS`] those of the bus and of the database.
const SERVICE_GRANTS: &[Key] = GRANTS.split_at(5).0;
const GRANTS: &[Key] = &[
    ("bus", "array", "subjects that may be published to, sent requests and subscribed to"),
    ("publish", "array", "subjects that may be published to"),
    ("request", "array", "subjects that may be sent requests"),
    ("subscribe", "array", "subjects that may be subscribed to"),
    ("database", "string", "`none` (default), `read` or `write`"),
    ("targets", "array", "targets that may be started, stopped, killed and paused"),
    (
        "secrets",
        "array",
        "names of `--secret-env` that a component is told; `*` for all (a script has them all)",
    ),
];
const ROW: &[Key] = &[
    ("title", "string", "what it shows"),
    ("priority", "string", "P0 must (critical), P1 should (warning), P2 nice (info)"),
    ("not_applicable", "object", "reasons by backend: E, S, P"),
    ("known_failing", "object", "reasons by backend: E, S, P; or one string for all"),
    ("min_samples", "integer", "samples that its thresholds need"),
    ("long", "boolean", "only run with --long"),
];

/// A suite, as it was written and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// The bus, unless flag or environment name one.
    pub bus: Option<String>,
    /// The database, likewise.
    pub database: Option<String>,
    /// Where `plugin:NAME` is found.
    pub plugins: Option<String>,
    /// When services, targets and data start anew.
    pub fresh: Fresh,
    /// Whose the subjects are on a server that others use, too.
    pub subjects: Subjects,
    /// Limits of every workload.
    pub limits: BTreeMap<String, String>,
    /// Streams, and their subjects.
    pub streams: Vec<(String, Vec<String>)>,
    /// Its services.
    pub services: Vec<Service>,
    /// Its processes under test.
    pub targets: Vec<TargetPlan>,
    /// What is run, in order.
    pub workloads: Vec<Entry>,
    /// The rows by name.
    pub rows: BTreeMap<String, RowEntry>,
}

/// When services, targets and data start anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fresh {
    /// For each workload.
    #[default]
    Row,
    /// Once.
    Suite,
}

/// Whose the subjects are on a server that others use, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subjects {
    /// The run's: a prefix comes before each.
    Own,
    /// Everybody's, for the system under test knows of no prefix.
    Shared,
}

/// A service of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name: the tag `target`.
    pub name: String,
    /// A path, or `plugin:NAME`.
    pub workload: String,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// Messages that it handles at the same time.
    pub concurrency: u32,
    /// Its limits.
    pub limits: BTreeMap<String, String>,
    /// The rows that it is for; all of them if there is none.
    pub rows: Vec<String>,
    /// What a component may use.
    pub grants: Grants,
}

impl Service {
    /// Whether a workload is run against it.
    pub fn is_for(&self, entry: &Entry) -> bool {
        match &entry.services {
            Some(services) => services.contains(&self.name),
            None => self.rows.is_empty() || entry.rows.iter().any(|row| self.rows.contains(row)),
        }
    }
}

/// A workload of a suite.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is called: no other workload of the suite has the same name.
    pub name: String,
    /// A path, or `plugin:NAME`.
    pub workload: String,
    /// The rows that it covers.
    pub rows: Vec<String>,
    /// The services that it is run against; `None`: those for its rows.
    pub services: Option<Vec<String>>,
    /// Only this scenario of it.
    pub scenario: Option<String>,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// Of durations and counts.
    pub scale: Option<f64>,
    /// Its limits, those of the suite included.
    pub limits: BTreeMap<String, String>,
    /// Replace or add.
    pub thresholds: Map<String, Value>,
    /// By which it is chosen.
    pub tags: Vec<String>,
    /// What it may use.
    pub grants: Grants,
    /// Parameters under `--soak`; `None` if it is no soak.
    pub soak: Option<BTreeMap<String, String>>,
    /// The plugin that issues the same operations.
    pub twin: Option<String>,
}

/// A row of a suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowEntry {
    /// What it shows.
    pub title: String,
    /// How much it matters.
    pub priority: Priority,
    /// Where it does not apply, and why.
    pub not_applicable: BTreeMap<Backend, String>,
    /// Where it cannot pass, and why.
    pub known_failing: BTreeMap<Backend, String>,
    /// Samples that its thresholds need.
    pub min_samples: Option<u64>,
    /// Only run with `--long`.
    pub long: bool,
}

const CONCURRENCY: u32 = 64;
const MOST_CONCURRENCY: u32 = 4_096;

impl Suite {
    /// Reads a suite file. `origin` is what errors call it.
    pub fn read(text: &str, origin: &str) -> Result<Self, Diagnostic> {
        let (value, places) = document::read(text, origin)?;
        let root = Item { value: &value, path: Vec::new(), places: &places };
        let section = section(&root, "a suite", KEYS)?;
        let fresh = [("row", Fresh::Row), ("suite", Fresh::Suite)];
        let limits = labels(&section, "limits")?;
        let services = named(&section, "services", service)?;
        let targets = named(&section, "targets", TargetPlan::read)?;
        // A service is this program and reads the prefix from its address; of a target nobody knows.
        let only_services = !services.is_empty() && targets.is_empty();
        let subjects = match section.get("subjects") {
            Some(item) => item.choice(&[("own", Subjects::Own), ("shared", Subjects::Shared)])?,
            None if only_services => Subjects::Own,
            None => Subjects::Shared,
        };
        let suite = Self {
            name: name(&section.require("name", "\"a name\"")?)?,
            bus: section.string("bus")?.map(str::to_owned),
            database: section.string("database")?.map(str::to_owned),
            plugins: section.string("plugins")?.map(str::to_owned),
            fresh: section.choice("fresh", &fresh)?,
            streams: named(&section, "streams", |name, item| {
                Ok((name.to_owned(), patterns(item)?))
            })?,
            subjects,
            services,
            targets,
            rows: named(&section, "rows", |name, item| Ok((name.to_owned(), row(item)?)))?
                .into_iter()
                .collect(),
            workloads: workloads(&section, &limits)?,
            limits,
        };
        suite.check(&places)?;
        Ok(suite)
    }

    /// A row as a run on a backend covers it.
    pub fn row(&self, name: &str, backend: Backend) -> Row {
        let entry = self.rows.get(name).cloned().unwrap_or_default();
        Row {
            name: name.to_owned(),
            priority: entry.priority,
            not_applicable: entry.not_applicable.get(&backend).cloned(),
            known_failing: entry.known_failing.get(&backend).cloned(),
            min_samples: entry.min_samples,
        }
    }

    /// Where a workload's file is, seen from the suite's folder.
    pub fn resolve(&self, folder: &Path, workload: &str) -> PathBuf {
        match workload.strip_prefix("plugin:") {
            Some(name) => folder
                .join(self.plugins.as_deref().unwrap_or("."))
                .join(format!("{}.wasm", name.replace('-', "_"))),
            // It lies in a registry, and not in a folder.
            None if workload.starts_with("oci://") => PathBuf::from(workload),
            None => folder.join(workload),
        }
    }

    /// The JSON Schema of a suite file.
    pub fn schema() -> Value {
        let table = |keys: &[Key], required: &[&str]| {
            let properties: Map<String, Value> = keys
                .iter()
                .map(|(name, kind, doc)| {
                    ((*name).to_owned(), json!({ "type": kind, "description": doc }))
                })
                .collect();
            json!({
                "type": "object",
                "additionalProperties": false,
                "properties": properties,
                "required": required,
            })
        };
        let mut schema = table(KEYS, &["name", "workloads"]);
        let mut workload = table(WORKLOAD, &["workload"]);
        workload["properties"]["grants"] = table(GRANTS, &[]);
        let mut row = table(ROW, &[]);
        row["properties"]["known_failing"]["type"] = json!(["object", "string"]);
        let properties = &mut schema["properties"];
        let mut service = table(SERVICE, &["workload"]);
        service["properties"]["grants"] = table(SERVICE_GRANTS, &[]);
        properties["services"]["additionalProperties"] = service;
        properties["rows"]["additionalProperties"] = row;
        properties["workloads"]["items"] = workload;
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["title"] = json!("suite.toml");
        schema
    }

    /// What concerns its parts together.
    fn check(&self, places: &Places) -> Result<(), Diagnostic> {
        let item = |path: Vec<String>| Item { value: &Value::Null, path, places };
        TargetPlan::check_all(&self.targets)?;
        for target in &self.targets {
            if self.services.iter().any(|service| service.name == target.name) {
                return Err(item(vec!["targets".into(), target.name.clone()])
                    .error("there is a service of this name, too")
                    .help("a service is a target where it is a process: give one another name"));
            }
        }
        let rows: Vec<_> = self.rows.keys().map(String::as_str).collect();
        for service in &self.services {
            if let Some(row) = service.rows.iter().find(|row| !self.rows.contains_key(*row)) {
                return Err(item(vec!["services".into(), service.name.clone(), "rows".into()])
                    .error(format!("there is no row `{}`", shown(row)))
                    .help(suggestion(row, &rows)));
            }
        }
        self.check_services(&item)?;
        for (index, entry) in self.workloads.iter().enumerate() {
            let key = if entry.rows.len() == 1 { "row" } else { "rows" };
            let place = item(vec!["workloads".into(), index.to_string(), key.into()]);
            if let Some(row) = entry.rows.iter().find(|row| !self.rows.contains_key(*row)) {
                return Err(place
                    .error(format!("there is no row `{}`", shown(row)))
                    .help(format!("{}, or add [rows.{row}]", suggestion(row, &rows))));
            }
        }
        for row in &rows {
            if !self.workloads.iter().any(|entry| entry.rows.iter().any(|name| name == row)) {
                return Err(item(vec!["rows".into(), (*row).to_owned()])
                    .error("no workload covers this row")
                    .help(format!("add a workload with `row = \"{row}\"`, or take the row out")));
            }
        }
        Ok(())
    }
}

impl Suite {
    /// The services that workloads name.
    fn check_services<'a>(
        &self,
        place: &impl Fn(Vec<String>) -> Item<'a>,
    ) -> Result<(), Diagnostic> {
        let services: Vec<_> = self.services.iter().map(|it| it.name.as_str()).collect();
        for (index, entry) in self.workloads.iter().enumerate() {
            let place = || place(vec!["workloads".into(), index.to_string(), "services".into()]);
            let Some(named) = &entry.services else { continue };
            if self.fresh == Fresh::Suite {
                return Err(place()
                    .error("services start once in this suite, for all of its workloads")
                    .help("leave `services` out, or let the suite say fresh = \"row\""));
            }
            if let Some(name) = named.iter().find(|name| !services.contains(&name.as_str())) {
                return Err(place()
                    .error(format!("there is no service `{}`", shown(name)))
                    .help(suggestion(name, &services)));
            }
        }
        Ok(())
    }
}

fn section<'a>(item: &Item<'a>, of: &str, keys: &[Key]) -> Result<Section<'a>, Diagnostic> {
    let names: Vec<_> = keys.iter().map(|(name, ..)| *name).collect();
    item.section(of, &names)
}

/// The entries of a table of tables.
fn named<T>(
    section: &Section<'_>,
    key: &str,
    read: impl Fn(&str, &Item<'_>) -> Result<T, Diagnostic>,
) -> Result<Vec<T>, Diagnostic> {
    let Some(item) = section.get(key) else { return Ok(Vec::new()) };
    let entries = item.entries()?.into_iter();
    entries
        .map(|(name, item)| {
            plain(name, &item)?;
            read(name, &item)
        })
        .collect()
}

fn name(item: &Item<'_>) -> Result<String, Diagnostic> {
    let name = item.string()?;
    plain(name, item)?;
    Ok(name.to_owned())
}

/// A name becomes a tag, a file and a token of a subject.
fn plain(name: &str, item: &Item<'_>) -> Result<(), Diagnostic> {
    let fits = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c));
    if fits && !name.is_empty() && name.len() <= 64 {
        return Ok(());
    }
    Err(item
        .error(format!("`{}` cannot be a name", shown(name)))
        .help("use letters, digits, `_` and `-`, at most 64"))
}

fn labels(section: &Section<'_>, key: &str) -> Result<BTreeMap<String, String>, Diagnostic> {
    section.get(key).map_or_else(|| Ok(BTreeMap::new()), |item| item.labels())
}

fn strings(section: &Section<'_>, key: &str) -> Result<Vec<String>, Diagnostic> {
    let Some(item) = section.get(key) else { return Ok(Vec::new()) };
    item.array()?.iter().map(|item| item.string().map(str::to_owned)).collect()
}

/// Subjects, or patterns of them.
fn patterns(item: &Item<'_>) -> Result<Vec<String>, Diagnostic> {
    let pattern = |item: &Item<'_>| {
        let pattern = item.string()?;
        declare::check_subject(item, pattern).map(|()| pattern.to_owned())
    };
    item.array()?.iter().map(pattern).collect()
}

fn service(name: &str, item: &Item<'_>) -> Result<Service, Diagnostic> {
    let section = section(item, "a service", SERVICE)?;
    let concurrency = section.whole_u32("concurrency")?.unwrap_or(CONCURRENCY);
    if !(1..=MOST_CONCURRENCY).contains(&concurrency) {
        let item = section.get("concurrency").unwrap_or_else(|| section.whole());
        return Err(item
            .error(format!("{concurrency} is not possible"))
            .help(format!("from 1 to {MOST_CONCURRENCY}")));
    }
    Ok(Service {
        name: name.to_owned(),
        workload: section.require("workload", "\"plugin:NAME\"")?.string()?.to_owned(),
        parameters: labels(&section, "parameters")?,
        concurrency,
        limits: labels(&section, "limits")?,
        rows: strings(&section, "rows")?,
        grants: granted(&section, SERVICE_GRANTS)?,
    })
}

fn workloads(
    section: &Section<'_>,
    limits: &BTreeMap<String, String>,
) -> Result<Vec<Entry>, Diagnostic> {
    let item = section.require("workloads", "[{ workload: \"first.rhai\" }]")?;
    let items = item.array()?;
    if items.is_empty() {
        return Err(item.error("there is no workload").help("add one with [[workloads]]"));
    }
    let entries: Result<Vec<_>, _> = items.iter().map(|item| workload(item, limits)).collect();
    let mut entries = entries?;
    tell_apart(&mut entries, &items)?;
    Ok(entries)
}

/// Numbers workloads of one file that were given no names; refuses a name that was given twice.
fn tell_apart(entries: &mut [Entry], items: &[Item<'_>]) -> Result<(), Diagnostic> {
    let given = |index: usize| items[index].value.get("name").is_some();
    let mut taken = BTreeSet::new();
    for index in (0..entries.len()).filter(|index| given(*index)) {
        let name = &entries[index].name;
        if !taken.insert(name.clone()) {
            return Err(items[index]
                .error(format!("there is another workload `{}`", shown(name)))
                .help("their figures are told apart by their names: give it one of its own"));
        }
    }
    for index in (0..entries.len()).filter(|index| !given(*index)) {
        let stem = entries[index].name.clone();
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let mut names = std::iter::once(stem.clone()).chain(numbered);
        if let Some(name) = names.find(|name| !taken.contains(name)) {
            taken.insert(name.clone());
            entries[index].name = name;
        }
    }
    Ok(())
}

/// What a workload is called: its file's name without the ending; of a place in a registry the last part of
/// the name there.
pub fn stem(workload: &str) -> String {
    if let Some(place) = workload.strip_prefix("oci://") {
        let name = place.split('@').next().unwrap_or_default();
        let last = name.rsplit('/').next().unwrap_or_default();
        return last.split(':').next().unwrap_or_default().to_owned();
    }
    let name = workload.strip_prefix("plugin:").unwrap_or(workload);
    let path = PathBuf::from(name);
    path.file_stem().map_or_else(|| name.to_owned(), |stem| stem.display().to_string())
}

fn workload(item: &Item<'_>, limits: &BTreeMap<String, String>) -> Result<Entry, Diagnostic> {
    let section = section(item, "a workload of a suite", WORKLOAD)?;
    let (row, rows) = (section.string("row")?, strings(&section, "rows")?);
    if let (Some(_), Some(both)) = (row, section.get("rows")) {
        return Err(both.error("`row` and `rows` exclude each other").help("keep one of them"));
    }
    let scale = section.number("scale")?;
    if let Some(scale) = scale.filter(|scale| !(*scale > 0.0 && *scale <= 1.0)) {
        let item = section.get("scale").unwrap_or_else(|| section.whole());
        return Err(item.error(format!("the scale is {scale}")).help("above 0, and at most 1"));
    }
    let mut all = limits.clone();
    all.extend(labels(&section, "limits")?);
    let thresholds = section.get("thresholds").map(|item| item.map().cloned()).transpose()?;
    let workload = section.require("workload", "\"first.rhai\"")?.string()?;
    let called = section.get("name").map(|item| name(&item)).transpose()?;
    Ok(Entry {
        name: called.unwrap_or_else(|| stem(workload)),
        services: section.get("services").map(|_| strings(&section, "services")).transpose()?,
        workload: workload.to_owned(),
        rows: row.map_or(rows, |row| vec![row.to_owned()]),
        scenario: section.string("scenario")?.map(str::to_owned),
        parameters: labels(&section, "parameters")?,
        scale,
        limits: all,
        thresholds: thresholds.unwrap_or_default(),
        tags: tags(&section)?,
        grants: granted(&section, GRANTS)?,
        soak: section.get("soak").map(|item| item.labels()).transpose()?,
        twin: section.string("twin")?.map(str::to_owned),
    })
}

fn tags(section: &Section<'_>) -> Result<Vec<String>, Diagnostic> {
    let tags = strings(section, "tags")?;
    let as_labels = tags.iter().map(|tag| ("tag".to_owned(), tag.clone())).collect();
    declare::check_tags(&as_labels, "tags")?;
    Ok(tags)
}

/// What is granted to a component; nothing by default.
fn granted(to: &Section<'_>, keys: &[Key]) -> Result<Grants, Diagnostic> {
    let Some(item) = to.get("grants") else { return Ok(Grants::NONE) };
    let section = section(&item, "grants", keys)?;
    let access = [
        ("none", DatabaseGrant::None),
        ("read", DatabaseGrant::Read),
        ("write", DatabaseGrant::Write),
    ];
    let given = |key: &str| section.get(key).map_or(Ok(Vec::new()), |item| patterns(&item));
    let all = given("bus")?;
    let with =
        |key: &str| -> Result<Vec<String>, Diagnostic> { Ok([all.clone(), given(key)?].concat()) };
    Ok(Grants {
        publish: with("publish")?,
        request: with("request")?,
        subscribe: with("subscribe")?,
        database: section.choice("database", &access)?,
        targets: strings(&section, "targets")?,
        secrets: strings(&section, "secrets")?,
        giver: Giver::Suite,
    })
}

fn row(item: &Item<'_>) -> Result<RowEntry, Diagnostic> {
    let section = section(item, "a row", ROW)?;
    let priorities = [("P0", Priority::P0), ("P1", Priority::P1), ("P2", Priority::P2)];
    Ok(RowEntry {
        title: section.string("title")?.unwrap_or_default().to_owned(),
        priority: section.choice("priority", &priorities)?,
        not_applicable: by_backend(&section, "not_applicable")?,
        known_failing: by_backend(&section, "known_failing")?,
        min_samples: section.whole_u64("min_samples")?,
        long: section.boolean("long")?.unwrap_or(false),
    })
}

/// Reasons by backend, or one for all.
fn by_backend(section: &Section<'_>, key: &str) -> Result<BTreeMap<Backend, String>, Diagnostic> {
    let Some(item) = section.get(key) else { return Ok(BTreeMap::new()) };
    if let Some(reason) = item.value.as_str() {
        let all = Backend::ALL.iter();
        return Ok(all.map(|(_, backend)| (*backend, reason.to_owned())).collect());
    }
    let names: Vec<_> = Backend::ALL.iter().map(|(name, _)| *name).collect();
    let entries = item.entries()?.into_iter();
    entries
        .map(|(name, item)| {
            let found = Backend::ALL.iter().find(|(known, _)| *known == name);
            let (_, backend) = found.ok_or_else(|| {
                item.error(format!("`{}` is not a backend", shown(name)))
                    .help(format!("one of {}", listed(&names)))
            })?;
            Ok((*backend, item.string()?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::line_and_column;

    const WHOLE: &str = r#"
        name = "rosey"
        plugins = "guests"
        fresh = "suite"
        limits = { vus = 100 }

        [services.database]
        workload = "plugin:rosey-database"
        parameters = { users = 5 }
        grants = { subscribe = ["rosey.>"] }

        [[workloads]]
        workload = "r2.rhai"
        row = "R2"
        thresholds = { "checks" = "rate == 1" }
        tags = ["latency"]

        [[workloads]]
        workload = "r6.rhai"
        rows = ["R6", "R7"]
        grants = { bus = ["rosey.>"], database = "read", targets = ["database"] }

        [rows.R2]
        [rows.R6]
        priority = "P1"
        not_applicable = { E = "there is no process" }
        [rows.R7]
        known_failing = "two cores"
    "#;

    #[test]
    fn a_suite_is_read_whole() {
        let suite = Suite::read(WHOLE, "suite.toml").unwrap();
        assert_eq!((suite.name.as_str(), suite.fresh), ("rosey", Fresh::Suite));
        assert_eq!(suite.services[0].concurrency, 64);
        assert_eq!(suite.services[0].parameters["users"], "5");
        assert_eq!(suite.workloads[1].rows, ["R6", "R7"]);
        assert_eq!(suite.workloads[1].limits["vus"], "100");
        assert_eq!(suite.workloads[1].grants.request, ["rosey.>"]);
        assert_eq!(suite.workloads[1].grants.database, DatabaseGrant::Read);
        assert_eq!(suite.workloads[0].grants, Grants::NONE);
        let subscribe = vec!["rosey.>".to_owned()];
        assert_eq!(suite.services[0].grants, Grants { subscribe, ..Grants::NONE });
        let row = suite.row("R6", Backend::E);
        assert_eq!(row.not_applicable.as_deref(), Some("there is no process"));
        assert_eq!(row.priority.severity(), crate::plan::Severity::Warning);
        assert_eq!(suite.row("R6", Backend::S).not_applicable, None);
        assert_eq!(suite.row("R7", Backend::P).known_failing.as_deref(), Some("two cores"));
    }

    #[test]
    fn subjects_are_a_runs_own_where_nobody_else_is_to_hear_them() {
        let subjects = |from: &str, to: &str| {
            let text = WHOLE.replacen(from, to, 1);
            Suite::read(&text, "suite.toml").unwrap().subjects
        };
        let target = "[targets.real]\ncommand = \"real\"\n[rows.R2]";
        assert_eq!(subjects("", ""), Subjects::Own);
        assert_eq!(subjects("[rows.R2]", target), Subjects::Shared);
        let said = "name = \"rosey\"\nsubjects = \"shared\"";
        assert_eq!(subjects("name = \"rosey\"", said), Subjects::Shared);
        let service = "workload = \"plugin:rosey-database\"\n        parameters = { users = 5 }\n        \
                       grants = { subscribe = [\"rosey.>\"] }";
        assert_eq!(
            subjects(&format!("[services.database]\n        {service}"), ""),
            Subjects::Shared
        );
    }

    #[test]
    fn mistakes_have_their_place_and_the_next_step() {
        let wrong = [
            ("fresh = \"suite\"", "frehs = \"suite\"", "did you mean `fresh`?"),
            ("fresh = \"suite\"", "subjects = \"mine\"", "`shared`"),
            ("row = \"R2\"", "row = \"R3\"", "R2"),
            ("rows = [\"R6\", \"R7\"]", "rows = [\"R6\"]", "take the row out"),
            ("{ E = ", "{ F = ", "`E`, `S`, `P`"),
            ("\"P1\"", "\"P9\"", "`P0`"),
            ("{ subscribe", "{ subscribes", "did you mean `subscribe`?"),
            // A service controls no targets, and is told no secrets.
            ("{ subscribe", "{ targets", "one of `bus`"),
            ("[\"rosey.>\"]", "[\"rosey. >\"]", "without white space"),
            ("bus = [\"rosey.>\"]", "bus = [\">.rosey\"]", "`>` at the end alone"),
            ("tags = [\"latency\"]", "scale = 2", "at most 1"),
            ("row = \"R2\"", "row = \"R2\"\nrows = []", "keep one"),
            ("[services.database]", "[services.\"a b\"]", "letters"),
        ];
        for (from, to, help) in wrong {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE);
            let error = Suite::read(&text, "suite.toml").unwrap_err();
            assert!(error.help.as_deref().unwrap_or_default().contains(help), "{to}: {error:?}");
            let place = error.place.unwrap_or_else(|| panic!("{to} has no place"));
            assert!(line_and_column(&text, place.range.start).0 > 1, "{to}");
        }
    }

    #[test]
    fn the_schema_knows_what_the_reader_knows() {
        let schema = Suite::schema();
        for (name, ..) in KEYS {
            assert!(schema["properties"][name]["description"].is_string(), "{name}");
        }
        let row = &schema["properties"]["rows"]["additionalProperties"]["properties"];
        assert_eq!(row["priority"]["type"], "string");
        assert_eq!(schema["properties"]["workloads"]["items"]["additionalProperties"], false);
        let services = &schema["properties"]["services"]["additionalProperties"]["properties"];
        assert_eq!(services["grants"]["properties"]["subscribe"]["type"], "array");
        assert!(services["grants"]["properties"]["secrets"].is_null());
    }
}
