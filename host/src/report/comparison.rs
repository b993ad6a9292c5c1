//! A comparison of runs: in words first, then in numbers; for a terminal, a pull request, or a machine.
//!
//! Pure, as every report. Names of metrics and tags come from workloads: on a terminal nothing of them acts,
//! and in Markdown they stand in `<code>`.

use anstyle::{AnsiColor, Style};

use super::{
    escape,
    printable::printable,
    quantity::{digits, known, quantity},
    terminal::wrap,
};
use crate::{
    plan::threshold::{Aggregate, FigureName},
    run::comparison::{Compared, Comparison},
    verdict::{
        Cause,
        comparison::{Design, Finding, Method, Outcome},
    },
};

/// Characters of one name or message.
const TEXT: usize = 160;
const BOLD: Style = Style::new().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// What a comparison makes the exit code of.
pub const fn cause(outcome: Outcome) -> Option<Cause> {
    match outcome {
        Outcome::Regression => Some(Cause::Regression),
        Outcome::Inconclusive => Some(Cause::NotShown),
        _ => None,
    }
}

/// As JSON: one object, indented, a line break at the end.
pub fn json(comparison: &Comparison) -> String {
    // Numbers are finite and maps have text as keys: there is nothing that JSON has no word for.
    let mut text = serde_json::to_string_pretty(comparison).unwrap_or_else(|_| "null".to_owned());
    text.push('\n');
    text
}

/// For a terminal of 80 columns.
pub fn terminal(comparison: &Comparison, color: bool) -> String {
    let paint = |style: Style, text: &str| {
        if color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    };
    let plain = |text: &str| printable(text, TEXT);
    let mut page = vec![paint(BOLD, &sides(comparison, &plain)), String::new()];
    for group in groups(comparison) {
        page.push(paint(group.style(), &group.title));
        for finding in group.findings {
            page.push(format!("  {}", words(finding, &plain)));
            page.extend(notes(finding).iter().flat_map(|note| wrapped(note, 6)));
        }
    }
    page.extend([String::new(), paint(BOLD, "numbers")]);
    for finding in &comparison.findings {
        let Cells { base, new, change, interval, p_value } = cells(finding);
        page.push(format!("  {}", plain(&finding.name)));
        page.push(format!("      {base:>10} → {new:>10}  {change:>9}  {interval:<23} {p_value}"));
    }
    page.push(String::new());
    page.extend(tail(comparison).iter().flat_map(|text| wrapped(text, 2)));
    let style = match comparison.outcome {
        Outcome::Regression => RED,
        Outcome::Inconclusive | Outcome::Warning => YELLOW,
        _ => GREEN,
    };
    page.extend([String::new(), paint(style, &verdict(comparison)), String::new()]);
    page.join("\n")
}

/// The words of a comparison alone, for the page of a run that was set against its baseline.
pub(super) fn lines(comparison: &Comparison) -> Vec<(Style, String)> {
    let plain = |text: &str| printable(text, TEXT);
    let mut lines = vec![(Style::new(), sides(comparison, &plain))];
    for group in groups(comparison) {
        let own: Vec<String> = group.findings.iter().map(|it| words(it, &plain)).collect();
        lines.push((group.style(), format!("{}: {}", group.title, own.join("; "))));
    }
    lines.extend(comparison.remarks.iter().map(|it| (Style::new(), plain(it))));
    lines
}

/// A comparison as it stands on the page of a run that was set against its baseline, its texts escaped.
pub(super) struct Told {
    /// Who is compared with whom.
    pub sides: String,
    /// What it came to.
    pub verdict: &'static str,
    /// Findings of each kind, the worst first.
    pub kinds: Vec<Kind>,
    /// The numbers of each finding.
    pub rows: Vec<Row>,
    /// What the reader should know.
    pub remarks: Vec<String>,
}

/// Findings of one kind.
pub(super) struct Kind {
    pub title: String,
    /// Whether something changed, as far as that can be said.
    pub changed: bool,
    /// Each in words, and what the reader should know of it.
    pub findings: Vec<(String, Vec<String>)>,
}

/// The numbers of a finding.
pub(super) struct Row {
    pub name: String,
    pub base: String,
    pub new: String,
    /// With its interval.
    pub change: String,
    /// What became of it, in a word or two.
    pub word: &'static str,
    pub outcome: Outcome,
    pub worse: Option<bool>,
    /// What the cells are sorted by.
    pub values: [Option<f64>; 3],
}

/// Tells a comparison; `show` escapes what is anyone's.
pub(super) fn told(comparison: &Comparison, show: &dyn Fn(&str) -> String) -> Told {
    let kind = |group: Group<'_>| Kind {
        title: show(&group.title),
        changed: !matches!(group.outcome, Outcome::NoChange | Outcome::NotJudged),
        findings: group
            .findings
            .iter()
            .map(|it| (words(it, show), notes(it).iter().map(|note| show(note)).collect()))
            .collect(),
    };
    let row = |finding: &Finding| {
        let Cells { base, new, change, interval, .. } = cells(finding);
        let interval =
            finding.interval.map_or_else(String::new, |_| format!(" (95 %: {interval})"));
        Row {
            name: show(&finding.name),
            base,
            new,
            change: format!("{change}{interval}"),
            word: word(finding),
            outcome: finding.outcome,
            worse: finding.is_worse(),
            values: [finding.base_median, finding.new_median, finding.change],
        }
    };
    Told {
        sides: sides(comparison, show),
        verdict: conclusion(comparison.outcome),
        kinds: groups(comparison).into_iter().map(kind).collect(),
        rows: comparison.findings.iter().map(row).collect(),
        remarks: comparison.remarks.iter().map(|it| show(it)).collect(),
    }
}

/// What got worse, declared or not, in words.
pub(super) fn worse(comparison: &Comparison) -> Vec<String> {
    let told = |it: &&Finding| {
        let change = matches!(it.outcome, Outcome::Regression | Outcome::Warning | Outcome::Change);
        change && it.is_worse() == Some(true)
    };
    let plain = |text: &str| printable(text, TEXT);
    let line = |it: &Finding| format!("{} ({})", words(it, &plain), word(it));
    comparison.findings.iter().filter(told).map(line).collect()
}

/// For a pull request.
pub fn markdown(comparison: &Comparison) -> String {
    let code = |text: &str| escape::code(text, 2 * TEXT);
    let plain = |text: &str| escape::markdown(text, 2 * TEXT);
    let mut page = vec![format!("### {}\n", sides(comparison, &code))];
    page.push(format!("**{}**\n", verdict(comparison)));
    for group in groups(comparison) {
        page.push(format!("- {}", group.title));
        for finding in group.findings {
            page.push(format!("  - {}", words(finding, &code)));
            page.extend(notes(finding).iter().map(|note| format!("    - {}", plain(note))));
        }
    }
    page.push("\n| metric | base | new | change | 95 % interval | chance |".to_owned());
    page.push("|---|--:|--:|--:|---|---|".to_owned());
    for finding in &comparison.findings {
        let Cells { base, new, change, interval, p_value } = cells(finding);
        let name = code(&finding.name);
        page.push(format!("| {name} | {base} | {new} | {change} | {interval} | {p_value} |"));
    }
    page.extend(tail(comparison).iter().map(|text| format!("\n{}", plain(text))));
    page.push(String::new());
    page.join("\n")
}

/// Who is compared with whom.
fn sides(comparison: &Comparison, show: &dyn Fn(&str) -> String) -> String {
    let side = |runs: &[Compared]| {
        let name = runs.first().map_or("", |run| run.name.as_str());
        match runs {
            [one] => show(&one.id),
            runs => format!("{} runs of {}", runs.len(), show(name)),
        }
    };
    let how = match comparison.design {
        Design::Pairs => ", in pairs",
        Design::Sets => "",
    };
    format!("{} against {}{how}", side(&comparison.new), side(&comparison.base))
}

/// Findings of one kind.
struct Group<'a> {
    outcome: Outcome,
    title: String,
    good: bool,
    findings: Vec<&'a Finding>,
}

impl Group<'_> {
    const fn style(&self) -> Style {
        match self.outcome {
            Outcome::Regression => RED,
            Outcome::Warning | Outcome::Inconclusive => YELLOW,
            _ if self.good => GREEN,
            _ => Style::new(),
        }
    }
}

fn groups(comparison: &Comparison) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut findings: Vec<&Finding> = comparison.findings.iter().collect();
    findings.sort_by_key(|finding| (finding.outcome, finding.is_worse() != Some(true)));
    for finding in findings {
        let title = title(finding, comparison.tolerance);
        match groups.last_mut().filter(|group| group.title == title) {
            Some(group) => group.findings.push(finding),
            None => groups.push(Group {
                outcome: finding.outcome,
                title,
                good: finding.outcome == Outcome::Change && finding.is_worse() == Some(false),
                findings: vec![finding],
            }),
        }
    }
    groups
}

fn title(finding: &Finding, tolerance: f64) -> String {
    match (finding.outcome, finding.is_worse()) {
        (Outcome::Regression, _) => {
            format!("worse, beyond the tolerance of {} %", digits(tolerance * 100.0))
        }
        (Outcome::Change, Some(true)) => "worse, within the tolerance".to_owned(),
        (Outcome::Change, Some(false)) => "better".to_owned(),
        (Outcome::Change, None) => "changed".to_owned(),
        (Outcome::Warning, _) => "looks worse, in too few runs to declare it".to_owned(),
        (Outcome::Inconclusive, _) => "cannot be told".to_owned(),
        (Outcome::Seen, _) => "seen, and not declared".to_owned(),
        (Outcome::NoChange, _) => "no change".to_owned(),
        (Outcome::NotJudged, _) => "not judged: too few runs".to_owned(),
    }
}

/// `p99 of user_stats +7.0 % ± 3.0 %`
fn words(finding: &Finding, show: &dyn Fn(&str) -> String) -> String {
    let name = subject(&finding.name, finding.unit.ends_with("/s"), show);
    let Some(change) = finding.change else { return name };
    let half = finding.interval.map(|[low, high]| (high - low) / 2.0);
    let spread = half.map_or_else(String::new, |half| format!(" ± {}", size(finding, half)));
    format!("{name} {}{spread}", signed(finding, change))
}

/// What a figure is of, as people say it.
fn subject(name: &str, per_second: bool, show: &dyn Fn(&str) -> String) -> String {
    if let Some((_, work)) = name.split_once(" / ") {
        let per = if work.starts_with("bus_requests") { "request" } else { "iteration" };
        return format!("CPU per {per}");
    }
    let Ok(figure) = FigureName::parse(name) else { return show(name) };
    let Some(aggregate) = figure.aggregate else { return show(name) };
    let mut selector = figure.selector;
    let operation = selector.0.remove("op");
    let rest = selector.text();
    let requests = figure.metric == "bus_request_duration";
    let of = match operation {
        Some(operation) if requests => show(&format!("{operation}{rest}")),
        Some(operation) => show(&format!("{} of {operation}{rest}", figure.metric)),
        None => show(&format!("{}{rest}", figure.metric)),
    };
    match aggregate {
        Aggregate::Percentile(percent) => format!("p{percent} of {of}"),
        Aggregate::Median => format!("median of {of}"),
        Aggregate::Rate if per_second => format!("{of} per second"),
        Aggregate::Rate => format!("rate of {of}"),
        Aggregate::Value => of,
        other => format!("{} of {of}", other.text()),
    }
}

/// A change with its sign.
fn signed(finding: &Finding, change: f64) -> String {
    let sign = if change < 0.0 { "−" } else { "+" };
    format!("{sign}{}", size(finding, change.abs()))
}

fn size(finding: &Finding, size: f64) -> String {
    if finding.absolute {
        return quantity(size, unit(finding));
    }
    let percent = size * 100.0;
    // What rounds to two digits before the point needs none behind it.
    if percent < 9.95 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// The unit, if it is one: a file may have been written by anyone.
fn unit(finding: &Finding) -> &str {
    let fits = |c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '%');
    if finding.unit.chars().all(fits) { &finding.unit } else { "" }
}

/// What the reader should know of a finding.
fn notes(finding: &Finding) -> Vec<String> {
    let more = finding.more_runs.map(|more| {
        let of = if finding.method == Method::SignedRank { "pairs" } else { "runs of each side" };
        format!("about {more} more {of} would tell")
    });
    finding.reason.clone().into_iter().chain(more).collect()
}

/// The numbers of a finding.
struct Cells {
    base: String,
    new: String,
    change: String,
    interval: String,
    p_value: String,
}

fn cells(finding: &Finding) -> Cells {
    let unit = unit(finding);
    Cells {
        base: known(finding.base_median, unit),
        new: known(finding.new_median, unit),
        change: finding.change.map_or_else(|| "–".to_owned(), |it| signed(finding, it)),
        interval: finding.interval.map_or_else(
            || "–".to_owned(),
            |[low, high]| format!("{} to {}", signed(finding, low), signed(finding, high)),
        ),
        p_value: finding.p_adjusted.map_or_else(
            || "–".to_owned(),
            |p| {
                if p < 0.001 { "p < 0.001".to_owned() } else { format!("p {p:.3}") }
            },
        ),
    }
}

/// What is said behind the numbers.
fn tail(comparison: &Comparison) -> Vec<String> {
    let mut tail = vec![
        "Medians of the runs; the interval is of each metric by itself, p with all of them taken into \
         account (Holm)."
            .to_owned(),
    ];
    if let Some(times) = comparison.times {
        tail.push(format!("All times together: × {times:.3} (geometric mean of their ratios)."));
    }
    tail.extend(comparison.remarks.iter().cloned());
    tail
}

/// What became of a finding.
fn word(finding: &Finding) -> &'static str {
    match (finding.outcome, finding.is_worse()) {
        (Outcome::Regression, _) => "regression",
        (Outcome::Change, Some(true)) => "worse, tolerated",
        (Outcome::Change, Some(false)) => "better",
        (Outcome::Change, None) => "changed",
        (Outcome::Warning, _) => "looks worse",
        (Outcome::Inconclusive, _) => "cannot be told",
        (Outcome::Seen, _) => "seen, not declared",
        (Outcome::NoChange, _) => "no change",
        (Outcome::NotJudged, _) => "not judged",
    }
}

const fn conclusion(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Regression => "REGRESSION",
        Outcome::Inconclusive => "INCONCLUSIVE",
        Outcome::Warning => "WARNING: it looks worse, in too few runs to declare it",
        Outcome::Change => "no regression",
        Outcome::Seen | Outcome::NoChange => "no change",
        Outcome::NotJudged => "not judged: too few runs",
    }
}

fn verdict(comparison: &Comparison) -> String {
    let code = cause(comparison.outcome).map_or(0, Cause::code);
    format!("{} · exit code {code}", conclusion(comparison.outcome))
}

/// Text broken at words, each line indented.
fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let lines = wrap(&printable(text, TEXT * 2), 80 - indent);
    lines.iter().map(|line| format!("{:indent$}{line}", "")).collect()
}

#[cfg(test)]
mod tests;
