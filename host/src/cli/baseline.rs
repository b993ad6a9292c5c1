//! `--baseline`: the earlier runs that a run is set against, found and looked at before anything runs.
//!
//! Thresholds compare with the newest of them. A baseline that cannot be one (invalid, of another machine,
//! missing while a threshold asks for it) ends the command at once: it must not cost a run to learn that.

use super::{
    Failed,
    allow::{Allowed, Machines, Missing},
    args::RunArgs,
    backends, history,
    load::configuration,
};
use crate::{
    diagnostic::Diagnostic,
    metric::Selector,
    plan::Plan,
    report::printable::printable,
    run::{
        comparison::{AgainstBaseline, Terms, objection, other_machine},
        summary::Summary,
    },
};

/// Characters of a name.
const TEXT: usize = 160;

/// The earlier runs.
#[derive(Debug)]
pub struct Baseline {
    /// Oldest first; none only where that is allowed.
    runs: Vec<Summary>,
    other_machine: bool,
    /// Whether it is no fault that there is nothing to compare with yet.
    excused: bool,
    tolerance: f64,
}

impl Baseline {
    /// What `--baseline` names; `name` is what the run is called.
    pub fn of(args: &RunArgs, allowed: &Allowed, name: &str) -> Result<Option<Self>, Failed> {
        let Some(word) = &args.baseline else { return Ok(None) };
        let excused = allowed.missing == Missing::Excused;
        let runs = match word.strip_prefix("latest:") {
            Some(tag) => {
                let runs = history::latest(tag, Some(name))?;
                if runs.is_empty() && !excused {
                    let mut failed = history::none_tagged(tag, Some(name));
                    failed.diagnostic = failed.diagnostic.help(
                        "`wavetank runs tag RUN WORD` marks one; --allow no-baseline is for a first run",
                    );
                    return Err(failed);
                }
                runs
            }
            None if excused && !history::exists(word) => Vec::new(),
            None => vec![history::find(word)?],
        };
        let here = backends::machine_here();
        let any = allowed.machines == Machines::Any;
        let same = |run: &Summary| other_machine(&run.environment, &here).is_none();
        // Of a tag's history the runs of this machine are the ones to compare with, if there are any.
        let runs = if runs.len() > 1 && runs.iter().any(same) {
            runs.into_iter().filter(same).collect()
        } else {
            runs
        };
        for run in &runs {
            let id = printable(&run.run.id, TEXT);
            if let Some(why) = objection(run) {
                return Err(configuration(
                    Diagnostic::new(format!("the baseline {id} {why}")).help(
                        "an invalid run is compared with nothing: name another with --baseline",
                    ),
                ));
            }
            let other = other_machine(&run.environment, &here).filter(|_| !any);
            if let Some(how) = other {
                return Err(configuration(
                    Diagnostic::new(format!("the baseline {id} is of another machine ({how})"))
                        .help("make one here; --allow other-machine compares all the same, and says so"),
                ));
            }
        }
        Ok(Some(Self { runs, other_machine: any, excused, tolerance: args.tolerance }))
    }

    /// How a run that has ended stands against it.
    pub fn judge(&self, summary: &Summary) -> AgainstBaseline {
        if self.runs.is_empty() {
            return AgainstBaseline::Refused("there is none yet".to_owned());
        }
        let (tolerance, other_machine) = (self.tolerance, self.other_machine);
        let terms = Terms { tolerance, other_machine, ..Terms::default() };
        summary.against(&self.runs, &terms)
    }
}

/// Gives the thresholds of a plan that compare with a baseline their figures.
pub fn prepare(plan: &mut Plan, baseline: Option<&Baseline>) -> Result<(), Failed> {
    let Some(asking) = plan.asks_for_baseline() else { return Ok(()) };
    let Some(baseline) = baseline else {
        let name = printable(&asking.metric, TEXT);
        let source = printable(&asking.source, TEXT);
        return Err(configuration(
            Diagnostic::new(format!("the threshold on `{name}` (`{source}`) has no baseline"))
                .help("name an earlier run: --baseline RUN|FILE|latest:TAG"),
        ));
    };
    let newest = baseline.runs.last();
    // A suite's summary holds several workloads: this one's figures are meant.
    let joined = newest.is_some_and(Summary::is_joined);
    let part = joined.then(|| ("workload".to_owned(), plan.name.clone()));
    plan.set_baseline(baseline.excused, |metric, selector, aggregate| {
        let mut selector: Selector = selector.clone();
        if let Some((key, value)) = &part {
            selector.0.entry(key.clone()).or_insert_with(|| value.clone());
        }
        newest?.figure(metric, &selector, aggregate)
    });
    Ok(())
}
