//! What can be found in a component without running it, beside what its plan shows: thresholds and
//! declarations that what it imports cannot fill.
//!
//! The linker leaves an interface out that the guest's code does not use, so what is not imported cannot
//! happen. Whether something that is imported ever happens cannot be said.

use super::contract::Contract;
use crate::{diagnostic::Diagnostic, plan::Options};

/// What the bus tells of the run's connections, whatever the guest does.
const CONNECTIONS: [&str; 2] = ["bus_reconnects", "bus_slow_consumer_drops"];

/// What is wrong with a component.
pub(super) fn findings(contract: &Contract, options: &Options) -> Vec<Diagnostic> {
    let imports = |name: &str| contract.asks_for(name);
    let names = |key: &str| match options.0.get(key) {
        Some(serde_json::Value::Object(fields)) => fields.keys().cloned().collect(),
        Some(serde_json::Value::Array(items)) => {
            items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    };
    let declared = names("metrics");
    let mut found = Vec::new();
    for threshold in names("thresholds") {
        let metric = threshold.split('{').next().unwrap_or_default().trim();
        if let Some(needed) = source(metric, &declared).filter(|needed| !imports(needed)) {
            found.push(unfilled(
                format!("the threshold on `{threshold}` has nothing to judge"),
                needed,
                "the threshold",
            ));
        }
    }
    if !declared.is_empty() && !imports("metrics") {
        found.push(unfilled(
            format!("`metrics` declares {} and nothing adds to it", listed(&declared)),
            "metrics",
            "the declaration",
        ));
    }
    let ops = names("ops");
    if !ops.is_empty() && !imports("bus") && !imports("database") {
        found.push(unfilled(
            format!("`ops` declares {} and no operation bears it", listed(&ops)),
            "bus",
            "the declaration",
        ));
    }
    found
}

/// The interface without which a metric stays empty.
fn source(metric: &str, declared: &[String]) -> Option<&'static str> {
    if CONNECTIONS.contains(&metric) {
        return None;
    }
    if metric == "checks" || declared.iter().any(|name| name == metric) {
        return Some("metrics");
    }
    [("bus_", "bus"), ("db_", "database")]
        .into_iter()
        .find_map(|(prefix, name)| metric.starts_with(prefix).then_some(name))
}

fn unfilled(what: String, interface: &str, whose: &str) -> Diagnostic {
    Diagnostic::new(format!(
        "{what}: the component does not import `wavetank:workload/{interface}`"
    ))
    .help(format!("use `{interface}` in the component, or remove {whose}"))
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::World, *};

    fn found(imports: &[&str], options: serde_json::Value) -> Vec<String> {
        let imports: Vec<_> =
            imports.iter().map(|it| format!("wavetank:workload/{it}@0.1.0")).collect();
        let contract = Contract {
            world: World::Workload,
            version: "0.1.0".to_owned(),
            called: imports.clone(),
            imports,
        };
        let serde_json::Value::Object(options) = options else { panic!("no object") };
        findings(&contract, &Options(options)).into_iter().map(|it| it.message).collect()
    }

    #[test]
    fn what_is_imported_may_happen() {
        let options = json!({
            "ops": ["ask"], "metrics": {"mine": "trend"},
            "thresholds": {"bus_request_failed{op:ask}": "rate < 1", "mine": "mean < 1", "checks": "rate > 0"},
        });
        assert_eq!(found(&["types", "bus", "metrics"], options), [""; 0]);
        let always = json!({"thresholds": {"iteration_errors": "rate == 0", "bus_reconnects": "count == 0"}});
        assert_eq!(found(&["types"], always), [""; 0]);
    }

    #[test]
    fn what_nothing_can_fill_is_named_with_the_import_that_is_missing() {
        let options = json!({
            "ops": ["ask"], "metrics": {"mine": "trend"},
            "thresholds": {"db_query_duration{op:ask}": "p(95) < 1s", "mine": "mean < 1"},
        });
        let messages = found(&["types"], options);
        for (message, words) in messages.iter().zip([
            ["`db_query_duration{op:ask}`", "wavetank:workload/database"],
            ["`mine` has nothing to judge", "wavetank:workload/metrics"],
            ["`metrics` declares `mine`", "wavetank:workload/metrics"],
            ["`ops` declares `ask`", "wavetank:workload/bus"],
        ]) {
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
        assert_eq!(messages.len(), 4, "{messages:?}");
    }
}
