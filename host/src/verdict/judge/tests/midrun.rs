//! A run that goes on: shards tell at different times, and only what is certain stops it.

use super::*;

/// A run on two shards, of which each tells by itself.
struct Two {
    judge: Judge,
    shards: [Recorder; 2],
}

impl Two {
    fn of(metric: &str, expression: (Aggregate, Comparison, f64), window: Option<Window>) -> Self {
        let (aggregate, comparison, number) = expression;
        let mut threshold = limit(metric, aggregate, comparison, number);
        threshold.expression.0[0][0].window = window;
        threshold.abort_on_fail = true;
        let (plan, names) = (Arc::new(plan(vec![threshold])), Names::default());
        let shard = |index| {
            let config = RecorderConfig {
                registry: plan.registry.clone(),
                names: names.clone(),
                windowed: windowed(&plan),
                max_series: 1_000,
            };
            let recorder = Recorder::new(config, index, Instant::ZERO);
            recorder.start_at(START);
            recorder
        };
        Self { shards: [shard(0), shard(1)], judge: Judge::new(plan.clone(), names, 2) }
    }

    /// A shard has done fifty iterations a second, and tells them.
    fn tells(&mut self, shard: usize, from: u64, until: u64) {
        let recorder = &self.shards[shard];
        for at in (from..until).step_by(20) {
            let at = START + Duration::from_millis(at);
            recorder.add(Builtin::Iterations.id(), TagSet::default(), at, 1.0);
        }
        let told = recorder.take(START + Duration::from_millis(until));
        self.judge.observe(&told);
    }

    fn stopped_at(&mut self, now: u64) -> bool {
        self.judge.abort(START, START + Duration::from_millis(now)).is_some()
    }
}

const EACH: Option<Window> = Some(Window::Each(SECOND));
const RATE: Aggregate = Aggregate::Rate;

#[test]
fn a_window_is_judged_when_all_shards_have_told_it_and_not_before() {
    let mut run = Two::of("iterations", (RATE, Comparison::Greater, 90.0), EACH);
    run.tells(0, 0, 3_000);
    assert!(!run.stopped_at(3_100), "the other shard has told nothing yet");
    run.tells(1, 0, 2_200);
    assert!(!run.stopped_at(3_100), "nor the last of the third second");
    run.tells(0, 3_000, 6_000);
    run.tells(1, 2_200, 3_000);
    assert!(!run.stopped_at(6_100));
    // Now one of them has stood still for a second.
    run.tells(1, 4_000, 4_900);
    assert!(!run.stopped_at(6_100), "what began in the fourth second may end a moment later");
    run.tells(1, 5_000, 6_000);
    assert!(run.stopped_at(6_200));
}

#[test]
fn a_rate_of_all_so_far_is_of_the_time_that_is_told() {
    for (comparison, number) in [(Comparison::Greater, 90.0), (Comparison::Less, 110.0)] {
        let mut run = Two::of("iterations", (RATE, comparison, number), None);
        run.tells(0, 0, 3_000);
        run.tells(1, 0, 2_200);
        assert!(!run.stopped_at(3_900), "a hundred a second are kept: {comparison:?} {number}");
    }
    for (comparison, number) in [(Comparison::Greater, 120.0), (Comparison::Less, 80.0)] {
        let mut run = Two::of("iterations", (RATE, comparison, number), None);
        run.tells(0, 0, 3_000);
        run.tells(1, 0, 2_900);
        assert!(run.stopped_at(3_100), "a hundred a second are not: {comparison:?} {number}");
    }
}

#[test]
fn a_count_only_grows() {
    let mut least = Two::of("iterations", (Aggregate::Count, Comparison::AtLeast, 1e3), None);
    let mut most = Two::of("iterations", (Aggregate::Count, Comparison::Less, 100.0), None);
    for run in [&mut least, &mut most] {
        run.tells(0, 0, 1_000);
        run.tells(1, 0, 900);
    }
    assert!(!least.stopped_at(1_100), "it may still come to a thousand");
    assert!(!most.stopped_at(1_100), "95 are below a hundred");
    most.tells(1, 900, 1_100);
    assert!(most.stopped_at(1_200));
}

#[test]
fn what_its_end_defines_is_judged_at_the_end() {
    let last = Some(Window::Last(SECOND));
    let mut run = Two::of("iterations", (RATE, Comparison::Greater, 200.0), last);
    run.tells(0, 0, 3_000);
    run.tells(1, 0, 3_000);
    assert!(!run.stopped_at(5_000), "which second is the last is not known yet");
    let first = Some(Window::First(SECOND));
    let mut run = Two::of("iterations", (RATE, Comparison::Greater, 200.0), first);
    run.tells(0, 0, 1_500);
    run.tells(1, 0, 1_500);
    assert!(!run.stopped_at(1_600));
    run.tells(0, 1_500, 2_500);
    run.tells(1, 1_500, 2_500);
    assert!(run.stopped_at(2_600));
}
