//! Runs against runs, as a user compares them: real runs, whose times are known because they sleep.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use wavetank_tests::command::{Ran, Workplace};

use crate::WAVETANK;

/// Every iteration sleeps so long: whatever the machine does, its duration is no less. The threshold is
/// on what it says of itself, which no runner that is late makes invalid.
fn sleeper(millis: u32, threshold: &str) -> String {
    format!(
        "export const options = #{{ vus: 4, iterations: 40, metrics: #{{ nap: \"trend\" }},\n\
         thresholds: #{{ nap: \"{threshold}\", iteration_duration: \"p(50) < 10s\" }} }};\n\
         fn iteration(ctx) {{ sleep(\"{millis}ms\"); metric::add(\"nap\", {millis}); }}\n"
    )
}

const LOOSE: &str = "p(50) < 1000";

/// A workplace with a run of 10 ms in `wavetank-runs/first`.
fn with_first() -> Workplace {
    let workplace = Workplace::new(WAVETANK);
    workplace.file("shop.rhai", sleeper(10, LOOSE));
    let ran = workplace.run_workload(&["shop.rhai", "--out", "wavetank-runs/first"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    workplace
}

/// Changes a summary that a run wrote, as another machine or another fate would have.
fn change(path: &Path, change: impl Fn(&mut Value)) {
    let mut summary: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(&mut summary);
    fs::write(path, summary.to_string()).unwrap();
}

#[test]
fn ab_finds_what_is_slower_and_compare_reads_its_runs() {
    let workplace = Workplace::new(WAVETANK);
    let quick = workplace.file("quick.rhai", sleeper(5, LOOSE));
    let slow = workplace.file("slow.rhai", sleeper(25, LOOSE));
    let figure = ["--metric", "iteration_duration.p(50)"];
    let flags = ["--pairs", "6", "--out", "out", "--seed", "7"];
    let ran = workplace.run(&[&["ab", &quick, &slow], &flags[..], &figure].concat());
    let words = ["1 of 12: base", "12 of 12: base", "p50 of iteration_duration +", "in pairs"];
    ran.assert_says(112, &words);
    // ABBA: base first, then twice the new one.
    let order: Vec<_> = ran
        .stderr
        .lines()
        .filter_map(|line| line.split_once(" of 12: ")?.1.split(' ').next())
        .collect();
    assert_eq!(order[..4], ["base", "new", "new", "base"], "{ran:#?}");
    let summary = |folder: &str| -> Value {
        let path = workplace.path().join("out").join(folder).join("summary.json");
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let seeds = [summary("001-base"), summary("001-new"), summary("002-new")];
    assert_eq!(seeds.map(|it| it["run"]["seed"].as_u64().unwrap()), [7, 7, 8]);
    let found = fs::read_to_string(workplace.path().join("out/comparison.json")).unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["findings"][0]["outcome"], "regression", "{found:#}");
    assert!(found["findings"][0]["change"].as_f64().unwrap() > 0.5, "{found:#}");

    let side = |name: &str, count: u32| -> Vec<String> {
        (1..=count).map(|pair| format!("out/{pair:03}-{name}")).collect()
    };
    let compare = |base: Vec<String>, new: Vec<String>, more: &[&str]| {
        let mut words = vec!["compare".to_owned()];
        words.extend(base);
        words.push("--with".to_owned());
        words.extend(new);
        words.extend(more.iter().chain(&figure).map(|word| (*word).to_owned()));
        workplace.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (base, new) = (side("base", 6), side("new", 6));
    let worse = ["worse, beyond the tolerance of 10 %", "different files"];
    compare(base.clone(), new.clone(), &[]).assert_says(112, &worse);
    compare(new.clone(), base.clone(), &[]).assert_says(0, &["better", "no regression"]);
    let within = compare(base.clone(), new.clone(), &["--tolerance", "1000%"]);
    within.assert_says(0, &["worse, within the tolerance"]);
    let one = compare(side("base", 1), side("new", 1), &[]);
    one.assert_says(0, &["looks worse, in too few runs", "one run against one"]);
    let few = compare(side("base", 3), side("new", 3), &[]);
    few.assert_says(117, &["INCONCLUSIVE", "more runs of each side would tell"]);
    let page = compare(base.clone(), new.clone(), &["--format", "markdown"]);
    page.assert_says(112, &["| metric | base |", "**REGRESSION · exit code 112**"]);
    let json = compare(base, new, &["--format", "json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["schema"], "wavetank.comparison/1");
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_next_step() {
    let workplace = with_first();
    let compare = |words: &[&str]| workplace.run(&[&["compare"], words].concat());
    let nothing = compare(&["nothing", "--with", "first"]);
    nothing.assert_says(104, &["there is no run `nothing`", "latest:TAG"]);
    workplace.file("broken.json", "{");
    let broken = compare(&["first", "--with", "broken.json"]);
    broken.assert_says(104, &["`broken.json` is no summary of a run"]);
    fs::create_dir(workplace.path().join("wavetank-runs/cut")).unwrap();
    compare(&["first", "--with", "cut"]).assert_says(104, &["has no summary.json"]);
    let metric = compare(&["first", "--with", "first", "--metric", "iteration_duraton.p(50)"]);
    metric.assert_says(104, &["did you mean `iteration_duration`?"]);
    let metric = compare(&["first", "--with", "first", "--metric", "iterations.p(500)"]);
    metric.assert_says(104, &["between 0 and 100"]);
    compare(&["first", "--with", "first", "--tolerance", "0"])
        .assert_says(104, &["`0` is no part above 0"]);
    compare(&["first"]).assert_says(104, &["--with"]);

    let file = workplace.path().join("wavetank-runs/first/summary.json");
    workplace.file("other.json", fs::read(&file).unwrap());
    let other = workplace.path().join("other.json");
    change(&other, |summary| summary["environment"]["cpu"] = "another".into());
    let refused = compare(&["first", "--with", "other.json"]);
    refused.assert_says(104, &["different machines", "--allow other-machine"]);
    let marked = compare(&["first", "--with", "other.json", "--allow", "other-machine"]);
    marked.assert_says(0, &["differences may be the machines'"]);
    change(&other, |summary| summary["verdict"]["status"] = "invalid".into());
    let invalid = compare(&["first", "--with", "other.json"]);
    invalid.assert_says(117, &["is invalid", "compared with nothing"]);
}

#[test]
fn thresholds_compare_with_the_baseline_that_was_named() {
    let workplace = with_first();
    let run = |millis, threshold: &str, flags: &[&str]| {
        let file = workplace.file("shop.rhai", sleeper(millis, threshold));
        workplace.run_workload(&[&[file.as_str()], flags].concat())
    };
    let half_more = "p(50) < 1.5 * baseline";
    let without = run(10, half_more, &[]);
    without.assert_says(104, &["has no baseline", "--baseline RUN|FILE|latest:TAG"]);
    let checked = workplace.run(&["check", "shop.rhai"]);
    assert_eq!(checked.code, 0, "{checked:#?}");
    let slow = run(60, half_more, &["--baseline", "first"]);
    slow.assert_says(99, &["baseline", "p50 of iteration_duration +"]);
    let summary = slow.summary.as_ref().unwrap();
    let first = fs::read_to_string(workplace.path().join("wavetank-runs/first/summary.json"));
    let first: Value = serde_json::from_str(&first.unwrap()).unwrap();
    let median = first["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "nap" && it["tags"].as_object().unwrap().is_empty())
        .map(|it| it["values"]["p(50)"].as_f64().unwrap());
    assert_eq!(median, Some(10.0));
    let mut thresholds = summary["thresholds"].as_array().unwrap().iter();
    let judged = thresholds.find(|it| it["metric"] == "nap").unwrap();
    assert_eq!(judged["limit"].as_f64(), Some(15.0), "{judged:#}");
    // One run against one is a warning, and no more.
    let warned = run(60, LOOSE, &["--baseline", "wavetank-runs/first/summary.json"]);
    warned.assert_says(0, &["worse than the baseline: iteration_duration.p(50)"]);
    assert_eq!(warned.summary.as_ref().unwrap()["verdict"]["status"], "warn");
    // A figure that the baseline does not have is told and decides nothing, where that is allowed.
    let excused = ["--baseline", "first", "--allow", "no-baseline"];
    let checking = sleeper(10, LOOSE)
        .replace("thresholds: #{ ", "thresholds: #{ checks: \"rate >= baseline\", ")
        .replace("{ sleep", "{ check(\"new\", true); sleep");
    let figure = workplace.file("shop.rhai", checking);
    let refused = workplace.run_workload(&[&figure, "--baseline", "first"]);
    refused.assert_says(117, &["there is no baseline that has samples of it"]);
    let told = workplace.run_workload(&[&[figure.as_str()], &excused[..]].concat());
    told.assert_says(0, &["there is no baseline that has samples of it"]);
    let nothing = ["--baseline", "latest:none", "--allow", "no-baseline"];
    run(10, half_more, &nothing)
        .assert_says(0, &["not compared with the baseline: there is none yet"]);
    let wide = ["--baseline", "first", "--tolerance", "1000%"];
    let within = run(60, LOOSE, &wide);
    assert_eq!(within.summary.as_ref().unwrap()["verdict"]["status"], "pass", "{within:#?}");
    let never = run(10, "p(50) < 100 * baseline", &["--baseline", "first"]);
    assert_eq!(never.code, 0, "{never:#?}");
    let other = run(10, LOOSE, &["--baseline", "nothing"]);
    other.assert_says(104, &["there is no run `nothing`"]);

    let first = workplace.path().join("wavetank-runs/first/summary.json");
    change(&first, |summary| summary["environment"]["cores"] = 4_096.into());
    let machine = run(10, half_more, &["--baseline", "first"]);
    machine.assert_says(104, &["is of another machine", "--allow other-machine"]);
    let allow = ["--baseline", "first", "--allow", "other-machine"];
    run(10, LOOSE, &allow).assert_says(0, &["differences may be the machines'"]);
    change(&first, |summary| summary["verdict"]["status"] = "invalid".into());
    let invalid = run(10, half_more, &["--baseline", "first"]);
    invalid.assert_says(104, &["is invalid", "compared with nothing"]);
}

/// The record of a run says how it stood against its baseline, also when that is long gone.
fn told_again_without_its_baseline(workplace: &Workplace, ran: &Ran) {
    let history = workplace.path().join("wavetank-runs");
    fs::rename(&history, workplace.path().join("elsewhere")).unwrap();
    let again = workplace.run(&["report", "new", "--format", "json"]);
    fs::rename(workplace.path().join("elsewhere"), &history).unwrap();
    assert_eq!(again.code, 0, "{again:#?}");
    let written = fs::read_to_string(workplace.path().join("new/summary.json")).unwrap();
    let [again, written]: [Value; 2] =
        [&again.stdout, &written].map(|text| serde_json::from_str(text).unwrap());
    for part in ["baseline", "verdict", "remarks"] {
        assert_eq!(again[part], written[part], "{part}");
    }
    assert_eq!(again, written);
    assert_eq!(Some(&written), ran.summary.as_ref());
}

#[test]
fn the_newest_run_of_a_tag_is_a_baseline_and_five_of_them_predict() {
    let workplace = with_first();
    let none = ["shop.rhai", "--baseline", "latest:main"];
    let ran = workplace.run_workload(&none);
    ran.assert_says(104, &["no run of `shop` under `wavetank-runs`", "the tag `main`"]);
    // Copies of one run, as if they had been made one after the other, each a little slower.
    let first = workplace.path().join("wavetank-runs/first/summary.json");
    for copy in 0..6_u32 {
        let folder = workplace.path().join(format!("wavetank-runs/run{copy}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tags"), "nightly\nmain\n").unwrap();
        let file = folder.join("summary.json");
        fs::copy(&first, &file).unwrap();
        change(&file, |summary| {
            summary["run"]["id"] = format!("run{copy}").into();
            summary["run"]["started"] = format!("2026-11-0{}T10:00:00Z", copy + 1).into();
        });
    }
    // The newest was invalid, and is nobody's baseline.
    change(&workplace.path().join("wavetank-runs/run5/summary.json"), |summary| {
        summary["verdict"]["status"] = "invalid".into();
    });
    workplace.file("shop.rhai", sleeper(60, LOOSE));
    let ran = workplace.run_workload(&["shop.rhai", "--baseline", "latest:main", "--out", "new"]);
    ran.assert_says(112, &["regression against the baseline: iteration_duration.p(50)"]);
    let found = &ran.summary.as_ref().unwrap()["baseline"];
    assert_eq!(found["base"].as_array().unwrap().len(), 5, "{found:#}");
    assert_eq!(found["findings"][0]["method"], "prediction");
    told_again_without_its_baseline(&workplace, &ran);
    let ran = workplace.run(&["compare", "latest:main", "--with", "first"]);
    ran.assert_says(0, &["against run4"]);
}

#[test]
fn ab_ends_where_a_run_does() {
    let workplace = Workplace::new(WAVETANK);
    let fine = workplace.file("fine.rhai", sleeper(1, LOOSE));
    let broken = workplace.file("broken.rhai", "fn iteration(ctx) {");
    let ran = workplace.run(&["ab", &fine, &broken, "--out", "out"]);
    ran.assert_says(104, &["a run of new did not come to its end (exit code 104)"]);
    let ran = workplace.run(&["ab", &fine, "nothing.rhai"]);
    ran.assert_says(104, &["there is no file `nothing.rhai`"]);
    let ran = workplace.run(&["ab", &fine, &fine, "--new-binary", "nothing"]);
    ran.assert_says(104, &["there is no file `nothing`"]);
    let ran = workplace.run(&["ab", &fine, &fine, "--pairs", "1", "--", "--iterations", "0"]);
    ran.assert_says(104, &["a run of base did not come to its end"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the tests' own clock")]
fn what_ab_runs_does_not_outlive_it() {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("long.rhai", sleeper(60_000, LOOSE));
    let mut ab = workplace.start(&["ab", &file, &file, "--out", "out"]);
    let here = workplace.path().canonicalize().unwrap();
    let runs = || -> Vec<String> {
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|it| it.path());
        let here =
            processes.filter(|it| fs::read_link(it.join("cwd")).is_ok_and(|cwd| cwd == here));
        here.filter_map(|it| fs::read_to_string(it.join("cmdline")).ok())
            .filter(|words| words.contains("001-base"))
            .collect()
    };
    let wait_for = |count: usize| {
        let begun = Instant::now();
        while runs().len() != count {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}, and not {count}", runs());
            thread::sleep(Duration::from_millis(50));
        }
    };
    wait_for(1);
    ab.kill().unwrap();
    ab.wait().unwrap();
    wait_for(0);
}

#[test]
fn ab_compares_targets_and_binaries() {
    let workplace = Workplace::new(WAVETANK);
    let shop = workplace.file("shop.rhai", sleeper(1, LOOSE));
    let same = ["ab", &shop, &shop, "--pairs", "2", "--out", "out", "--new-binary", WAVETANK];
    let targets = ["--base-target", "db=sleep 60", "--new-target", "db=sleep 61"];
    let flags = ["--", "--iterations", "8", "--tag", "team=red"];
    let ran = workplace.run(&[&same[..], &targets, &flags].concat());
    ran.assert_says(117, &["2 pairs have no interval of 95 %", "INCONCLUSIVE"]);
    for (folder, command) in [("001-base", "sleep 60"), ("002-new", "sleep 61")] {
        let path = workplace.path().join("out").join(folder).join("summary.json");
        let summary: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(summary["targets"][0]["source"], command, "{folder}");
        assert_eq!(summary["scenarios"][0]["completed"], 8, "{folder}");
    }
}

#[test]
fn the_history_shows_where_a_figure_changed() {
    let workplace = with_first();
    let none = workplace.run(&["runs", "trend", "iteration_duraton.p(50)"]);
    none.assert_says(104, &["did you mean `iteration_duration`?"]);
    // Twelve copies of one real run, then twelve of one that takes six times as long.
    workplace.file("shop.rhai", sleeper(60, LOOSE));
    let ran = workplace.run_workload(&["shop.rhai", "--out", "slow"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    for copy in 0..24_u32 {
        let from = if copy < 12 { "wavetank-runs/first" } else { "slow" };
        let folder = workplace.path().join(format!("wavetank-runs/run{copy:02}"));
        fs::create_dir(&folder).unwrap();
        if copy % 2 == 0 {
            fs::write(folder.join("tags"), "even\n").unwrap();
        }
        let file = folder.join("summary.json");
        fs::copy(workplace.path().join(from).join("summary.json"), &file).unwrap();
        change(&file, |summary| {
            summary["run"]["id"] = format!("run{copy:02}").into();
            summary["run"]["started"] = format!("2026-11-{:02}T10:00:00Z", copy + 1).into();
            // What is no run of the system is no point of its history.
            if copy == 3 {
                summary["verdict"]["status"] = "invalid".into();
            }
        });
    }
    fs::remove_dir_all(workplace.path().join("wavetank-runs/first")).unwrap();
    fs::create_dir(workplace.path().join("wavetank-runs/cut")).unwrap();
    let ran = workplace.run(&["runs", "trend", "iteration_duration.p(50)"]);
    let words = ["23 runs", "2026-11-13", "from run12, worse: +", "1 runs that are invalid"];
    ran.assert_says(0, &words);
    let json = workplace.run(&["runs", "trend", "iteration_duration", "--format", "json"]);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["metric"], "iteration_duration.p(99)");
    assert_eq!(json["changes"].as_array().unwrap().len(), 1, "{json:#}");
    let even = ["runs", "trend", "iteration_duration.p(50)", "--tag", "even"];
    workplace.run(&even).assert_says(0, &["12 runs", "from run12"]);
    let nobody = ["runs", "trend", "iteration_duration.p(50)", "--name", "nobody"];
    workplace.run(&nobody).assert_says(117, &["there is no run to look at"]);
}
