//! What a workload declares beside its scenarios: metrics, operation names, services, tags.
//!
//! Names are bounded and plain, because they become tags, columns and keys of reports.

use std::collections::BTreeMap;

use super::{
    Consumer, MetricDeclaration,
    quantity::{byte_unit, shown, time_unit},
    section::Item,
};
use crate::{
    diagnostic::Diagnostic,
    metric::{Kind, Metric, MetricId, Registry, Unit},
};

const KINDS: &[(&str, Kind)] = &[
    ("counter", Kind::Counter),
    ("gauge", Kind::Gauge),
    ("rate", Kind::Rate),
    ("trend", Kind::Trend),
];

/// Tags that the host sets; a workload cannot.
pub(super) const HOST_TAGS: &[&str] = &[
    "workload", "row", "scenario", "stage", "level", "group", "op", "outcome", "check", "target",
    "error", "phase",
];

/// Reads `metrics` into the registry.
pub(super) fn metrics(
    item: &Item<'_>,
    registry: &mut Registry,
) -> Result<Vec<MetricDeclaration>, Diagnostic> {
    let mut declarations = Vec::new();
    for (name, item) in item.entries()? {
        metric_name(name, &item)?;
        let (kind, unit, scale) = if item.value.is_string() {
            (item.choice(KINDS)?, Unit::Count, 1)
        } else {
            let section = item.section("a metric", &["type", "unit", "time"])?;
            let kind = section.require("type", "\"trend\"")?.choice(KINDS)?;
            let default = if section.boolean("time")?.unwrap_or(false) { "ms" } else { "" };
            let written = section.string("unit")?.unwrap_or(default);
            let Some((unit, scale)) = unit(written) else {
                let item = section.get("unit").unwrap_or_else(|| section.whole());
                return Err(item
                    .error(format!("`{}` is not a unit of a metric", shown(written)))
                    .help("one of ns, us, ms, s, m, h, B, KB, MB, GB, KiB, MiB, GiB, %, or none"));
            };
            (kind, unit, scale)
        };
        let id = insert(registry, name, kind, unit, &item)?;
        registry.set_scale(id, scale as f64);
        declarations.push(MetricDeclaration { name: name.to_owned(), kind, unit, id, scale });
    }
    Ok(declarations)
}

/// A metric's name as in k6: letters, digits and `_`, at most 128.
pub(super) fn metric_name(name: &str, item: &Item<'_>) -> Result<(), Diagnostic> {
    let plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if plain && starts && name.len() <= 128 && name != "baseline" {
        return Ok(());
    }
    Err(item
        .error(format!("`{}` cannot be a metric's name", shown(name)))
        .help("use letters, digits and `_`, not a digit first, at most 128; not `baseline`"))
}

/// Adds a metric; a name that the host or the workload already uses is an error.
pub(super) fn insert(
    registry: &mut Registry,
    name: &str,
    kind: Kind,
    unit: Unit,
    item: &Item<'_>,
) -> Result<MetricId, Diagnostic> {
    let metric = Metric { name: name.to_owned(), kind, unit };
    registry.insert(metric).ok_or_else(|| {
        item.error(format!("there is already a metric `{name}`"))
            .help("built-in, declared and derived metrics share their names: choose another one")
    })
}

/// The unit that a metric's samples are held in, and how many of it one of the written unit is.
fn unit(written: &str) -> Option<(Unit, u64)> {
    match written {
        "" => Some((Unit::Count, 1)),
        "%" => Some((Unit::Percent, 1)),
        _ => time_unit(written)
            .map(|nanos| (Unit::Nanoseconds, nanos as u64))
            .or_else(|| byte_unit(written).map(|bytes| (Unit::Bytes, bytes as u64))),
    }
}

/// Reads `ops`.
pub(super) fn ops(item: &Item<'_>) -> Result<Vec<String>, Diagnostic> {
    let mut ops: Vec<String> = Vec::new();
    for item in item.array()? {
        let name = item.string()?;
        let plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c));
        if name.is_empty() || name.len() > 128 || !plain || name == "other" {
            return Err(item
                .error(format!("`{}` cannot be an operation's name", shown(name)))
                .help(
                    "use letters, digits, `_`, `-` and `.`, at most 128; `other` is the host's",
                ));
        }
        if ops.iter().any(|known| known == name) {
            return Err(item.error(format!("`{name}` is declared twice")).help("declare it once"));
        }
        ops.push(name.to_owned());
    }
    Ok(ops)
}

/// Handlers by subject, and the streams that some of the messages come from.
pub(super) type Services = (BTreeMap<String, String>, BTreeMap<String, Consumer>);

/// Reads `services`: subject → function, or `#{ handler, stream, consumer }`.
pub(super) fn services(item: &Item<'_>) -> Result<Services, Diagnostic> {
    let (mut services, mut consumers) = (BTreeMap::new(), BTreeMap::new());
    for (subject, item) in item.entries()? {
        let function = if item.value.is_object() {
            let section = item.section("a service", &["handler", "stream", "consumer"])?;
            let name = |key: &str, example: &str| -> Result<String, Diagnostic> {
                Ok(section.require(key, example)?.string()?.to_owned())
            };
            let (stream, consumer) =
                (name("stream", "\"EVENTS\"")?, name("consumer", "\"worker\"")?);
            consumers.insert(subject.to_owned(), Consumer { stream, consumer });
            section.require("handler", "\"a function\"")?.string()?
        } else {
            item.string()?
        };
        check_subject(&item, subject)?;
        services.insert(subject.to_owned(), function.to_owned());
    }
    Ok((services, consumers))
}

/// Checks a subject, or a pattern of subjects, that `item` is or stands at.
pub(super) fn check_subject(item: &Item<'_>, subject: &str) -> Result<(), Diagnostic> {
    let tokens = subject.split('.').all(|token| !token.is_empty());
    let all = subject.split_once('>').is_none_or(|(_, rest)| rest.is_empty());
    if tokens && all && !subject.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Ok(());
    }
    Err(item.error(format!("`{}` is not a subject", shown(subject))).help(
        "tokens separated by `.`, none of them empty, without white space, and `>` at the end alone",
    ))
}

/// Checks tags that a user made up. `whose` is what the error calls them.
pub(super) fn check_tags(tags: &BTreeMap<String, String>, whose: &str) -> Result<(), Diagnostic> {
    for (key, value) in tags {
        let plain = key.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c));
        if key.is_empty() || key.len() > 64 || !plain {
            return Err(Diagnostic::new(format!("{whose}: `{}` cannot be a tag", shown(key)))
                .help("use letters, digits, `_`, `-` and `.`, at most 64"));
        }
        if HOST_TAGS.contains(&key.as_str()) {
            return Err(Diagnostic::new(format!("{whose}: the tag `{key}` is the host's"))
                .help("choose another name"));
        }
        let broken = value.contains(|c: char| c.is_control() || matches!(c, ',' | '{' | '}'));
        if value.is_empty() || value.len() > 256 || broken {
            return Err(Diagnostic::new(format!(
                "{whose}: the tag `{key}` cannot be `{}`",
                shown(value)
            ))
            .help("use 1 to 256 characters other than `,`, `{` and `}`"));
        }
    }
    Ok(())
}
