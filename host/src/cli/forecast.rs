//! `--dry-run`: the plan in words. What it says is computed by [`Plan::forecast`].

use std::time::Duration;

use crate::plan::{Forecast, Plan, Point, ScenarioForecast};

/// The plan as text.
pub fn render(plan: &Plan) -> String {
    let forecast: Forecast = plan.forecast();
    let mut lines = vec![format!(
        "{}: {} scenario(s), at most {}, {} shard(s), seed {}, scale {}",
        plan.name,
        forecast.scenarios.len(),
        time(forecast.longest),
        plan.shards,
        plan.seed,
        plan.scale,
    )];
    for scenario in &forecast.scenarios {
        lines.push(String::new());
        lines.extend(scenario_lines(scenario));
    }
    lines.extend(plan.notes.iter().map(|note| format!("\n{note}")));
    lines.join("\n")
}

fn scenario_lines(scenario: &ScenarioForecast) -> Vec<String> {
    let start = scenario.after.as_ref().map_or_else(
        || format!("at {}", time(scenario.start)),
        |after| format!("after `{after}`, at {} at the latest", time(scenario.start)),
    );
    let mut lines = vec![
        format!("{} ({})", scenario.name, scenario.executor),
        format!("  starts       {start}, for {} at most", time(scenario.duration)),
    ];
    if let Some(planned) = scenario.planned {
        lines.push(format!("  iterations   {planned}"));
    }
    let vus = scenario.pre_allocated_vus.map_or_else(
        || format!("{}", scenario.max_vus),
        |made| {
            let most = scenario.max_vus;
            if made >= most {
                return format!("{made} made before the start");
            }
            format!(
                "{made} made before the start, {most} at most: from the first second on, what the rate \
                 and the time of an iteration ask for"
            )
        },
    );
    lines.push(format!("  VUs          {vus}"));
    if let Some(rate) = scenario.rate {
        lines.push(format!("  arrivals/s   {:.1} on average, {:.1} at most", rate.mean, rate.peak));
    }
    if let Some(longest) = scenario.longest_iteration {
        lines.push(format!(
            "  suffices     while an iteration takes {} on average or less (Little's law)",
            time(longest)
        ));
    }
    lines.extend(scenario.driver.iter().map(|driver| format!("  driven by    {driver}")));
    lines.extend(scenario.course.iter().map(point));
    lines
}

fn point(point: &Point) -> String {
    let load = match (point.vus, point.rate) {
        (Some(vus), _) => format!("{vus} VUs"),
        (None, Some(rate)) => format!("{rate:.1}/s"),
        (None, None) => String::new(),
    };
    format!("    {:>10}  {load:<14}{}", time(point.at), point.stage).trim_end().to_owned()
}

fn time(duration: Duration) -> String {
    format!("{duration:.3?}")
}
