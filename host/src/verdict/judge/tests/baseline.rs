//! Limits that are figures of an earlier run.

use super::*;
use crate::plan::threshold::{Base, Stored};

fn against(factor: f64, stored: Option<Stored>) -> Threshold {
    let mut threshold = limit("bus_request_duration", P95, Comparison::Less, 0.0);
    let base = stored.map_or(Base::Missing, Base::Found);
    threshold.expression.0[0][0].operand = Operand::Baseline { factor, base };
    threshold
}

fn stored(low: f64, high: Option<f64>) -> Stored {
    Stored { low, high, samples: 1_000, censored: 0 }
}

fn judged(threshold: Threshold) -> ThresholdResult {
    one(threshold, requests("", [10; 100]))
}

#[test]
fn a_figure_of_the_baseline_is_a_limit_like_any_other() {
    let passed = judged(against(1.1, Some(stored(10e6, Some(10e6)))));
    assert_eq!(passed.status, Status::Pass, "{passed:?}");
    assert!((passed.limit.unwrap() - 11e6).abs() < 1.0, "{passed:?}");
    let failed = judged(against(0.9, Some(stored(10e6, Some(10e6)))));
    assert_eq!(failed.status, Status::Fail, "{failed:?}");
}

#[test]
fn what_the_baseline_does_not_show_decides_nothing() {
    let missing = judged(against(1.0, None));
    assert_eq!(missing.status, Status::NoData);
    assert!(missing.reason.unwrap().contains("no baseline"));
    // Open between 5 and whatever: 10 may be below it or above it.
    let open = judged(against(1.0, Some(stored(5e6, None))));
    assert_eq!(open.status, Status::Insufficient, "{open:?}");
    let held = judged(against(1.0, Some(stored(20e6, None))));
    assert_eq!(held.status, Status::Pass, "whatever was censored there, it is more: {held:?}");
}

#[test]
fn a_first_run_need_not_have_a_baseline_but_must_have_data() {
    let mut plan = plan(vec![against(1.0, None)]);
    plan.set_baseline(true, |_, _, _| None);
    let excused = plan.thresholds.remove(0);
    let first = judged(excused.clone());
    assert_eq!((first.status, first.on_missing), (Status::Insufficient, Some(OnMissing::Pass)));
    assert!(first.reason.unwrap().contains("no baseline"));
    let observed = first.observed.unwrap();
    assert!((9.9e6..10.2e6).contains(&observed), "{observed}");
    let silent = one(excused.clone(), |_| {});
    assert_eq!((silent.status, silent.on_missing), (Status::NoData, Some(OnMissing::Fail)));
    // What else the threshold says is judged all the same.
    let mut both = excused;
    let own = limit("bus_request_duration", P95, Comparison::Less, 1e6);
    both.expression.0[0].extend(own.expression.0[0].clone());
    assert_eq!(judged(both).status, Status::Fail);
}

#[test]
fn a_plan_says_that_it_asks_and_takes_the_figures() {
    let mut plan = plan(vec![limit("iterations", Aggregate::Rate, Comparison::Less, 1.0)]);
    assert!(plan.asks_for_baseline().is_none());
    plan.thresholds.push(against(2.0, None));
    assert_eq!(plan.asks_for_baseline().unwrap().metric, "bus_request_duration");
    plan.set_baseline(false, |metric, selector, aggregate| {
        assert_eq!((metric, aggregate), ("bus_request_duration", P95));
        assert!(selector.0.is_empty());
        Some(stored(7.0, Some(7.0)))
    });
    let operand = &plan.thresholds[1].expression.0[0][0].operand;
    let base = Base::Found(stored(7.0, Some(7.0)));
    assert_eq!(*operand, Operand::Baseline { factor: 2.0, base });
}
