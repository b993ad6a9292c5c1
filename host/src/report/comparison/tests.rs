//! What a comparison looks like, and that nothing of a hostile name acts.

use super::*;
use crate::{
    run::comparison::SCHEMA,
    verdict::comparison::{Better, Subject, TOLERANCE, compare, worst},
};

const NASTY: &str = "x\u{1b}[2J|</code><script>alert(1)</script>`@everyone\u{202e}";

fn subject(name: &str, unit: &str, better: Better, base: f64, new: f64) -> Subject {
    let runs = |middle: f64| (0..8).map(move |run| Some(middle * (1.0 + f64::from(run) / 1_000.0)));
    let (name, unit) = (name.to_owned(), unit.to_owned());
    Subject { name, unit, better, base: runs(base).collect(), new: runs(new).collect() }
}

fn comparison(subjects: Vec<Subject>) -> Comparison {
    let findings = compare(subjects, Design::Sets, TOLERANCE);
    let run =
        |id: &str| Compared { id: id.to_owned(), name: "shop".to_owned(), started: String::new() };
    Comparison {
        schema: SCHEMA.to_owned(),
        base: vec![run("a"), run("b")],
        new: vec![run("c")],
        design: Design::Sets,
        tolerance: TOLERANCE,
        outcome: worst(&findings),
        findings,
        times: Some(1.07),
        remarks: vec!["the kernel differs".to_owned()],
        base_times: Vec::new(),
    }
}

fn usual() -> Comparison {
    comparison(vec![
        subject("bus_request_duration.p(99){op:user_stats}", "ns", Better::Lower, 4e6, 4.8e6),
        subject("target_cpu_seconds.count / bus_requests.count", "s", Better::Lower, 1e-3, 1.06e-3),
        subject("iterations.rate", "/s", Better::Higher, 200.0, 200.1),
        subject("db_query_duration.mean", "ns", Better::Lower, 1e6, 0.8e6),
        subject("iteration_errors.rate", "", Better::Lower, 0.0, 0.0),
    ])
}

#[test]
fn the_page_says_it_in_words_first() {
    insta::assert_snapshot!(terminal(&usual(), false), @r"
    c against 2 runs of shop

    worse, beyond the tolerance of 10 %
      p99 of user_stats +20 % ± 0.4 %
    worse, within the tolerance
      CPU per request +6.0 % ± 0.3 %
    better
      mean of db_query_duration −20 % ± 0.2 %
    no change
      iterations per second +0.1 % ± 0.3 %
      rate of iteration_errors +0 ± 0

    numbers
      bus_request_duration.p(99){op:user_stats}
             4.01 ms →    4.82 ms      +20 %  +20 % to +20 %          p < 0.001
      target_cpu_seconds.count / bus_requests.count
             1.00 ms →    1.06 ms     +6.0 %  +5.7 % to +6.3 %        p < 0.001
      iterations.rate
               201/s →      201/s     +0.1 %  −0.2 % to +0.3 %        p 1.000
      db_query_duration.mean
             1.00 ms →     803 µs      −20 %  −20 % to −20 %          p < 0.001
      iteration_errors.rate
                   0 →          0         +0  +0 to +0                p 1.000

      Medians of the runs; the interval is of each metric by itself, p with all of
      them taken into account (Holm).
      All times together: × 1.070 (geometric mean of their ratios).
      the kernel differs

    REGRESSION · exit code 112
    ");
}

#[test]
fn markdown_fits_a_pull_request() {
    insta::assert_snapshot!(markdown(&usual()), @r"
    ### <code>c</code> against 2 runs of <code>shop</code>

    **REGRESSION · exit code 112**

    - worse, beyond the tolerance of 10 %
      - p99 of <code>user_stats</code> +20 % ± 0.4 %
    - worse, within the tolerance
      - CPU per request +6.0 % ± 0.3 %
    - better
      - mean of <code>db_query_duration</code> −20 % ± 0.2 %
    - no change
      - <code>iterations</code> per second +0.1 % ± 0.3 %
      - rate of <code>iteration_errors</code> +0 ± 0

    | metric | base | new | change | 95 % interval | chance |
    |---|--:|--:|--:|---|---|
    | <code>bus_request_duration.p(99){op:user_stats}</code> | 4.01 ms | 4.82 ms | +20 % | +20 % to +20 % | p < 0.001 |
    | <code>target_cpu_seconds.count / bus_requests.count</code> | 1.00 ms | 1.06 ms | +6.0 % | +5.7 % to +6.3 % | p < 0.001 |
    | <code>iterations.rate</code> | 201/s | 201/s | +0.1 % | −0.2 % to +0.3 % | p 1.000 |
    | <code>db_query_duration.mean</code> | 1.00 ms | 803 µs | −20 % | −20 % to −20 % | p < 0.001 |
    | <code>iteration_errors.rate</code> | 0 | 0 | +0 | +0 to +0 | p 1.000 |

    Medians of the runs; the interval is of each metric by itself, p with all of them taken into account (Holm).

    All times together: × 1.070 (geometric mean of their ratios).

    the kernel differs
    ");
}

#[test]
fn the_page_fits_eighty_columns_and_json_can_be_read_back() {
    let usual = usual();
    for line in terminal(&usual, false).lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let read: Comparison = serde_json::from_str(&json(&usual)).unwrap();
    assert_eq!(terminal(&read, true), terminal(&usual, true));
}

#[test]
fn nothing_of_a_name_acts() {
    let mut nasty = comparison(vec![
        subject(NASTY, NASTY, Better::Lower, 1.0, 2.0),
        subject(&format!("m.p(99){{op:{NASTY}}}"), "ns", Better::Lower, 1.0, 2.0),
    ]);
    nasty.remarks.push(NASTY.to_owned());
    nasty.new[0].id = NASTY.to_owned();
    nasty.base[0].name = NASTY.to_owned();
    nasty.findings[0].reason = Some(NASTY.to_owned());
    let page = terminal(&nasty, false);
    assert!(!page.contains(['\u{1b}', '\u{202e}']), "{page}");
    let page = markdown(&nasty);
    assert!(!page.contains("<script") && !page.contains("`@") && !page.contains("@everyone"));
    assert!(!page.contains(['\u{1b}', '\u{202e}', '`']), "{page}");
    for row in page.lines().filter(|line| line.starts_with('|')) {
        assert_eq!(row.matches('|').count(), 7, "{row}");
    }
}
