//! The README's workflow is run, job by job, as the platform runs it: its steps in their order, with their
//! conditions, variables and files. What is the platform's own (a checkout, artifacts, `gh`) is done here
//! with folders; everything else is what a reader would copy.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use wavetank_tests::{command::Workplace, nats::search_path};
use yaml_rust2::{Yaml, YamlLoader};

use crate::{
    WAVETANK,
    readme::{blocks, readme},
};

/// What the platform does when it is asked: it lists the last good run of the default branch, hands out its
/// artifact, and takes a comment.
const GH: &str = r#"#!/bin/sh
set -e
case "$*" in
  "run list --workflow performance --branch main --status success --limit 1 --json databaseId --jq .[].databaseId")
    if [ -d "$PLATFORM/main" ]; then echo 7; fi ;;
  "run download 7 --name runs --dir wavetank-runs")
    mkdir -p wavetank-runs; cp -r "$PLATFORM/main/runs/." wavetank-runs ;;
  "pr comment 12 --edit-last --create-if-none --body-file report.md")
    cp report.md "$PLATFORM/comment.md" ;;
  *) echo "nobody tests gh $*" >&2; exit 2 ;;
esac
"#;

/// The tool has been built already.
const CARGO: &str = r#"#!/bin/sh
set -e
[ "$*" = "build --release" ]
mkdir -p target/release
ln -s "$WAVETANK" target/release/wavetank
"#;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Push,
    PullRequest,
}

/// What is kept between jobs.
struct Platform {
    folder: Workplace,
    workflow: Yaml,
}

/// A job that has come to its end.
struct Job {
    checkout: Workplace,
    /// The steps that were run, by name, with their exit codes.
    steps: Vec<(String, i32)>,
    /// What they said.
    said: String,
}

impl Platform {
    fn new() -> Self {
        let folder = Workplace::new(WAVETANK);
        for (name, text) in [("bin/gh", GH), ("bin/cargo", CARGO)] {
            folder.file(name, text);
            let mut permissions = fs::metadata(folder.path().join(name)).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
            fs::set_permissions(folder.path().join(name), permissions).unwrap();
        }
        let text = blocks(&readme(), "yaml").pop().expect("a workflow");
        let workflow = YamlLoader::load_from_str(&text).expect("YAML").remove(0);
        assert_eq!(workflow["on"]["push"]["branches"][0].as_str(), Some("main"));
        Self { folder, workflow }
    }

    /// Runs the job on a checkout whose workload sleeps so long.
    fn run(&self, event: Event, number: u32, millis: u32) -> Job {
        let checkout = Workplace::new(WAVETANK);
        let suite = blocks(&readme(), "toml").remove(0);
        checkout.file("suite.toml", suite);
        checkout.file(
            "first.rhai",
            format!(
                "export const options = #{{ vus: 4, iterations: 200 }};\n\
                 fn iteration(ctx) {{ sleep(\"{millis}ms\"); }}\n"
            ),
        );
        let mut job = Job { checkout, steps: Vec::new(), said: String::new() };
        let gate = &self.workflow["jobs"]["gate"];
        for step in gate["steps"].as_vec().unwrap() {
            let good = job.steps.iter().all(|(_, code)| *code == 0);
            if due(step["if"].as_str(), event, good) {
                self.step(&mut job, gate, step, event, number);
            }
        }
        job
    }

    fn step(&self, job: &mut Job, gate: &Yaml, step: &Yaml, event: Event, number: u32) {
        let platform = self.folder.path();
        let here = job.checkout.path();
        match step["uses"].as_str() {
            // The checkout is there.
            Some("actions/checkout@v5") => return,
            Some("actions/upload-artifact@v4") => {
                let (name, path) = (&step["with"]["name"], &step["with"]["path"]);
                let good = job.steps.iter().all(|(_, code)| *code == 0);
                // Only the default branch's good runs are found again.
                let of = if event == Event::Push && good { "main" } else { "others" };
                let to = platform.join(of).join(name.as_str().unwrap());
                let _ = fs::remove_dir_all(&to);
                copy(&here.join(path.as_str().unwrap()), &to);
                return;
            }
            Some(other) => panic!("nobody tests `uses: {other}`"),
            None => {}
        }
        let script = filled(step["run"].as_str().unwrap(), number);
        let added = fs::read_to_string(here.join("paths")).unwrap_or_default();
        let bin = platform.join("bin").display().to_string();
        let mut path: Vec<&str> = added.lines().collect();
        let searched = search_path();
        path.extend([bin.as_str(), searched.to_str().unwrap()]);
        let mut command = Command::new("bash");
        command.args(["-e", "-c", &script]).current_dir(here).env_clear();
        command.env("PATH", path.join(":")).env("HOME", here);
        command.env("PLATFORM", platform).env("WAVETANK", WAVETANK);
        command.env("GITHUB_PATH", here.join("paths"));
        command.env("GITHUB_STEP_SUMMARY", here.join("job-summary.md"));
        for (name, value) in gate["env"].as_hash().unwrap() {
            command.env(name.as_str().unwrap(), filled(value.as_str().unwrap(), number));
        }
        let output = command.output().expect("bash runs");
        job.said += &String::from_utf8_lossy(&output.stdout);
        job.said += &String::from_utf8_lossy(&output.stderr);
        let name = step["name"].as_str().unwrap().to_owned();
        job.steps.push((name, output.status.code().unwrap_or(-1)));
    }
}

impl Job {
    fn code(&self, step: &str) -> Option<i32> {
        self.steps.iter().find(|(name, _)| name == step).map(|(_, code)| *code)
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.checkout.path().join(file))
            .unwrap_or_else(|error| panic!("{file}: {error}\n{}", self.said))
    }
}

/// Whether a step is run: without a condition, if all went well before.
fn due(condition: Option<&str>, event: Event, good: bool) -> bool {
    match condition {
        None => good,
        Some("always()") => true,
        Some("github.ref == 'refs/heads/main'") => good && event == Event::Push,
        Some("always() && github.event_name == 'pull_request'") => event == Event::PullRequest,
        Some(other) => panic!("nobody tests `if: {other}`"),
    }
}

/// A text with its expressions replaced.
fn filled(text: &str, number: u32) -> String {
    let number = number.to_string();
    let values = [
        ("${{ github.token }}", "a-token"),
        ("${{ github.run_id }}", &number),
        ("${{ github.run_attempt }}", "1"),
        ("${{ github.event.number }}", "12"),
    ];
    let filled =
        values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    assert!(!filled.contains("${{"), "nobody tests `{filled}`");
    filled
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).unwrap();
        }
    }
}

const RUN: &str = "Run the suite";
const KEEP: &str = "Keep the run as a baseline";
const COMMENT: &str = "Comment on the pull request";

#[test]
fn the_readme_s_workflow_gates_and_keeps_its_baseline() {
    let platform = Platform::new();
    let first = platform.run(Event::Push, 1, 20);
    assert_eq!(first.code(RUN), Some(0), "{}", first.said);
    assert_eq!((first.code(KEEP), first.code(COMMENT)), (Some(0), None), "{}", first.said);
    assert!(
        first.text("report.md").contains("there is no baseline"),
        "{}",
        first.text("report.md")
    );
    assert!(first.text("job-summary.md").contains("shop"), "{}", first.said);

    let same = platform.run(Event::PullRequest, 2, 20);
    assert_eq!((same.code(RUN), same.code(COMMENT)), (Some(0), Some(0)), "{}", same.said);
    assert_eq!(same.code(KEEP), None, "a pull request's run is nobody's baseline");
    assert!(!same.text("report.md").contains("there is no baseline"), "{}", same.said);
    let comment = fs::read_to_string(platform.folder.path().join("comment.md")).unwrap();
    assert_eq!(comment, same.text("report.md"));

    // Ten times as slow. How far beyond its limit, a runner that is late cannot say: then it is invalid.
    let slow = platform.run(Event::PullRequest, 3, 200);
    assert!(matches!(slow.code(RUN), Some(99 | 111)), "{}", slow.said);
    assert_eq!(slow.code(COMMENT), Some(0), "what became of it is told: {}", slow.said);
    let word = if slow.code(RUN) == Some(99) { "<failure" } else { "<error" };
    assert!(slow.text("report.xml").contains(word), "{}", slow.text("report.xml"));
    let record = platform.folder.path().join("others/runs/3-1/summary.json");
    assert!(record.exists(), "the record is uploaded: {}", slow.said);

    let again = platform.run(Event::Push, 4, 20);
    assert_eq!((again.code(RUN), again.code(KEEP)), (Some(0), Some(0)), "{}", again.said);
    let runs = platform.folder.path().join("main/runs");
    let mut kept: Vec<_> = fs::read_dir(&runs).unwrap().map(|it| it.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["1-1", "4-1"]);
    assert!(kept.iter().all(|it| runs.join(it).join("tags").exists()));
}
