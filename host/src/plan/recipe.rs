//! What a plan was built from, so that it can be built again from a record of its run.
//!
//! A plan is not written down: a second form of it could say something else than the first. What is
//! written are the inputs of [`Plan::build`] and what was made of its result before the run, and the
//! one function is called again. [`Plan::shape`] says everything that a plan came to, so that whoever
//! rebuilds one can see that it is the same: another version of this tool may read the same inputs in
//! another way.

use std::{fmt::Write, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Plan, PlanInput, threshold::Stored};
use crate::diagnostic::Diagnostic;

/// The inputs of a plan, and how it was fitted to the machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Recipe {
    input: PlanInput,
    /// What [`Plan::fit`] was told: room, and why.
    pub(super) fits: Vec<(u32, String)>,
    /// The shards that were left by [`Plan::share_connections`].
    pub(super) shards: Option<usize>,
    /// The figures that [`Plan::set_baseline`] found, in the order in which it asked for them.
    #[serde(default)]
    pub(super) baseline: Vec<Option<Stored>>,
    /// Whether figures that it did not find are excused.
    #[serde(default)]
    pub(super) excused: bool,
}

impl Recipe {
    /// The recipe of a plan that is about to be built.
    pub(super) fn new(input: &PlanInput) -> Self {
        Self { input: input.clone(), ..Self::default() }
    }

    /// The recipe with every text of the workload and its flags changed; `None` if none was.
    pub fn covered(&self, cover: &dyn Fn(&str) -> String) -> Option<Self> {
        let mut recipe = self.clone();
        let mut changed = covered(&mut recipe.input.options.0, cover);
        changed |= covered(&mut recipe.input.overrides.thresholds, cover);
        for value in recipe.input.overrides.tags.values_mut() {
            changed |= cover_text(value, cover);
        }
        changed.then_some(recipe)
    }

    /// Builds the plan again.
    pub fn build(&self) -> Result<Plan, Diagnostic> {
        let mut plan = Plan::build(self.input.clone())?;
        for (room, why) in &self.fits {
            plan.fit(*room, why);
        }
        plan.shards = self.shards.unwrap_or(plan.shards);
        let mut stored = self.baseline.iter().copied();
        plan.put_baseline(self.excused, |_, _, _| stored.next().flatten());
        plan.recipe = Arc::new(self.clone());
        Ok(plan)
    }
}

/// Covers the texts of an object; whether anything was covered.
fn covered(object: &mut Map<String, Value>, cover: &dyn Fn(&str) -> String) -> bool {
    let mut changed = object.keys().any(|key| cover(key) != *key);
    *object = std::mem::take(object)
        .into_iter()
        .map(|(key, mut value)| {
            changed |= cover_value(&mut value, cover);
            (cover(&key), value)
        })
        .collect();
    changed
}

fn cover_value(value: &mut Value, cover: &dyn Fn(&str) -> String) -> bool {
    match value {
        Value::String(text) => cover_text(text, cover),
        Value::Array(values) => {
            let changed = values.iter_mut().map(|value| cover_value(value, cover));
            changed.fold(false, |one, other| one | other)
        }
        Value::Object(object) => covered(object, cover),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn cover_text(text: &mut String, cover: &dyn Fn(&str) -> String) -> bool {
    let covered = cover(text);
    let changed = covered != *text;
    *text = covered;
    changed
}

impl Plan {
    /// Everything that it says, as one text: two plans that are alike have the same.
    pub fn shape(&self) -> String {
        let Self {
            name,
            scenarios,
            registry,
            declared_metrics,
            ops,
            thresholds,
            derived,
            services,
            consumers,
            seed,
            scale,
            shards,
            segment,
            setup_timeout,
            teardown_timeout,
            timeout,
            tags,
            rows,
            limits,
            notes,
            recipe: _,
        } = self;
        let mut shape =
            format!("{name:?} {scenarios:?} {declared_metrics:?} {ops:?} {thresholds:?}");
        // Writing to a string cannot fail.
        let _ = write!(shape, "{derived:?} {services:?} {consumers:?} {seed} {scale} {shards}");
        let _ = write!(shape, "{segment:?} {setup_timeout:?} {teardown_timeout:?} {timeout:?}");
        let _ = write!(shape, "{tags:?} {rows:?} {limits:?} {notes:?}");
        for (id, metric) in registry.iter() {
            let _ = write!(shape, "{metric:?} {}", registry.scale(id));
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{Options, Overrides};

    fn input() -> PlanInput {
        let options = json!({
            "scenarios": { "steady": {
                "executor": "constant-arrival-rate", "rate": 0.1 + 0.2, "duration": "7s",
            } },
            "thresholds": { "iteration_duration{scenario:steady}": ["p(95) < 10.3ms", "mean over last 3s < 5ms"] },
            "metrics": { "own": "trend" },
        });
        let Value::Object(options) = options else { unreachable!() };
        PlanInput {
            name: "again".to_owned(),
            options: Options(options),
            functions: vec!["iteration".to_owned()],
            overrides: Overrides { seed: Some(u64::MAX), scale: Some(0.1), ..Overrides::default() },
            cores: 2,
            ..PlanInput::default()
        }
    }

    #[test]
    fn a_plan_that_is_built_again_from_its_written_recipe_is_the_same() {
        let mut plan = Plan::build(input()).unwrap();
        assert!(plan.fit(4, "there is room for four"));
        plan.limits.database_connections = 1;
        plan.share_connections(None).unwrap();
        let written = serde_json::to_string(&*plan.recipe).unwrap();
        let mut again = serde_json::from_str::<Recipe>(&written).unwrap().build().unwrap();
        again.limits.database_connections = 1;
        assert_eq!(again.shape(), plan.shape());
        assert_eq!(again.shards, 1);
        again.seed -= 1;
        assert_ne!(again.shape(), plan.shape());
    }
}
