//! `--report`: the files of a real run, and its page in a real browser.
//!
//! Chromium opens the page as a reader would, without a network, wide and narrow, light and dark. The page
//! says of itself how many charts it drew and what went wrong; a screenshot says whether anything is seen.

use std::{
    collections::HashSet,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use wavetank_tests::command::{Workplace, repository};

use crate::{WAVETANK, input::in_time};

const SCRIPT: &str = r#"
export const options = #{
    scenarios: #{
        steps: #{
            executor: "ramping-arrival-rate", start_rate: 20,
            stages: [#{ duration: "1s", target: 60, name: "up" }, #{ duration: "2s", target: 20, name: "down" }],
        },
    },
    services: #{ "shop.price": "answer" },
    ops: ["price", "late"],
    thresholds: #{
        "bus_request_duration{op:price}": ["p(95) < 5s", "mean < 5s"],
        "checks": ["rate > 0.9"],
        "iteration_response_time": [#{ threshold: "p(50) < 1ns", severity: "info" }],
        "iteration_errors": ["rate < 0.5"],
    },
};
fn iteration(ctx) {
    let op = if ctx.iteration % 3 == 0 { "late" } else { "price" };
    let reply = bus::request("shop.price", "<b>|`x`", #{ op: op, timeout: "2s" });
    check("</script><script>alert('found')</script>", reply.ok);
    if ctx.iteration % 10 == 9 { fail("=no <such> item|"); }
}
fn answer(message) { "12" }
"#;

/// Runs the script with reports; where they are.
fn told() -> Workplace {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("shop.rhai", SCRIPT);
    let reports = [
        "html=page.html",
        "markdown=report.md",
        "csv=report.csv",
        "junit=report.xml",
        "github=summary.md",
        "json=report.json",
        "terminal=report.txt",
    ];
    let mut arguments = vec![file.as_str(), "--out", "run"];
    for report in &reports {
        arguments.extend(["--report", report]);
    }
    let ran = in_time(|| workplace.run_workload(&arguments));
    // On a busy machine the runner may have been the limit; what is looked at here is there all the same.
    assert!(matches!(ran.code, 0 | 99 | 111 | 117), "{ran:#?}");
    assert!(ran.stdout.lines().any(|line| line.starts_with("::")), "no annotation: {ran:#?}");
    workplace
}

fn read(workplace: &Workplace, name: &str) -> String {
    std::fs::read_to_string(workplace.path().join(name)).expect(name)
}

#[test]
fn every_format_is_written_and_says_the_same() {
    let workplace = told();
    let summary: serde_json::Value =
        serde_json::from_str(&read(&workplace, "summary.json")).unwrap();
    assert_eq!(read(&workplace, "report.json"), read(&workplace, "summary.json"));
    let completed = summary["scenarios"][0]["completed"].as_u64().unwrap();
    assert!(completed > 50, "{completed}");
    // Each iteration is in one interval, and in the second in which it ended.
    let table = read(&workplace, "report.csv");
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let heads = reader.headers().unwrap().clone();
    let column = |name: &str| heads.iter().position(|head| head == name).unwrap();
    let mut sums: Vec<(f64, f64)> = Vec::new();
    for record in reader.records().map(Result::unwrap) {
        if &record[column("metric")] == "iterations" {
            sums.push((
                record[column("from_s")].parse().unwrap(),
                record[column("sum")].parse().unwrap(),
            ));
        }
    }
    let counted: f64 = sums.iter().map(|(_, sum)| sum).sum();
    assert_eq!(counted, completed as f64, "{sums:?}");
    assert!(sums.len() >= 3, "{sums:?}");
    assert!(read(&workplace, "report.md").contains("## Executive summary"));
    assert!(read(&workplace, "report.txt").contains("exit code"));
    assert!(read(&workplace, "summary.md").lines().count() <= 60);
    let left: Vec<_> = std::fs::read_dir(workplace.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_run_is_printed_again_in_any_format() {
    let workplace = told();
    let report = |flags: &[&str]| workplace.run(&[&["report", "run"], flags].concat());
    let brief = report(&["--format", "markdown", "--brief", "--report", "github=again.md"]);
    assert_eq!(brief.code, 0, "{brief:#?}");
    assert!(brief.stdout.lines().count() < read(&workplace, "report.md").lines().count());
    assert_eq!(read(&workplace, "again.md"), read(&workplace, "summary.md"));
    let page = report(&["--report", "html=again.html"]);
    assert_eq!(
        (page.code, page.stdout.as_str()),
        (0, ""),
        "files were asked for, and nothing else"
    );
    assert_eq!(read(&workplace, "again.html"), read(&workplace, "page.html"));
    let annotations = report(&["--format", "github"]);
    assert!(annotations.stdout.lines().all(|line| line.starts_with("::")), "{annotations:#?}");
    let refused = report(&["--brief"]);
    assert_eq!(refused.code, 104, "what is it that is to be brief? {refused:#?}");
    assert_eq!(report(&["--report", "html=nowhere/page.html"]).code, 118);
    let unknown = report(&["--format", "pdf"]);
    assert!(unknown.code == 104 && unknown.stderr.contains("html, markdown"), "{unknown:#?}");
}

#[test]
fn junit_is_valid() {
    let workplace = told();
    let schema = repository().join("tests/fixtures/junit.xsd");
    let lint = |file: &str| {
        let mut command = Command::new("xmllint");
        command
            .args(["--nonet", "--noout", "--schema"])
            .arg(&schema)
            .arg(workplace.path().join(file));
        command.output().expect("xmllint (libxml2-utils; `tests/run` installs it)")
    };
    let output = lint("report.xml");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The schema is one that can say no.
    workplace.file("bad.xml", read(&workplace, "report.xml").replacen("classname=", "class=", 1));
    assert!(!lint("bad.xml").status.success());
}

/// What a workflow of GitHub would obey of a log: what stands outside of a fence.
fn obeyed(log: &str) -> Vec<&str> {
    let mut fence = None;
    let mut obeyed = Vec::new();
    for line in log.lines() {
        let begins = line.trim_start().starts_with("::");
        match (fence, line.strip_prefix("::stop-commands::")) {
            (None, Some(token)) => fence = Some(token),
            (None, None) if begins || line.contains("##[") => obeyed.push(line),
            (Some(token), _) if line == format!("::{token}::") => fence = None,
            _ => {}
        }
    }
    assert_eq!(fence, None, "the fence is left standing:\n{log}");
    obeyed
}

#[test]
fn a_workflow_obeys_no_line_of_a_workload() {
    let workplace = Workplace::new(WAVETANK);
    let script = r#"
        export const options = #{ vus: 1, iterations: 2 };
        fn iteration(ctx) {
            print("::error::of a log");
            check("::warning::of a check", false);
            fail("::set-output name=a::of a message ##[add-path]/tmp");
        }
    "#;
    let file = workplace.file("loud.rhai", script);
    let ran = in_time(|| workplace.run(&["run", &file, "--report", "github=summary.md"]));
    assert!(matches!(ran.code, 99 | 111), "{ran:#?}");
    assert!(ran.stdout.starts_with("::stop-commands::wavetank-"), "{ran:#?}");
    let said = |words: &str| ran.stdout.lines().any(|line| line.trim_start().starts_with(words));
    assert!(said("::set-output name=a"), "the page shows what it said: {ran:#?}");
    let obeyed_lines = obeyed(&ran.stdout);
    assert!(!obeyed_lines.is_empty(), "{ran:#?}");
    for line in obeyed_lines {
        assert!(
            line.starts_with("::error title=") || line.starts_with("::warning title="),
            "{line}"
        );
    }
    // An error's message is one of the last things that are said, and behind the fence too.
    let broken = workplace.file("broken.rhai", "fn iteration(ctx) {");
    let ran = workplace.run(&["run", &broken, "--report", "github=summary.md"]);
    assert_eq!(ran.code, 104, "{ran:#?}");
    assert!(ran.stdout.starts_with("::stop-commands::wavetank-"), "{ran:#?}");
    assert_eq!(obeyed(&ran.stdout), Vec::<&str>::new());
    let without = workplace.run(&["run", &broken]);
    assert_eq!(without.stdout, "", "{without:#?}");
}

#[test]
fn a_report_without_a_place_is_refused_before_anything_runs() {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("shop.rhai", SCRIPT);
    let ran = workplace.run(&["run", &file, "--report", "html=nowhere/page.html"]);
    assert_eq!(ran.code, 118, "{ran:#?}");
    assert!(
        ran.stderr.contains("nowhere/page.html") && ran.stderr.contains("a folder that exists"),
        "{ran:#?}"
    );
    assert!(!workplace.path().join("wavetank-runs").exists(), "it ran");
    for bad in ["html", "html=", "pdf=x.pdf"] {
        let ran = workplace.run(&["run", &file, "--report", bad]);
        assert_eq!(ran.code, 104, "{bad}: {ran:#?}");
        assert!(ran.stderr.contains("html, markdown, csv"), "{bad}: {ran:#?}");
    }
    // A name that is taken by a folder is no place either.
    std::fs::create_dir(workplace.path().join("taken")).unwrap();
    let ran = workplace.run(&["run", &file, "--report", "csv=taken"]);
    assert_eq!(ran.code, 118, "{ran:#?}");
}

/// Opens a page; what became of it, and what the browser complained of.
fn browse(workplace: &Workplace, flags: &[&str], page: &str) -> (String, String) {
    let mut command = Command::new("chromium");
    command
        .args([
            "--headless",
            "--disable-gpu",
            "--no-sandbox",
            "--hide-scrollbars",
            "--no-first-run",
        ])
        .args([
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=5000",
            "--enable-logging=stderr",
        ])
        .arg(format!("--user-data-dir={}", workplace.path().join("profile").display()))
        .args(flags)
        .arg(format!("file://{}", workplace.path().join(page).display()))
        .env("HOME", workplace.path())
        .stdin(Stdio::null());
    let output = command.output().expect("chromium (`tests/run` installs it)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A page whose address says how it is to look.
fn themed(workplace: &Workplace, theme: &str) -> String {
    let name = format!("{theme}.html");
    let page = read(workplace, "page.html");
    workplace.file(
        &name,
        page.replacen(
            "<html lang=\"en\">",
            &format!("<html lang=\"en\" data-theme=\"{theme}\">"),
            1,
        ),
    );
    name
}

#[test]
fn the_page_works_in_a_browser() {
    let workplace = told();
    let (document, complaints) =
        browse(&workplace, &["--dump-dom", "--window-size=1280,900"], "page.html");
    let root = document.split("<head>").next().unwrap_or_default();
    assert!(root.contains("data-ready=\"true\""), "{root}\n{complaints}");
    assert!(!root.contains("data-faults"), "{root}\n{complaints}");
    for complaint in ["CONSOLE", "Uncaught", "Refused to", "ERR_"] {
        assert!(!complaints.contains(complaint), "{complaints}");
    }
    let charts: usize =
        root.split("data-charts=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    let places = document.matches("class=\"plot\"").count();
    assert!(charts >= 7 && charts == places, "{charts} of {places}");
    assert_eq!(document.matches("class=\"uplot").count(), charts, "each place has its chart");
    for id in [
        "verdict",
        "thresholds",
        "c0-load",
        "c0-vus",
        "c0-latency",
        "c0-heat",
        "c0-curve",
        "c0-errors",
        "c0-cpu",
        "operations",
        "checks",
        "errors",
        "source",
        "raw",
        "save",
        "theme",
    ] {
        assert!(document.contains(&format!("id=\"{id}\"")), "no {id}");
    }
    // What the workload said is text: the browser made no element of it.
    assert!(document.contains("alert('found')"), "the check's name is shown");
    assert_eq!(document.matches("<script").count(), 4);
    assert_eq!(document.matches("<such>").count() + document.matches("<b>|").count(), 0);
}

/// Nothing of it depends on how quick the machine is, and no runner that is late makes it invalid.
const NAP: &str = r#"
export const options = #{ vus: 2, iterations: 40, thresholds: #{ iteration_duration: "p(50) < 10s" } };
fn iteration(ctx) { sleep("10ms"); }
"#;

#[test]
fn a_baseline_lies_under_the_times_of_the_page() {
    let workplace = Workplace::new(WAVETANK);
    let file = workplace.file("nap.rhai", NAP);
    let first = in_time(|| workplace.run_workload(&[&file, "--out", "first"]));
    assert_eq!(first.code, 0, "{first:#?}");
    let reports = ["--report", "html=page.html", "--report", "markdown=report.md"];
    let flags = [file.as_str(), "--out", "again", "--baseline", "first"];
    let again = in_time(|| workplace.run_workload(&[&flags[..], &reports].concat()));
    assert!(matches!(again.code, 0 | 99), "{again:#?}");
    let report = read(&workplace, "report.md");
    assert!(report.contains("| metric | baseline | this run | change | outcome |"), "{report}");
    let kept = &again.summary.as_ref().unwrap()["baseline"]["base_times"];
    let name = |it: &serde_json::Value| it["metric"] == "iteration_duration";
    let time = kept.as_array().unwrap().iter().find(|it| name(it)).unwrap();
    let median = first.metric("iteration_duration", &[])["p(50)"].as_f64();
    assert!(median.is_some_and(|median| median >= 1e7), "{median:?}");
    assert_eq!(time["p50"].as_f64(), median, "the baseline's own figure: {kept:#}");
    let (document, complaints) = browse(&workplace, &["--dump-dom"], "page.html");
    let root = document.split("<head>").next().unwrap_or_default();
    assert!(root.contains("data-ready=\"true\""), "{root}\n{complaints}");
    assert!(!root.contains("data-faults"), "{root}\n{complaints}");
    for words in ["id=\"baseline\"", ">baseline p50<", ">baseline p99<", ">baseline at most<"] {
        assert!(document.contains(words), "no `{words}`");
    }
}

#[test]
fn the_page_can_be_seen_light_and_dark_wide_and_narrow() {
    let workplace = told();
    let mut middles = Vec::new();
    for theme in ["light", "dark"] {
        let page = themed(&workplace, theme);
        for (width, height) in [(1_280, 2_400), (500, 3_600)] {
            let shot = workplace.path().join(format!("{theme}-{width}.png"));
            let flags = [
                format!("--screenshot={}", shot.display()),
                format!("--window-size={width},{height}"),
            ];
            let (_, complaints) = browse(&workplace, &[&flags[0], &flags[1]], &page);
            assert!(shot.exists(), "{complaints}");
            keep(&shot);
            let picture = Picture::read(&shot);
            assert_eq!((picture.width, picture.height), (width, height));
            assert!(picture.colours() > 40, "{theme} {width}: {} colours", picture.colours());
            // The first and the last of what is wide are paper: nothing runs over the edge.
            let corner = picture.at(2, 2);
            let edge = (0..height).filter(|y| picture.at(width - 1, *y) == corner).count();
            assert!(edge * 10 > height * 9, "{theme} {width}: the page is wider than its window");
            middles
                .push((theme, u32::from(corner[0]) + u32::from(corner[1]) + u32::from(corner[2])));
        }
    }
    assert!(
        middles.iter().all(|(theme, light)| (*theme == "light") == (*light > 600)),
        "{middles:?}"
    );
}

/// Keeps a screenshot where it can be looked at, in the folder of the build.
fn keep(shot: &Path) {
    let folder = repository().join("target/pages");
    let _ = std::fs::create_dir_all(&folder);
    let _ = std::fs::copy(shot, folder.join(shot.file_name().expect("a name")));
}

/// A PNG of eight bits and three or four channels, as Chromium makes them.
struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Picture {
    fn read(path: &PathBuf) -> Self {
        let bytes = std::fs::read(path).expect("a screenshot");
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n", "a PNG");
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (width, height) = (number(16), number(20));
        let channels = match (bytes[24], bytes[25]) {
            (8, 2) => 3,
            (8, 6) => 4,
            other => panic!("depth and colours {other:?}"),
        };
        let (mut packed, mut at) = (Vec::new(), 8);
        while at + 8 <= bytes.len() {
            let length = number(at);
            if &bytes[at + 4..at + 8] == b"IDAT" {
                packed.extend_from_slice(&bytes[at + 8..at + 8 + length]);
            }
            at += length + 12;
        }
        let mut lines = Vec::new();
        flate2::read::ZlibDecoder::new(packed.as_slice()).read_to_end(&mut lines).expect("pixels");
        let pixels = unfiltered(&lines, width * channels, channels);
        assert_eq!(pixels.len(), width * height * channels);
        Self { width, height, channels, pixels }
    }

    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * self.channels;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    fn colours(&self) -> usize {
        let all =
            (0..self.height).step_by(3).flat_map(|y| (0..self.width).map(move |x| self.at(x, y)));
        all.collect::<HashSet<_>>().len()
    }
}

/// Undoes what PNG does to each line: it stores differences to neighbours.
fn unfiltered(lines: &[u8], stride: usize, channels: usize) -> Vec<u8> {
    let mut pixels: Vec<u8> = Vec::with_capacity(lines.len());
    for (row, line) in lines.chunks_exact(stride + 1).enumerate() {
        for (x, byte) in line[1..].iter().enumerate() {
            let here = row * stride + x;
            let left = if x >= channels { i32::from(pixels[here - channels]) } else { 0 };
            let above = if row > 0 { i32::from(pixels[here - stride]) } else { 0 };
            let corner = if row > 0 && x >= channels {
                i32::from(pixels[here - stride - channels])
            } else {
                0
            };
            let guess = match line[0] {
                0 => 0,
                1 => left,
                2 => above,
                3 => i32::midpoint(left, above),
                4 => {
                    let sum = left + above - corner;
                    let nearest =
                        [left, above, corner].into_iter().min_by_key(|it| (sum - it).abs());
                    nearest.unwrap_or_default()
                }
                other => panic!("filter {other}"),
            };
            pixels.push(byte.wrapping_add(guess as u8));
        }
    }
    pixels
}
