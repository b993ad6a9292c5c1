//! The contract with components is kept: the bytes that were built against its first version load,
//! describe themselves and run, whatever `sdk/wit` has become since.

use wavetank_tests::command::{Ran, Workplace, repository};

use crate::WAVETANK;

fn fixture() -> String {
    repository().join("tests/fixtures/workload-0.1.0.wasm").display().to_string()
}

fn run(warm_share: &str) -> Ran {
    let (file, share) = (fixture(), format!("warm_share={warm_share}"));
    let arguments = [&file, "-p", &share, "--vus", "2", "--iterations", "50"];
    let ran = Workplace::new(WAVETANK).run_workload(&arguments);
    let scenario = &ran.summary.as_ref().unwrap_or_else(|| panic!("{ran:#?}"))["scenarios"][0];
    let ended = (&scenario["name"], &scenario["completed"], &scenario["errors"]);
    assert_eq!(ended, (&"spike".into(), &50.into(), &0.into()), "{ran:#?}");
    ran
}

#[test]
fn the_first_component_still_says_what_it_is() {
    let ran = Workplace::new(WAVETANK).run(&["inspect", &fixture()]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let readme = std::fs::read_to_string(repository().join("tests/fixtures/README.md")).unwrap();
    let digest = readme.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    for word in [
        "name: spike",
        "version: 0.1.0",
        digest,
        "ramping-arrival-rate",
        "name pairs, default 200",
        "name warm_share, default 0.1",
        "bus_request_failed{stage:after}: rate < 0.01",
        "wavetank:workload/bus@0.1.0",
    ] {
        assert!(ran.stdout.contains(word), "no `{word}` in:\n{}", ran.stdout);
    }
    let ran = Workplace::new(WAVETANK).run(&["check", &fixture()]);
    assert_eq!(ran.code, 0, "{ran:#?}");
}

#[test]
fn the_first_component_still_runs() {
    // It draws, reads its parameters, publishes and checks.
    let published = run("0");
    assert_eq!(published.code, 0, "{published:#?}");
    assert_eq!(published.metric("bus_published", &[])["count"], 50.0);
    assert_eq!(published.metric("checks", &[])["rate"], 1.0);
    // Nobody answers: a failure of the system reaches it as data.
    let refused = run("1");
    assert_eq!(refused.code, 99, "{refused:#?}");
    assert_eq!(refused.metric("bus_request_failed", &[])["rate"], 1.0);
    assert_eq!(refused.metric("checks", &[])["rate"], 0.0);
}
