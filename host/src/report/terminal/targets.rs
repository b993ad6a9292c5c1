//! The processes under test, on the page.

use super::{Page, TEXT, bound, percent, printable, quantity};
use crate::{
    metric::Unit,
    run::summary::Summary,
    verdict::{TargetFacts, TargetSlope},
};

/// Of so many targets the page tells.
const MOST: usize = 16;

impl Page {
    pub(super) fn targets(&mut self, summary: &Summary) {
        if summary.targets.is_empty() {
            return;
        }
        self.title("targets");
        for target in summary.targets.iter().take(MOST) {
            self.target(target);
        }
        if summary.targets.len() > MOST {
            self.note(2, &format!("and {} more, in the JSON", summary.targets.len() - MOST));
        }
        for (metric, words) in [
            ("target_restart_duration", "ready again after a restart"),
            ("target_outage_duration", "an outage, as users saw it"),
        ] {
            if let Some(trend) = summary.trend(metric) {
                self.line(&format!(
                    "  {words}: {} times, p50 {}, max {}",
                    trend.count + trend.censored,
                    bound(trend, "p(50)", trend.p50, Unit::Nanoseconds),
                    bound(trend, "max", trend.max, Unit::Nanoseconds)
                ));
            }
        }
    }

    fn target(&mut self, target: &TargetFacts) {
        let bytes = |bytes: Option<u64>| {
            bytes.map_or_else(|| "–".to_owned(), |bytes| quantity(bytes as f64, "B"))
        };
        let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
        let state = if target.running { "" } else { " · does not run" };
        let pid = target.pid.map(|pid| format!(" · pid {pid}")).unwrap_or_default();
        self.line(&format!("  {}{pid}{state}", printable(&target.name, TEXT)));
        self.line(&format!(
            "    CPU {}, at most {} · {} user, {} system",
            share(target.cpu_percent),
            share(target.cpu_percent_max),
            quantity(target.cpu_user_s, "s"),
            quantity(target.cpu_system_s, "s")
        ));
        self.line(&format!(
            "    memory {} → {}, at most {}",
            bytes(target.rss_start_bytes),
            bytes(target.rss_end_bytes),
            bytes(target.rss_max_bytes)
        ));
        if target.pss_bytes.is_some() {
            self.line(&format!("    memory without what it shares {}", bytes(target.pss_bytes)));
        }
        if let Some(TargetSlope { per_second, interval: Some([low, high]), .. }) =
            target.slopes.iter().find(|slope| slope.metric == "target_rss_bytes")
        {
            self.line(&format!(
                "    memory grew {}/min, 95 % between {} and {}",
                signed(*per_second),
                signed(*low),
                signed(*high)
            ));
        }
        let network = target.network_bytes.map_or_else(String::new, |network| {
            format!(", {} over its network", quantity(network as f64, "B"))
        });
        self.line(&format!(
            "    read {}, written {}{network}",
            quantity(target.read_bytes as f64, "B"),
            quantity(target.written_bytes as f64, "B")
        ));
        let counts = [(target.threads_max, "threads"), (target.fds_max, "descriptors")];
        let counts: Vec<_> = (counts.iter())
            .filter_map(|(count, words)| Some(format!("{} {words}", (*count)?)))
            .collect();
        if !counts.is_empty() {
            self.line(&format!("    at most {}", counts.join(", ")));
        }
        if target.starts > 1 || target.planned_stops > 0 || target.unplanned_deaths > 0 {
            self.line(&format!(
                "    started {} times, stopped {}, died {}",
                target.starts, target.planned_stops, target.unplanned_deaths
            ));
        }
        for line in &target.last_lines {
            self.note(6, &printable(line, TEXT));
        }
    }
}

/// Bytes in a minute.
fn signed(per_second: f64) -> String {
    let sign = if per_second < 0.0 { "−" } else { "" };
    format!("{sign}{}", quantity(per_second.abs() * 60.0, "B"))
}
