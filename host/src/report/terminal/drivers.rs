//! What drivers found out, on the page: how a scenario scales, one line for each level; the highest rate,
//! one line for each probe.

use super::{FAINT, Page, TEXT};
use crate::{
    report::{
        printable::printable,
        quantity::{digits, quantity, share, time},
    },
    run::summary::Summary,
    verdict::{Estimate, LevelFacts, ProbeVerdict, Scaling, SearchFacts},
};

/// How scenarios with levels scale.
pub(super) fn scaling(page: &mut Page, summary: &Summary) {
    for scaling in &summary.scaling {
        let class = scaling.class.as_deref().unwrap_or("not fitted");
        page.title(&format!(
            "scaling of {}: {}",
            printable(&scaling.scenario, TEXT),
            printable(class, TEXT)
        ));
        let head =
            row(["asked", "done", "achieved", "in system", "mean", "p95", "errors"]
                .map(str::to_owned));
        let head = page.paint(FAINT, head.trim_end());
        page.line(&head);
        for level in &scaling.levels {
            page.line(&row(cells(scaling, level)));
        }
        law(page, scaling);
        for remark in &scaling.remarks {
            page.note(2, &printable(remark, 4 * TEXT));
        }
    }
}

fn row(cells: [String; 7]) -> String {
    cells.iter().fold(String::new(), |line, cell| format!("{line}{cell:>11}"))
}

fn cells(scaling: &Scaling, level: &LevelFacts) -> [String; 7] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let bound =
        |nanos: f64| if level.at_least { format!("≥{}", time(nanos)) } else { time(nanos) };
    let asked = if scaling.open {
        quantity(level.asked, "/s")
    } else {
        format!("{} VUs", digits(level.asked))
    };
    [
        asked,
        or_none(level.throughput.map(|x| quantity(x, "/s"))),
        or_none(level.achieved.map(share)),
        or_none(level.concurrency.map(digits)),
        or_none(level.response_mean_ns.map(bound)),
        or_none(level.response_p95_ns.map(bound)),
        or_none(level.errors.map(share)),
    ]
}

fn estimate(estimate: Estimate, unit: &str) -> String {
    let value = quantity(estimate.value, unit);
    let interval = estimate.interval.map_or_else(String::new, |[low, high]| {
        format!(" (95 % in {} to {})", quantity(low, unit), quantity(high, unit))
    });
    format!("{value}{interval}")
}

fn law(page: &mut Page, scaling: &Scaling) {
    let unit = if scaling.open { "/s" } else { "" };
    let figures = [
        ("λ, one in the system", scaling.lambda, "/s"),
        ("σ, contention", scaling.sigma, ""),
        ("κ, coherence", scaling.kappa, ""),
        ("most in the system", scaling.peak_concurrency, ""),
        ("highest throughput", scaling.peak_throughput, "/s"),
    ];
    for (words, figure, unit) in figures {
        if let Some(figure) = figure {
            page.line(&format!("  {words:22}{}", estimate(figure, unit)));
        }
    }
    if let Some(knee) = scaling.knee {
        let vus = if scaling.open { "" } else { " VUs" };
        page.line(&format!("  {:22}{}{vus}", "knee", quantity(knee, unit)));
    }
    if let (Some(headroom), Some(expected)) = (scaling.headroom, scaling.expected) {
        let expected = quantity(expected, unit);
        page.line(&format!("  {:22}{} × the expected {expected}", "headroom", digits(headroom)));
    }
    if let Some(operation) = &scaling.operation {
        page.line(&format!("  {:22}{}", "limits: operation", printable(&operation.op, TEXT)));
        page.note(
            6,
            &format!(
                "its {} is {} × that of the lowest level",
                printable(&operation.metric, TEXT),
                digits(operation.factor)
            ),
        );
    }
    if let Some(resource) = &scaling.resource {
        page.line(&format!("  {:22}{}", "limits: resource", printable(resource, TEXT)));
    }
}

/// What searches found.
pub(super) fn searches(page: &mut Page, summary: &Summary) {
    for one in &summary.searches {
        search(page, one);
    }
}

fn search(page: &mut Page, search: &SearchFacts) {
    page.title(&format!("highest rate of {}", printable(&search.scenario, TEXT)));
    let found = match (search.max_rate, search.failed) {
        (Some(rate), Some(failed)) if !search.runner_limited => {
            format!("{} passed, {} did not", quantity(rate, "/s"), quantity(failed, "/s"))
        }
        (Some(rate), _) => format!("at least {}", quantity(rate, "/s")),
        (None, _) => "none was found".to_owned(),
    };
    page.line(&format!("  {found}"));
    if let (Some(headroom), Some(expected)) = (search.headroom, search.expected) {
        let expected = quantity(expected, "/s");
        page.line(&format!("  {} × the expected {expected}", digits(headroom)));
    }
    if let Some(limit) = &search.limited_by {
        page.note(2, &format!("limited by {}", printable(limit, 4 * TEXT)));
    }
    for remark in &search.remarks {
        page.note(2, &printable(remark, 4 * TEXT));
    }
    let head =
        format!("  {:<9}{:>11}{:>11}{:>9}{:>11}", "probe", "asked", "done", "left", "empty in");
    let head = page.paint(FAINT, &head);
    page.line(&head);
    for probe in &search.probes {
        let verdict = match probe.verdict {
            ProbeVerdict::Passed => "passed",
            ProbeVerdict::Failed => "failed",
            ProbeVerdict::Runner => "runner",
        };
        let empty = probe.drained_s.map_or("–".to_owned(), |seconds| quantity(seconds, "s"));
        let (asked, done) = (quantity(probe.asked, "/s"), quantity(probe.achieved, "/s"));
        page.line(&format!("  {verdict:<9}{asked:>11}{done:>11}{:>9}{empty:>11}", probe.left));
        if let Some(reason) = &probe.reason {
            page.note(6, &printable(reason, 3 * TEXT));
        }
    }
}
