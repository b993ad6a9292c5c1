//! How the run stands to the runs that it was started with as its baseline: in words first, then in numbers.

use std::fmt::Write as _;

use super::{
    Page,
    tables::{heads, number},
    text,
};
use crate::{
    report::comparison::{self, Row},
    run::summary::Summary,
    verdict::comparison::Outcome,
};

/// How an outcome is painted.
const fn paint(row: &Row) -> &'static str {
    match (row.outcome, row.worse) {
        (Outcome::Regression, _) => "fail",
        (Outcome::Warning, _) | (Outcome::Change, Some(true)) => "warn",
        (Outcome::Change, Some(false)) => "pass",
        (Outcome::Inconclusive, _) => "unsure",
        _ => "idle",
    }
}

impl Page<'_> {
    pub(super) fn baseline(&mut self, summary: &Summary) {
        let Some(found) = &summary.baseline else { return };
        let told = comparison::told(found, &text);
        let mut words = String::new();
        for kind in &told.kinds {
            let finding = |(words, notes): &(String, Vec<String>)| {
                let note = |note: &String| format!("<span class=\"why\">{note}</span>");
                let notes: String = notes.iter().map(note).collect();
                format!("<li>{words}{notes}</li>")
            };
            let findings: String = kind.findings.iter().map(finding).collect();
            let _ = write!(words, "<p>{}</p><ul class=\"first\">{findings}</ul>", kind.title);
        }
        self.push(&format!(
            "<h2 id=\"baseline\">Baseline</h2><section class=\"card base\"><p><b>{}</b> · {}</p>{words}</section>",
            told.verdict, told.sides
        ));
        let head = heads(
            &[
                ("metric", false),
                ("baseline", true),
                ("this run", true),
                ("change", true),
                ("outcome", false),
            ],
            true,
        );
        let row = |row: &Row| {
            let [base, new, change] = row.values;
            format!(
                "<tr><td class=\"name\">{}</td>{}{}{}<td><span class=\"chip {}\">{}</span></td></tr>",
                row.name,
                number(&row.base, base),
                number(&row.new, new),
                number(&row.change, change),
                paint(row),
                row.word
            )
        };
        let rows: Vec<_> = told.rows.iter().map(row).collect();
        self.table("", "", &head, &rows, true);
        for remark in &told.remarks {
            self.push(&format!("<p class=\"hint\">{remark}</p>"));
        }
    }
}
