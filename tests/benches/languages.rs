//! What a plugin costs in each language: its size, its first start, which compiles it, its second, which
//! finds it in the cache, one call of the host, an empty iteration, a virtual user's memory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use wavetank_tests::nats::search_path;

use crate::{Bench, line, median, run};

/// A language, and how it says what.
struct Language {
    name: &'static str,
    source: &'static str,
    /// The line of the template after which an iteration begins.
    begins: &'static str,
    /// A thousand calls of the host.
    calls: &'static str,
    /// The end of the iteration.
    end: &'static str,
    /// What its second start may take, in milliseconds.
    wanted: &'static str,
}

const LANGUAGES: [Language; 4] = [
    Language {
        name: "rust",
        source: "src/lib.rs",
        begins: "fn iterate(&mut self, _: &Iteration) -> Result {\n",
        calls: "for _ in 0..1000 { random::integer(1, 9); }",
        end: "if self.people > 0 { return Ok(()); }",
        wanted: "second start <= 30 ms",
    },
    Language {
        name: "c",
        source: "plugin.c",
        begins: "const char *iterate(const iteration *given) {\n",
        calls: "for (int i = 0; i < 1000; i++) random_integer(1, 9);",
        end: "return NULL;",
        wanted: "second start <= 30 ms",
    },
    Language {
        name: "js",
        source: "plugin.js",
        begins: "iterate(user) {\n",
        calls: "for (let i = 0; i < 1000; i++) random.integer(1, 9);",
        end: "return;",
        wanted: "second start <= 30 ms",
    },
    Language {
        name: "python",
        source: "plugin.py",
        begins: "what is raised ends the iteration.\"\"\"\n",
        calls: "for _ in range(1000): random.integer(1, 9)\n",
        end: "return",
        wanted: "second start <= 100 ms",
    },
];
/// How many calls that is.
const CALLS: f64 = 1_000.0;

/// One line for each language.
///
/// # Panics
/// If a plugin is not built: `tests/run` installs the languages' tools.
pub fn row(bench: &Bench) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bare = None;
    for language in LANGUAGES {
        let plain = plugin(bench, folder.path(), &language, "plain", language.end);
        let calling = format!("{}\n        {}", language.calls, language.end);
        let calling = plugin(bench, folder.path(), &language, "calling", &calling);
        let size = fs::metadata(&plain).map_or(f64::NAN, |it| it.len() as f64) / 1e3;
        let first = median((0..3).map(|_| first_start(bench, &plain)).collect());
        let second = (0..11).map(|_| run::workload(bench, &plain, &["--iterations", "1"]).wall_s);
        let second = median(second.collect());
        // Guest time: what the run itself does between iterations is none of it.
        let guest = |component: &Path| {
            let ran = run::workload(bench, component, &["--vus", "1", "--iterations", "500"]);
            ran.value("guest_cpu_time", "med")
        };
        let (mut calls, mut iterations) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let (without, with) = (guest(&plain), guest(&calling));
            iterations.push(without / 1e3);
            calls.push((with - without) / CALLS);
        }
        let (call, iteration) = (median(calls), median(iterations));
        let memory = |vus: &str| {
            let arguments = ["--vus", vus, "--duration", "3s"];
            median((0..3).map(|_| run::watched(bench, &plain, &arguments).peak_pss).collect())
        };
        let each = (memory("110") - memory("10")) / 100.0;
        let rust = *bare.get_or_insert(call);
        line(
            &format!(
                "plugin in {}: {size:.0} KB, first start {:.0} ms",
                language.name,
                first * 1e3
            ),
            &format!(
                "second {:.0} ms, call {call:.0} ns ({:.1} x Rust), iteration {iteration:.1} us, {:.0} KB a VU",
                second * 1e3,
                call / rust,
                each / 1e3
            ),
            language.wanted,
        );
    }
}

/// The template's plugin whose iterations do this, built.
fn plugin(bench: &Bench, folder: &Path, language: &Language, name: &str, does: &str) -> PathBuf {
    let plugin = folder.join(language.name).join(name);
    ran(wavetank(bench).args(["plugin", "new", "--lang", language.name]).arg(&plugin));
    let source = plugin.join(language.source);
    let text = fs::read_to_string(&source).expect("a source");
    let changed = text.replace(language.begins, &format!("{}        {does}\n", language.begins));
    assert_ne!(changed, text, "{}: an iteration begins elsewhere", language.name);
    fs::write(source, changed).expect("a source");
    ran(wavetank(bench).args(["plugin", "build"]).arg(&plugin));
    plugin.join(format!("{name}.wasm"))
}

/// Wall seconds of a process that compiles it.
#[expect(clippy::disallowed_methods, reason = "a bench has a clock of its own")]
fn first_start(bench: &Bench, component: &Path) -> f64 {
    let cache = tempfile::tempdir().expect("a folder");
    let start = Instant::now();
    ran(wavetank(bench).arg("inspect").arg(component).env("XDG_CACHE_HOME", cache.path()));
    start.elapsed().as_secs_f64()
}

fn wavetank(bench: &Bench) -> Command {
    let mut command = Command::new(&bench.wavetank);
    command.env("PATH", search_path());
    command
}

fn ran(command: &mut Command) {
    let output = command.output().expect("wavetank runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
