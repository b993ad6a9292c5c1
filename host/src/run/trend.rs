//! How a figure went over the history, and where it changed. SEMANTICS §8.
//!
//! Runs that are compared with nothing (invalid, cut off) are no points; nor are those of other machines
//! than the newest one's: a change of machine is no change of the system.

use serde::{Deserialize, Serialize};

use super::{
    comparison::{Refused, Wanted, objection, other_machine},
    summary::Summary,
};
use crate::{
    diagnostic::Diagnostic,
    plan::threshold::FigureName,
    verdict::{
        Cause,
        comparison::{Better, CHANGE_POINT_P, WINDOW, change_points},
    },
};

/// The version of this format; a change that breaks a reader counts it up.
pub const SCHEMA: &str = "wavetank.trend/1";

/// How a figure went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Trend {
    /// `wavetank.trend/1`
    pub schema: String,
    /// The figure, as it is written.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Which way is the good one.
    pub better: Better,
    /// By run, oldest first.
    pub points: Vec<Point>,
    /// Where it changed, oldest first.
    pub changes: Vec<Change>,
    /// What the reader should know.
    pub remarks: Vec<String>,
}

/// The figure of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Point {
    /// The run.
    pub id: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// The figure.
    pub value: f64,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Change {
    /// The first point after it, from 0.
    pub index: usize,
    /// Its run.
    pub id: String,
    /// When that started.
    pub started: String,
    /// Mean from the change before until this one.
    pub before: f64,
    /// Mean from this one to the next.
    pub after: f64,
    /// By how much, as a part of what was before; null where that was zero.
    pub change: Option<f64>,
    /// Whether that is for the worse; null where nobody said which way is the good one.
    pub worse: Option<bool>,
    /// How probable the two sides are if nothing changed.
    pub p_value: f64,
}

/// How a figure went over runs, oldest first.
pub fn trend(runs: &[&Summary], figure: &FigureName) -> Result<Trend, Box<Refused>> {
    let mut remarks = Vec::new();
    let Some(newest) = runs.last() else {
        return Err(Box::new(Refused {
            cause: Cause::NotShown,
            diagnostic: Diagnostic::new("there is no run to look at")
                .help("make some with `wavetank run`, or look for others with --name and --tag"),
        }));
    };
    let wanted = Wanted::named(figure, runs)?;
    let mut left = [0_usize; 3];
    let mut points = Vec::new();
    for run in runs {
        let place = if objection(run).is_some() {
            Some(0)
        } else {
            let other = other_machine(&newest.environment, &run.environment);
            other.map(|_| 1)
        };
        match (place, wanted.figure(run)) {
            (Some(place), _) => left[place] += 1,
            (None, None) => left[2] += 1,
            (None, Some(value)) => points.push(Point {
                id: run.run.id.clone(),
                started: run.run.started.clone(),
                value,
            }),
        }
    }
    let why = ["that are invalid or were cut off", "of other machines", "without that figure"];
    for (count, why) in left.into_iter().zip(why).filter(|(count, _)| *count > 0) {
        remarks.push(format!("{count} runs {why} were left out"));
    }
    let subject = wanted.subject(runs, &[]);
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    let changes = change_points(&values, WINDOW, CHANGE_POINT_P).into_iter().map(|found| {
        let (point, rise) = (&points[found.index], found.after - found.before);
        Change {
            index: found.index,
            id: point.id.clone(),
            started: point.started.clone(),
            before: found.before,
            after: found.after,
            change: (found.before != 0.0).then(|| rise / found.before.abs()),
            worse: match subject.better {
                Better::Lower => Some(rise > 0.0),
                Better::Higher => Some(rise < 0.0),
                Better::Unknown => None,
            },
            p_value: found.p_value,
        }
    });
    Ok(Trend {
        schema: SCHEMA.to_owned(),
        metric: subject.name.clone(),
        unit: subject.unit.clone(),
        better: subject.better,
        changes: changes.collect(),
        points,
        remarks,
    })
}
