//! A run that was set against a baseline, on the pages that say so.

use super::*;

/// A comparison with a run of the same name, which was faster.
pub(super) fn found() -> Value {
    let run = |id: &str| json!({ "id": id, "name": "a name", "started": "2026-08-01T12:00:00Z" });
    let finding = |name: &str, base: f64, new: f64, outcome: &str| {
        json!({
            "name": name, "unit": "ns", "better": "lower", "base": [base], "new": [new], "base_median": base,
            "new_median": new, "method": "none", "change": new / base - 1.0, "interval": [0.1, 0.3],
            "absolute": false, "p_value": 0.1, "p_adjusted": 0.2, "outcome": outcome, "reason": "a reason",
            "more_runs": 4,
        })
    };
    json!({
        "schema": "wavetank.comparison/1", "base": [run("before")], "new": [run("an id")], "design": "sets",
        "tolerance": 0.1, "outcome": "warning", "times": 1.2, "remarks": ["different kernels"],
        "findings": [
            finding("bus_request_duration.p(99){op:get}", 8e6, 9.6e6, "warning"),
            finding("bus_request_duration.p(50)", 5e6, 4e6, "change"),
            finding("db_query_duration.mean", 1e6, 1e6, "no_change"),
        ],
        "base_times": [
            { "workload": "", "metric": "bus_request_duration", "op": "get", "p50": 4e6, "p90": 6e6, "p99": 8e6 },
            { "workload": "", "metric": "bus_request_duration", "op": null, "p50": 3.5e6, "p99": null },
        ],
    })
}

#[test]
fn a_baseline_is_told_in_words_first_and_not_at_all_where_there_is_none() {
    let mut told = story();
    let words = "p99 of get +20 % ± 10 %";
    let row = "| bus_request_duration.p(99){op:get} | 8 ms | 9.60 ms | +20 % (95 %: +10 % to +30 %) | looks worse |";
    let page = markdown::render(&told);
    assert!(page.contains(row), "{page}");
    assert!(page.find(words) < page.find(row), "{page}");
    assert!(
        page.contains("- Worse than the baseline: p99 of get +20 % ± 10 % (looks worse)."),
        "{page}"
    );
    let brief = markdown::brief(&told);
    assert!(
        brief.contains("- looks worse, in too few runs to declare it: p99 of get +20 %"),
        "{brief}"
    );
    assert!(brief.contains("- better: p50 of bus_request_duration −20 %"), "{brief}");
    assert_eq!(brief.matches("p99 of get").count(), 1, "{brief}");
    assert!(!brief.contains("db_query_duration"), "no change is no line: {brief}");
    let html = html::render(&told);
    assert!(html.contains("id=\"baseline\"") && html.contains(words), "no section");
    assert!(html.contains("data-v=\"9600000\">9.60 ms</td>"), "no table");
    assert!(html.contains("Level and dashed: the baseline"), "no hint");
    // The line lies where the baseline has a figure, and nowhere else.
    let subjects = charts_of(&html)["chapters"][0]["subjects"].clone();
    let bases: Vec<_> = subjects.as_array().unwrap().iter().map(|it| it["base"].clone()).collect();
    let expected = [
        Value::Null,
        json!({ "p50": 3_500_000, "p99": null }),
        json!({ "p50": 4_000_000, "p99": 8_000_000 }),
        Value::Null,
    ];
    assert_eq!(bases, expected);
    // As points on the axis of nines: one, two.
    assert_eq!(
        subjects[2]["base_curve"],
        json!([[0.301, 1, 2], [4_000_000, 6_000_000, 8_000_000]])
    );
    assert_eq!(subjects[3]["base_curve"], Value::Null);

    told.summary.baseline = None;
    for page in [markdown::render(&told), markdown::brief(&told), html::render(&told)] {
        assert!(!page.contains("## Baseline") && !page.contains("id=\"baseline\""));
        assert!(!page.contains("p99 of get") && !page.contains("Level and dashed"));
    }
}
