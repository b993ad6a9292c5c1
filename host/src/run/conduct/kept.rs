//! What the conductor hands on: to those who judge, to the diary, to the tape, to the observers.
//!
//! The tape is given what the judge and the diary are given, in the same order, so that whoever feeds another
//! judge and another diary with it comes to the same. A tape that has failed is let go: the run goes on.

use super::Conductor;
use crate::{
    clock::Instant,
    metric::{Builtin, Cell, Selector, Snapshot},
    run::{
        chronicle::{Happening, What},
        event::Event,
        search::Hunt,
    },
    verdict::{Cause, ErrorFacts, Facts},
};

impl Conductor {
    /// Lets those who judge and those who draw it see what was measured, and the tape have it.
    pub(super) fn keep(&mut self, snapshot: Snapshot) {
        self.judge.observe(&snapshot);
        self.diary.observe(&snapshot, &self.shared.plan.registry, &self.shared.names);
        if let Some(tape) = &mut self.tape {
            tape.interval(snapshot);
        }
    }

    /// What is known of the run beside its samples, but its errors.
    pub(super) fn facts(&self) -> Facts {
        let mut facts = self.ledger.facts(&self.shared);
        facts.remarks.extend(self.remarks.iter().cloned());
        facts.targets.clone_from(&self.target_facts);
        facts.search = self.hunt.as_ref().map(Hunt::facts);
        let names = &self.shared.names;
        let cover = |text: &mut String| *text = names.cover(text).into_owned();
        facts.causes.iter_mut().for_each(|(_, text)| cover(text));
        facts.remarks.iter_mut().for_each(cover);
        for target in &mut facts.targets {
            cover(&mut target.source);
            target.last_lines.iter_mut().for_each(cover);
        }
        if let Some(tape) = &self.tape {
            facts.runner.journal_merged = tape.merged();
            let left_out = self.shared.log.left_out() + tape.left_out();
            facts.remarks.extend((left_out > 0).then(|| {
                format!(
                    "{left_out} lines of the log are not in the journal: there was no room for more"
                )
            }));
        }
        facts
    }

    /// All kinds of iteration errors so far.
    pub(super) fn errors(&self) -> Vec<ErrorFacts> {
        let mut errors = self.ledger.errors().facts();
        for error in &mut errors {
            error.message = self.shared.names.cover(&error.message).into_owned();
        }
        errors
    }

    /// Tells the tape how the run stands: what it has until then belongs together.
    pub(super) fn tell_facts(&mut self) {
        self.tell_facts = None;
        self.told_facts = self.shared.clock.now();
        let facts = self.facts();
        let all = self.ledger.count_errors();
        let errors = (all > self.told_errors).then(|| self.errors());
        let Some(tape) = &mut self.tape else { return };
        if let Some(errors) = errors {
            self.told_errors = all;
            tape.errors(errors);
        }
        tape.facts(facts);
        if let Some(text) = tape.failure() {
            // What was kept stays; the run goes on, for its figures are worth more than its record.
            self.tape = None;
            self.note(text.clone());
            self.ledger.cause(Cause::NotWritten, text);
        }
    }

    /// Something worth a line.
    pub(super) fn note(&mut self, text: String) {
        let what = What::Note { text: text.clone() };
        self.happened(Happening { at: self.shared.clock.now(), what });
        self.shared.log.tell(Event::Note(text));
    }

    /// What happened goes into the charts, and to the tape.
    pub(super) fn happened(&mut self, happening: Happening) {
        let happening = happening.covered(&self.shared.names);
        if self.diary.take(&happening)
            && let Some(tape) = &mut self.tape
        {
            tape.happened(happening);
        }
    }

    /// What the workloads have logged goes to the tape.
    pub(super) fn tell_lines(&mut self) {
        for line in self.shared.log.take_lines() {
            self.happened(line);
        }
    }

    pub(super) fn scenario_ended(&mut self, scenario: usize, at: Instant) {
        self.ledger.scenario_ended(scenario, at);
        self.happened(Happening { at, what: What::Ended { scenario } });
    }

    /// What the summary says of series that there was no room for.
    pub(super) fn folded(&self) -> Option<String> {
        let plan = &self.shared.plan;
        let (metric, all) = (Builtin::SeriesFolded.id(), Selector::default());
        let totals = self.judge.totals();
        let folded = totals.select(&plan.registry, &self.shared.names, metric, &all);
        let Cell::Counter(samples) = folded else { return None };
        (samples > 0.0).then(|| {
            format!(
                "{samples} samples were of series beyond the limit of {} in a shard (of checks and groups: \
                 beyond three quarters of it) and have lost all tags but scenario and outcome: figures by \
                 another tag leave them out (--limit series=N raises the limit)",
                plan.limits.series
            )
        })
    }

    pub(super) fn phase(&mut self, name: &'static str) {
        let what = What::Phase { text: name.to_owned() };
        self.happened(Happening { at: self.shared.clock.now(), what });
        self.shared.log.tell(Event::Phase(name));
    }
}
