//! How a figure went over the history: its stretches between changes, in words and as a line of blocks.

use super::{escape, printable::printable, quantity::quantity};
use crate::run::trend::{Change, Trend};

/// Characters of one name or message.
const TEXT: usize = 160;
/// Points of the line of blocks.
const WIDTH: usize = 76;

/// For a terminal.
pub fn terminal(trend: &Trend) -> String {
    let plain = |text: &str| printable(text, TEXT);
    let mut page = vec![format!("{} · {} runs", plain(&trend.metric), trend.points.len())];
    page.push(format!("\n  {}\n", blocks(trend)));
    page.extend(stretches(trend, &plain).iter().map(|line| format!("  {line}")));
    page.extend(trend.remarks.iter().map(|remark| format!("  {}", plain(remark))));
    page.push(String::new());
    page.join("\n")
}

/// For a pull request.
pub fn markdown(trend: &Trend) -> String {
    let code = |text: &str| escape::code(text, 2 * TEXT);
    let mut page = vec![format!("### {} · {} runs\n", code(&trend.metric), trend.points.len())];
    page.extend(stretches(trend, &code).iter().map(|line| format!("- {line}")));
    page.extend(
        trend.remarks.iter().map(|remark| format!("- {}", escape::markdown(remark, 2 * TEXT))),
    );
    page.push(String::new());
    page.join("\n")
}

/// As JSON: one object, indented, a line break at the end.
pub fn json(trend: &Trend) -> String {
    // Numbers are finite and maps have text as keys: there is nothing that JSON has no word for.
    let mut text = serde_json::to_string_pretty(trend).unwrap_or_else(|_| "null".to_owned());
    text.push('\n');
    text
}

/// One line for what was before the first change, and one for each change.
fn stretches(trend: &Trend, show: &dyn Fn(&str) -> String) -> Vec<String> {
    let unit = printable(&trend.unit, TEXT);
    let Some(first) = trend.points.first() else { return vec!["no run has it".to_owned()] };
    let end = trend.changes.first().map_or(trend.points.len(), |change| change.index);
    let mean = trend.points[..end].iter().map(|point| point.value).sum::<f64>() / end as f64;
    let begin =
        format!("{}  {} from {}", day(&first.started), quantity(mean, &unit), show(&first.id));
    if trend.changes.is_empty() {
        return vec![begin, "no change".to_owned()];
    }
    let change = |change: &Change| {
        let word = match change.worse {
            Some(true) => "worse: ",
            Some(false) => "better: ",
            None => "",
        };
        let by = change.change.map_or_else(String::new, |part| {
            let sign = if part < 0.0 { "−" } else { "+" };
            format!("{sign}{:.1} % ", (part * 100.0).abs())
        });
        format!(
            "{}  {} from {}, {word}{by}(chance {:.4})",
            day(&change.started),
            quantity(change.after, &unit),
            show(&change.id),
            change.p_value
        )
    };
    std::iter::once(begin).chain(trend.changes.iter().map(change)).collect()
}

/// The day of a time, whatever somebody wrote there.
fn day(started: &str) -> String {
    printable(&started.chars().take(10).collect::<String>(), TEXT)
}

/// The newest points, each as high as it is, between the lowest and the highest.
fn blocks(trend: &Trend) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<f64> = trend.points.iter().map(|point| point.value).collect();
    let values = &values[values.len().saturating_sub(WIDTH)..];
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let height = |value: &f64| {
        let part = if high > low { (value - low) / (high - low) } else { 0.0 };
        HEIGHTS[((part * 7.0).round() as usize).min(7)]
    };
    values.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        run::trend::{Point, SCHEMA},
        verdict::comparison::Better,
    };

    fn trend(metric: &str) -> Trend {
        let point = |index: u32| Point {
            id: format!("run{index}"),
            started: format!("2026-11-{:02}T10:00:00Z", index + 1),
            value: if index < 12 { 4e6 } else { 5e6 },
        };
        Trend {
            schema: SCHEMA.to_owned(),
            metric: metric.to_owned(),
            unit: "ns".to_owned(),
            better: Better::Lower,
            points: (0..20).map(point).collect(),
            changes: vec![Change {
                index: 12,
                id: "run12".to_owned(),
                started: "2026-11-13T10:00:00Z".to_owned(),
                before: 4e6,
                after: 5e6,
                change: Some(0.25),
                worse: Some(true),
                p_value: 0.0,
            }],
            remarks: Vec::new(),
        }
    }

    #[test]
    fn the_page_says_where_it_changed() {
        let page = terminal(&trend("bus_request_duration.p(99)"));
        for words in [
            "bus_request_duration.p(99) · 20 runs",
            "▁▁▁▁▁▁▁▁▁▁▁▁████████",
            "2026-11-01  4 ms from run0",
            "2026-11-13  5 ms from run12, worse: +25.0 % (chance 0.0000)",
        ] {
            assert!(page.contains(words), "no `{words}` in {page}");
        }
        let read: Trend = serde_json::from_str(&json(&trend("a"))).unwrap();
        assert_eq!(read, trend("a"));
    }

    #[test]
    fn nothing_of_a_name_acts() {
        let nasty = trend("\u{1b}[2J<script>`@everyone");
        assert!(!terminal(&nasty).contains('\u{1b}'));
        let page = markdown(&nasty);
        assert!(!page.contains("<script") && !page.contains('`') && !page.contains("@every"));
    }
}
