//! `wavetank inspect`: what a workload is, without running an iteration of it.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::{
    Failed,
    args::{InspectArgs, ScenarioArgs},
    load,
    print::out,
};
use crate::{
    plan::Plan,
    report::printable::printable,
    workload::{Description, Program},
};

/// Characters of one name or message.
const TEXT: usize = 2_000;

/// Runs the subcommand.
pub fn inspect(args: &InspectArgs) -> Result<ExitCode, Failed> {
    let program = load::program(&args.workload, &load::Reach::default())?;
    let plan = load::plan(&program, &args.workload, &ScenarioArgs::default(), None)?;
    let mut description = facts(&program, &plan);
    if args.json {
        description["limits"] = plan
            .limits
            .list()
            .into_iter()
            .map(|(name, value, meaning)| json!({ "name": name, "value": value, "doc": meaning }))
            .collect();
        out(&format!("{description:#}"));
    } else {
        out(&text(&description, 0));
        out("limits (--limit NAME=VALUE):");
        for (name, value, meaning) in plan.limits.list() {
            out(&format!("  {name:<20} {value:>7}  {meaning}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn facts(program: &Program, plan: &Plan) -> Value {
    let Description { name, version, functions, parameters, digest, .. } = program.describe();
    let kind = match program {
        Program::Script(_) => "script",
        Program::Component(_) => "component",
    };
    let imports = match program {
        Program::Script(_) => Vec::new(),
        Program::Component(component) => component.contract().imports.clone(),
    };
    let metadata: Map<String, Value> = match program {
        Program::Script(_) => Map::new(),
        Program::Component(component) => {
            let told = component.provenance().list();
            told.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
        }
    };
    json!({
        "name": name,
        "kind": kind,
        "version": version,
        "digest": digest,
        "metadata": metadata,
        "scenarios": plan.scenarios.iter().map(|scenario| json!({
            "name": scenario.name,
            "executor": scenario.executor.name(),
            "exec": scenario.exec,
            "duration_s": scenario.executor.duration().as_secs_f64(),
            "max_vus": scenario.executor.max_vus(),
        })).collect::<Vec<_>>(),
        "parameters": parameters.iter().map(|parameter| json!({
            "name": parameter.name,
            "default": parameter.default,
            "value": parameter.value,
            "doc": parameter.doc,
        })).collect::<Vec<_>>(),
        "functions": functions,
        "ops": plan.ops,
        "metrics": plan.declared_metrics.iter().map(|metric| json!({
            "name": metric.name,
            "type": metric.kind,
            "unit": metric.unit,
        })).collect::<Vec<_>>(),
        "thresholds": plan.thresholds.iter().map(|threshold| {
            format!("{}{}: {}", threshold.metric, threshold.selector.text(), threshold.source)
        }).collect::<Vec<_>>(),
        "services": plan.services,
        "imports": imports,
    })
}

/// JSON as an indented list, for people.
fn text(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| match value {
                Value::Array(list) => !list.is_empty(),
                Value::Object(map) => !map.is_empty(),
                _ => true,
            })
            .map(|(key, value)| match value {
                Value::Object(_) | Value::Array(_) => {
                    format!("{indent}{key}:\n{}", text(value, depth + 1))
                }
                _ => format!("{indent}{key}: {}", text(value, 0)),
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Value::Array(list) => list
            .iter()
            .map(|item| match item {
                Value::Object(map) => {
                    let pairs: Vec<_> = map
                        .iter()
                        .map(|(key, value)| format!("{key} {}", text(value, 0)))
                        .collect();
                    format!("{indent}- {}", pairs.join(", "))
                }
                _ => format!("{indent}- {}", text(item, 0)),
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Value::String(string) => printable(string, TEXT),
        other => other.to_string(),
    }
}
