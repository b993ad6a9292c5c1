//! R12: PM commands with arguments of all kinds; each is found in `user_actions` with its details. Its
//! twin is `scripts/rosey/r12-pm-commands.rhai`: the same operations for the same seed.
//!
//! Draws of an iteration, in order: `integer(0, 8)` (what kind of arguments); `integer(0, 2)` (its result).

use std::time::Duration;

use wavetank_sdk::{
    Context, Description, Iteration, Result, Workload,
    bus::{self, Probe},
    check,
    database::Value,
    json, random,
};

struct PmCommands;

impl Workload for PmCommands {
    fn describe() -> Description {
        Description::new("pm-commands", env!("CARGO_PKG_VERSION")).options(json!({
            "scenarios": {
                "commands": { "executor": "shared-iterations", "vus": 1, "iterations": 200 },
            },
            "ops": ["pm_command"],
            "thresholds": {
                "effect_duration{op:pm_command}": "p(95) < 10ms",
                "effect_failed": "rate == 0",
            },
        }))
    }

    fn init(_: &Context) -> Result<Self> {
        Ok(Self)
    }

    fn iterate(&mut self, iteration: &Iteration) -> Result {
        let args = arguments(random::integer(0, 8), iteration.number);
        let (result, error) = match random::integer(0, 2) {
            0 => ("success", ""),
            1 => ("error", "no such \"item\""),
            _ => ("pending", ""),
        };
        let mut details = vec!["cmd=add".to_owned()];
        for (name, part) in [("args", args.as_str()), ("result", result), ("error", error)] {
            if !part.is_empty() {
                details.push(format!("{name}: {part}"));
            }
        }
        // The number in the name makes a command without arguments one of its own, too.
        let name = format!("pm-{}", iteration.number);
        let command = json!({
            "timestamp": "2026-01-02T03:04:05Z", "username": name, "command": "add",
            "args": args, "result": result, "error": error,
        });
        let sql = "SELECT count(*) FROM user_actions \
                   WHERE username = ? AND action_type = 'pm_command' AND details = ?";
        let values = vec![Value::Text(name), Value::Text(details.join(", "))];
        let seen = bus::to("rosey.db.action.pm_command")
            .op("pm_command")
            .timeout(Duration::from_secs(2))
            .json(&command)?
            .effect(Probe::query(sql, values))?;
        check("found with its details", seen.is_ok())?;
        Ok(())
    }
}

fn arguments(kind: i64, number: u64) -> String {
    match kind {
        0 => format!("plain {number}"),
        1 => format!("it's \"quoted\" `twice` {number}"),
        2 => format!("'); DROP TABLE user_actions; -- {number}"),
        3 => format!("1 OR 1=1 /* {number} */"),
        4 => format!("日本語 ελληνικά ñandú 🦀 {number}"),
        5 => format!("%_\\\\ $1 ? :name @x {number}"),
        6 => format!("{{\"json\": [{number}, null]}}"),
        7 => format!("{} {number}", "0123456789abcdef".repeat(128)),
        _ => String::new(),
    }
}

wavetank_sdk::workload!(PmCommands);
