//! Scripts that mean harm, or that were never run: each ends in an error, none in a signal or a hang.

use super::tests::{Bench, iteration, on_shard, run, run_once};
use super::*;
use crate::workload::Iteration;

fn refused(script: &str) -> Diagnostic {
    Bench::new(script).refused()
}

fn error_of(script: &str) -> GuestError {
    run_once(script).0.expect_err("this iteration must not pass")
}

#[test]
fn an_endless_loop_is_cut_while_others_keep_running() {
    let bench =
        Bench::new("fn iteration(ctx) { loop {} } fn other(ctx) { sleep(5.ms); log(\"ran\"); }");
    on_shard(async {
        let shard = bench.shard();
        let (mut hog, first) = bench.user_on(&shard, 1, Json::Null).await;
        let (mut quick, second) = bench.user_on(&shard, 2, Json::Null).await;
        let (endless, short) = (iteration("iteration", 0), iteration("other", 1));
        let (cut, ran) = tokio::join!(
            async {
                let result = run(&mut hog, &first, &endless).await;
                let lines = bench.lines();
                assert_eq!(lines[0], "ran", "the other one ran meanwhile");
                assert!(lines[1].contains("had to rest") && lines.len() == 2, "{lines:?}");
                result
            },
            run(&mut quick, &second, &short)
        );
        ran.unwrap();
        let error = cut.unwrap_err();
        assert_eq!(error.kind, GuestErrorKind::CpuTimeout);
        assert!(error.message.contains("cpu_timeout of 300ms"), "{error:?}");
        // The virtual user goes on with the same state.
        run(&mut hog, &first, &iteration("other", 2)).await.unwrap();
    });
}

#[test]
fn no_script_can_catch_its_own_end() {
    let error = error_of("fn iteration(ctx) { loop { try { loop {} } catch { } } }");
    assert_eq!(error.kind, GuestErrorKind::CpuTimeout);
}

#[test]
fn recursion_ends_in_an_error() {
    let error = error_of("fn down(n) { down(n + 1) } fn iteration(ctx) { down(0) }");
    assert_eq!(error.kind, GuestErrorKind::Trapped);
    let error = error_of(
        "fn down(n) { [1].map(|x| down(n + x)); group(\"deep\", || down(n + 1)) }
         fn iteration(ctx) { down(0) }",
    );
    assert_eq!(error.kind, GuestErrorKind::Trapped, "{error:?}");
}

#[test]
fn values_nested_without_end_neither_crash_nor_leave_the_script() {
    for grow in ["a = [a]", "a = #{ a: a }", "let b = a; a = || b"] {
        let script = format!("fn iteration(ctx) {{ let a = []; loop {{ {grow}; }} }}");
        let error = error_of(&script);
        assert_eq!(error.kind, GuestErrorKind::CpuTimeout, "{grow}: {error:?}");
    }
    let knot = "let m = #{}; m.f = || m; ";
    let (result, lines) =
        run_once(&format!("fn iteration(ctx) {{ {knot} print(m); debug(m.f); }}"));
    result.unwrap();
    assert!(lines[0].starts_with("#{\"f\": Fn(anon$"), "{lines:?}");
    let error = error_of(&format!("fn iteration(ctx) {{ {knot} log(m); }}"));
    assert!(error.message.contains("cannot leave the script"), "{error:?}");
    let error = error_of(
        "fn iteration(ctx) { let a = []; for i in 0..100 { a = [a]; } bus::publish(\"a\", a); }",
    );
    assert_eq!(error.kind, GuestErrorKind::Misuse);
    assert!(error.message.contains("nested more than"), "{error:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn what_nothing_counts_is_bounded_by_the_growth_of_the_process() {
    let mut bench = Bench::new("fn iteration(ctx) { let a = []; loop { let b = a; a = || b; } }");
    // Other tests of this process grow it too, by less than this in the time.
    let limits = Limits { script_memory: 48 << 20, ..Limits::default() };
    bench.input.limits = Arc::new(limits);
    on_shard(async {
        let shard = bench.shard();
        let (mut hog, primitives) = bench.user_on(&shard, 1, Json::Null).await;
        let endless =
            Iteration { cpu_timeout: Duration::from_secs(60), ..iteration("iteration", 0) };
        let error = run(&mut hog, &primitives, &endless).await.unwrap_err();
        assert_eq!(error.kind, GuestErrorKind::Limit);
        assert!(error.message.contains("script_memory"), "{error:?}");
    });
}

#[test]
fn sizes_are_bounded() {
    for script in [
        "let s = \"x\"; loop { s += s; }",
        "let s = \"x\"; s.pad(1_000_000_000_000, \"y\"); s",
        "blob(1_000_000_000_000)",
        "let a = []; a.pad(1_000_000_000_000, 0);",
        "let a = [0]; loop { a += a; }",
    ] {
        let error = error_of(&format!("fn iteration(ctx) {{ {script} }}"));
        assert_eq!(error.kind, GuestErrorKind::Limit, "{script}: {error:?}");
    }
    let error = error_of("fn iteration(ctx) { ctx.random.string(1_000_000_000_000); }");
    assert_eq!(error.kind, GuestErrorKind::Misuse);
}

#[test]
fn parse_bombs_are_refused_before_they_are_parsed() {
    let lets = "let a = 1;\n".repeat(9_000);
    assert!(refused(&lets).message.contains("too long to parse"));
    let deep = format!("let a = {}1{};", "(".repeat(5_000), ")".repeat(5_000));
    assert!(refused(&deep).message.contains("nested more than"));
    for bomb in [
        format!("let a = {}1;", "-".repeat(20_000)),
        format!("let a = {}true;", "!".repeat(20_000)),
        format!("let a = 1{};", " + 1".repeat(20_000)),
        format!("let a = b{};", ".c".repeat(20_000)),
        format!("if a {{ }} {}", "else if a { } ".repeat(10_000)),
    ] {
        let _ = refused(&bomb);
    }
    assert!(refused(&"x".repeat(2 << 20)).message.contains("larger than the limit"));
}

#[test]
fn a_top_level_that_never_ends_and_eval_are_refused() {
    let diagnostic = refused("fn iteration(ctx) {}\nlet a = eval(\"1\");");
    assert!(diagnostic.message.contains("eval"), "{diagnostic:?}");
    let diagnostic = refused("bus::publish(\"a\", 1);");
    assert!(diagnostic.message.contains("while the script is loaded"), "{diagnostic:?}");
}

#[test]
fn imports_stay_in_the_folder() {
    let bench =
        Bench::new("import \"lib/part\" as part;\nfn iteration(ctx) { log(part::value()); }");
    std::fs::create_dir(bench.folder.path().join("lib")).unwrap();
    let part = bench.folder.path().join("lib/part.rhai");
    std::fs::write(&part, "const A = 41;\nfn value() { global::A + 1 }").unwrap();
    let before = bench.load().unwrap().describe().digest.clone();
    on_shard(async {
        let (mut user, scope) = bench.user(Json::Null).await;
        run(&mut user, &scope, &iteration("iteration", 0)).await.unwrap();
    });
    assert_eq!(bench.lines(), ["42"]);
    std::fs::write(&part, "fn value() { 43 }").unwrap();
    assert_ne!(before, bench.load().unwrap().describe().digest, "the digest covers imports");
    std::fs::write(&part, "import \"part\" as a;\nimport \"../script\" as b;").unwrap();
    assert!(!bench.refused().message.is_empty(), "a circle of imports ends");

    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("x.rhai"), "const A = 1;").unwrap();
    let absolute = outside.path().join("x").display().to_string();
    let link = bench.folder.path().join("link.rhai");
    std::os::unix::fs::symlink(outside.path().join("x.rhai"), link).unwrap();
    let up = format!("../{}/x", outside.path().file_name().unwrap().to_string_lossy());
    for (path, why) in [
        (absolute.as_str(), "absolute path"),
        ("link", "outside of the script's folder"),
        (&up, "outside of the script's folder"),
        ("nothing", "no such file"),
    ] {
        std::fs::write(bench.path(), format!("import \"{path}\" as x;")).unwrap();
        let diagnostic = bench.refused();
        assert!(diagnostic.message.contains(why), "{path}: {diagnostic:?}");
    }
}

#[test]
fn a_dropped_iteration_unwinds_and_keeps_the_state() {
    let bench = Bench::new(
        "fn init(ctx) { this.n = 0; }
         fn iteration(ctx) {
            this.n += 1;
            try { group(\"g\", || sleep(1.h)); } catch { log(\"caught\"); }
            log(\"never\");
         }
         fn after(ctx) { log(this.n); }",
    );
    on_shard(async {
        let (mut user, scope) = bench.user(Json::Null).await;
        user.init().await.unwrap();
        let endless = iteration("iteration", 0);
        let cut = tokio::time::timeout(Duration::from_millis(30), run(&mut user, &scope, &endless));
        assert!(cut.await.is_err());
        run(&mut user, &scope, &iteration("after", 1)).await.unwrap();
    });
    assert_eq!(bench.lines(), ["1"], "neither caught nor went on");
}

#[test]
fn deep_state_is_dropped_with_its_virtual_user() {
    let bench = Bench::new(
        "fn iteration(ctx) { let a = []; this.a = a; loop { let b = this.a; this.a = || b; } }",
    );
    on_shard(async {
        let (mut user, scope) = bench.user(Json::Null).await;
        let error = run(&mut user, &scope, &iteration("iteration", 0)).await.unwrap_err();
        assert_eq!(error.kind, GuestErrorKind::CpuTimeout);
        drop(user);
    });
}

#[test]
fn syntax_errors_point_at_their_place() {
    let diagnostic = refused("fn iteration(ctx) {\n    let a = ;\n}");
    let place = diagnostic.place.unwrap();
    assert!(place.origin.ends_with("script.rhai"));
    assert_eq!(&place.text[place.range], ";");
    let diagnostic = refused("let a = 1;\nlet b = a.nothing();");
    let place = diagnostic.place.unwrap();
    assert!(place.text[place.range].starts_with("nothing"), "{}", diagnostic.message);
}

#[test]
fn parameters_are_typed_by_their_defaults() {
    let mut bench = Bench::new("const N = param(\"n\", 3, \"how many\");");
    bench.input.parameters.insert("n".to_owned(), "many".to_owned());
    assert!(bench.refused().message.contains("`many` is not a i64"));
    bench.input.parameters = BTreeMap::from([("nn".to_owned(), "4".to_owned())]);
    let diagnostic = bench.refused();
    assert_eq!(diagnostic.help.as_deref(), Some("did you mean `n`?"));
}

#[test]
fn secrets_and_data_files_are_read() {
    let mut bench = Bench::new(
        "const USERS = data::csv(\"users.csv\"); const KEY = secret(\"key\");
         fn iteration(ctx) {
            for user in global::USERS { log(user.name); }
            log(global::USERS.len() + data::json(\"x.json\").a[1].b);
            log(global::KEY.len());
            log(\"name\" in global::USERS[0]);
         }",
    );
    bench.input.secrets.insert("key".to_owned(), "four".to_owned());
    std::fs::write(bench.folder.path().join("users.csv"), "name,age\nann,1\nbob,2\n").unwrap();
    std::fs::write(bench.folder.path().join("x.json"), "{\"a\":[1,{\"b\":40}]}").unwrap();
    on_shard(async {
        let (mut user, scope) = bench.user(Json::Null).await;
        run(&mut user, &scope, &iteration("iteration", 0)).await.unwrap();
    });
    assert_eq!(bench.lines(), ["ann", "bob", "42", "4", "true"]);
}

#[test]
fn handlers_answer_and_setup_returns_json() {
    let bench = Bench::new(
        "fn setup(ctx) { #{ users: [1, 2], wait: 1500.ms } }
         fn echo(message) { #{ got: message.json.n + 1, subject: message.subject } }
         fn quiet(message) { }",
    );
    on_shard(async {
        let (mut user, _) = bench.user(Json::Null).await;
        let data = user.setup().await.unwrap();
        assert_eq!(data, serde_json::json!({ "users": [1, 2], "wait": "1500ms" }));
        let message = || crate::primitive::bus::Message {
            subject: "a.b".to_owned(),
            payload: "{\"n\": 1}".into(),
            headers: Vec::new(),
            reply_to: None,
            acknowledge: None,
        };
        let reply = user.handle("echo", message()).await.unwrap().unwrap();
        let reply: Json = serde_json::from_slice(&reply).unwrap();
        assert_eq!(reply, serde_json::json!({ "got": 2, "subject": "a.b" }));
        assert_eq!(user.handle("quiet", message()).await.unwrap(), None);
    });
}

#[test]
fn the_checker_finds_what_cannot_work() {
    let bench = Bench::new(
        "export const options = #{ ops: [\"stats\"], metrics: #{ mine: \"counter\" } };
         fn helper(a, b) { a }
         fn iteration(ctx) {
            bus::reqest(\"a\", 1);
            bus::request(\"a\");
            helper(1);
            helpr(1, 2);
            databse::query(\"x\");
            metric::add(\"mein\", 1);
            bus::request(\"a\", 1, #{ op: \"stat\" });
            ctx.random.itn(1, 2);
            let m = #{ f: |x| x + 1 };
            m.f(1);
            let sub = bus::subscribe(\"a\");
            sub.next(500.ms);
            [1, 2].filter(|x| x > 1).len();
            group(\"g\", || helper(1, 2));
            this.helper(1, 2);
         }",
    );
    let program = bench.load().unwrap();
    let found: Vec<_> = program.findings().iter().map(|it| it.message.as_str()).collect();
    assert_eq!(
        found,
        [
            "there is no function `bus::reqest`",
            "`bus::request` is called with 1 argument, but takes 2 or 3",
            "`helper` is called with 1 argument, but takes 2",
            "there is no function `helpr`",
            "there is no module `databse`",
            "metric `mein` is not declared",
            "op `stat` is not declared",
            "there is no method `itn`",
        ]
    );
    assert_eq!(program.findings()[0].help.as_deref(), Some("did you mean `request`?"));
    let place = program.findings()[3].place.clone().unwrap();
    assert_eq!(&place.text[place.range], "helpr");
}

#[test]
fn the_checker_reads_the_options_of_host_calls() {
    let bench = Bench::new(
        "export const options = #{ ops: [\"stats\"] };
         fn iteration(ctx) {
            bus::request(\"a\", 1, #{ timeuot: \"1s\", op: \"stats\" });
            bus::request(\"a\", #{ op: \"a field of the payload\", anything: 1 });
            bus::publish_all([#{ subject: \"a\", paylod: 1 }, #{ subject: \"b\", op: \"stat\" }]);
            db::query(\"SELECT 1\", [], #{ colour: \"red\" });
            let known = #{ unseen: 1 };
            bus::request(\"a\", 1, known);
         }",
    );
    let program = bench.load().unwrap();
    let found: Vec<_> = program
        .findings()
        .iter()
        .map(|it| {
            let place = it.place.as_ref().unwrap();
            (it.message.as_str(), it.help.as_deref().unwrap(), &place.text[place.range.clone()])
        })
        .collect();
    let undeclared = "did you mean `stats`? else add it to `ops` in the options";
    assert_eq!(
        found,
        [
            ("`bus::request` has no option `timeuot`", "did you mean `timeout`?", "timeuot"),
            ("`bus::publish_all` has no option `paylod`", "did you mean `payload`?", "paylod"),
            ("op `stat` is not declared", undeclared, "op"),
            ("`db::query` has no option `colour`", "it takes op, timeout", "colour"),
        ]
    );
}

#[test]
fn every_call_that_takes_options_is_in_their_table() {
    let definitions = definitions();
    let mut registered = std::collections::BTreeSet::new();
    let mut module = "";
    for line in definitions.lines() {
        if let Some(name) = line.strip_prefix("module ") {
            module = name.trim_end_matches([' ', '{']);
        }
        let takes = line.split_once("options: map").map(|(before, _)| before);
        if let Some((name, before)) = takes.and_then(|it| it.strip_prefix("fn ")?.split_once('(')) {
            registered.insert((format!("{module}::{name}"), before.matches(':').count()));
        }
    }
    let table = surface::CALLS.iter().map(|call| (call.name.to_owned(), call.argument));
    assert_eq!(registered, table.collect());
}

#[test]
fn the_checker_finds_the_same_in_imported_files() {
    let bench = Bench::new(
        "import \"lib/part\" as part;
         export const options = #{ ops: [\"stats\"] };
         fn own(a) { a }
         fn iteration(ctx) {
            part::ask(1);
            part::ask(1, 2);
            part::aks(1);
            part::hidden();
         }",
    );
    std::fs::create_dir(bench.folder.path().join("lib")).unwrap();
    let part = "import \"lib/deeper\" as deeper;
         private fn hidden() {}
         fn ask(name) {
            own(1); hidden(); name.later();
            bus::request(\"a\", name, #{ op: \"stat\" });
            deeper::answer();
            databse::query(\"x\");
         }";
    std::fs::write(bench.folder.path().join("lib/part.rhai"), part).unwrap();
    let deeper = "fn answer() { let m = #{ later: || 1 };\n helpr(m); }";
    std::fs::write(bench.folder.path().join("lib/deeper.rhai"), deeper).unwrap();
    let program = bench.load().unwrap();
    let found: Vec<_> = program
        .findings()
        .iter()
        .map(|it| {
            let place = it.place.as_ref().unwrap();
            let (line, _) = crate::diagnostic::line_and_column(&place.text, place.range.start);
            let file = Path::new(&place.origin).strip_prefix(bench.folder.path()).unwrap();
            (format!("{}:{line}", file.display()), it.message.as_str())
        })
        .collect();
    let found: Vec<_> = found.iter().map(|(place, it)| (place.as_str(), *it)).collect();
    assert_eq!(
        found,
        [
            ("script.rhai:6", "`part::ask` is called with 2 arguments, but takes 1"),
            ("script.rhai:7", "there is no function `part::aks`"),
            ("script.rhai:8", "there is no function `part::hidden`"),
            ("lib/deeper.rhai:2", "there is no function `helpr`"),
            ("lib/part.rhai:5", "op `stat` is not declared"),
            ("lib/part.rhai:7", "there is no module `databse`"),
        ]
    );
}

#[test]
fn quickstart_and_template_load_without_a_finding() {
    let quickstart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/quickstart.rhai");
    let program = Program::load(&quickstart, &LoadInput::default()).unwrap();
    assert!(program.findings().is_empty(), "{:?}", program.findings());
    assert_eq!(program.describe().functions, ["answer_price", "ask_price"]);
    let bench = Bench::new(TEMPLATE);
    let program = bench.load().unwrap();
    assert!(program.findings().is_empty(), "{:?}", program.findings());
    assert_eq!(program.describe().functions, ["echo", "iteration"]);
}

#[test]
fn no_field_of_ours_is_a_reserved_word() {
    for field in [
        "op",
        "timeout",
        "headers",
        "reply_to",
        "subject",
        "payload",
        "queue",
        "subjects",
        "memory",
        "max_messages",
        "durable",
        "filter",
        "message_id",
        "query",
        "values",
        "request",
        "pointer",
        "equals",
        "ok",
        "error",
        "message",
        "text",
        "bytes",
        "size",
        "json",
        "rows",
        "changed",
        "value",
        "stream",
        "sequence",
        "duplicate",
        "first_seen",
        "last_unseen",
        "probes",
        "vu",
        "iteration",
        "scenario",
        "stage",
        "data",
        "seed",
        "random",
        "env",
        "seconds",
        "milliseconds",
        "nanoseconds",
        "ns",
        "us",
        "ms",
        "s",
        "m",
        "h",
    ] {
        let script = format!("let m = #{{ {field}: 1 }}; let n = m.{field};");
        assert!(Bench::new(&script).load().is_ok(), "{field}");
    }
}

#[test]
fn definitions_are_typed() {
    let text = definitions();
    for line in [
        "fn request(subject: string, payload: ?, options: map) -> Message;",
        "fn check(name: string, passed: bool) -> bool;",
        "fn int(random: Random, low: int, high: int) -> int;",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}
