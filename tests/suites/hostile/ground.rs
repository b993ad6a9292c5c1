//! The run that a bad one is put into, and what is looked at from outside while it goes on.

use std::{fs, process::Child, time::Duration};

use serde_json::Value;
use wavetank_tests::command::{Ran, Workplace};

use super::Case;
use crate::{WAVETANK, input::in_time};

/// Iterations that nine good ones have done in their second at the very least: a tenth of what an idle
/// machine does.
const DONE: u64 = 100;

/// Bytes that the host may have had at its most, with ten virtual users of whatever kind. A debug build
/// takes 40 MB by itself; a guest may have 64 MiB, a script's strings 16 MiB each.
const MOST_MEMORY: u64 = 1 << 30;

/// Descriptors that the host may have had at its most: its shards', its database's, its journal.
const MOST_DESCRIPTORS: usize = 200;

/// A run, and what was seen of its process.
#[derive(Debug)]
pub struct Seen {
    pub ran: Ran,
    /// Largest resident size, in bytes.
    pub memory: u64,
    /// Most open descriptors.
    pub descriptors: usize,
}

/// Runs a workload of a workplace, looking at its process until it ends.
pub fn watch(workplace: &Workplace, arguments: &[&str]) -> Seen {
    let mut all = vec!["run", "--summary-export", "summary.json", "--progress", "none"];
    all.extend(arguments);
    let (mut memory, mut descriptors) = (0, 0);
    let ran = in_time(|| {
        // Into files: a pipe that nobody empties would stop it.
        let file = |name: &str| fs::File::create(workplace.path().join(name)).unwrap();
        let mut command = workplace.command(&all);
        command.stdout(file("stdout")).stderr(file("stderr"));
        let mut child = command.spawn().unwrap();
        let code = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.code().unwrap_or(-1);
            }
            memory = memory.max(peak(&child).unwrap_or(0));
            descriptors = descriptors.max(open(&child).unwrap_or(0));
            pause(10);
        };
        let text = |name: &str| {
            String::from_utf8_lossy(&fs::read(workplace.path().join(name)).unwrap()).into_owned()
        };
        let summary = fs::read_to_string(workplace.path().join("summary.json")).ok();
        Ran {
            code,
            stdout: text("stdout"),
            stderr: text("stderr"),
            summary: summary.and_then(|text| serde_json::from_str(&text).ok()),
        }
    });
    assert!(!ran.stderr.contains("panicked at host"), "{ran:#?}");
    Seen { ran, memory, descriptors }
}

fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

fn open(child: &Child) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{}/fd", child.id())).ok()?.count())
}

#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

impl Seen {
    pub fn scenario(&self, name: &str) -> &Value {
        let summary = self.ran.summary.as_ref().unwrap_or_else(|| panic!("{self:#?}"));
        let scenarios = summary["scenarios"].as_array().unwrap();
        scenarios.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{self:#?}"))
    }

    /// Kinds and messages of a scenario's errors.
    pub fn errors(&self, scenario: &str) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let errors = self.ran.summary.as_ref().unwrap()["errors"].as_array().unwrap();
        let of = errors.iter().filter(|it| it["scenario"] == scenario);
        of.map(|it| (text(&it["kind"]), text(&it["message"]))).collect()
    }

    /// That the nine did their work, and all of it, and that the host kept within its bounds.
    pub fn assert_the_nine_go_on(&self, case: &str) {
        let good = self.scenario("good");
        let told = format!("{case}: {good:#}\n{}\n{}", self.ran.stdout, self.ran.stderr);
        assert_eq!(good["errors"], 0, "{told}");
        assert_eq!((&good["dropped"], &good["never_started"]), (&0.into(), &0.into()), "{told}");
        assert_eq!(good["interrupted"], 0, "{told}");
        assert_eq!(good["started"], good["completed"], "{told}");
        assert_eq!(good["vus_max"], 9, "{told}");
        assert!(good["completed"].as_u64().unwrap() >= DONE, "{told}");
        // What the nine found is what was there: no sample of theirs is missing or another's.
        let checks = self.ran.summary.as_ref().unwrap()["checks"].as_array().unwrap();
        let of = |name: &str, what: &str| {
            let check = checks.iter().find(|it| it["name"] == name);
            check.map_or(0, |it| it[what].as_u64().unwrap())
        };
        for name in ["answered", "stored"] {
            assert_eq!(of(name, "fails"), 0, "{told}");
            let (passes, done) = (of(name, "passes"), good["completed"].as_u64().unwrap());
            // Where the bad one's names took all the room for them, it is said that some are left out.
            assert!(passes == done || (passes < done && self.says_folded()), "{told}");
        }
        assert!(self.memory < MOST_MEMORY, "{case}: {} bytes of memory", self.memory);
        assert!(self.descriptors < MOST_DESCRIPTORS, "{case}: {} descriptors", self.descriptors);
    }

    fn says_folded(&self) -> bool {
        let remarks = self.ran.summary.as_ref().unwrap()["remarks"].as_array().unwrap();
        remarks
            .iter()
            .any(|it| it.as_str().unwrap().contains("figures by another tag leave them out"))
    }

    /// That the bad one ended as its case says, and the run with the code for that.
    pub fn assert_contained(&self, case: &Case) {
        self.assert_the_nine_go_on(case.name);
        let errors = self.errors("bad");
        let told = format!("{}: {errors:#?}\n{}", case.name, self.ran.stderr);
        let bad = self.scenario("bad");
        assert!(bad["started"].as_u64().unwrap() > 0, "{told}");
        if case.kind.is_empty() {
            assert_eq!((self.ran.code, errors.len()), (0, 0), "{told}");
            return;
        }
        let fits =
            |(kind, message): &(String, String)| kind == case.kind && message.contains(case.says);
        assert!(errors.iter().any(fits), "{told}");
        assert!(bad["errors"].as_u64().unwrap() > 0, "{told}");
        // The default threshold on errors: thresholds failed.
        assert_eq!(self.ran.code, 99, "{told}");
    }
}

/// An empty folder to run in.
pub fn workplace() -> Workplace {
    Workplace::new(WAVETANK)
}
