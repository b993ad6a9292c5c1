//! Scripts that mean harm, one beside nine.

use super::{
    Case, case,
    ground::{Seen, watch, workplace},
};

pub const CASES: &[Case] = &[
    case("script: endless loop", "loop {}", "cpu_timeout", "cpu_timeout of 100ms"),
    case(
        "script: endless loop that catches its end",
        "loop { try { loop {} } catch { } }",
        "cpu_timeout",
        "cpu_timeout of 100ms",
    ),
    case("script: endless recursion", "down(0)", "trapped", "script_call_levels"),
    case(
        "script: recursion through closures",
        "let f = |f, n| f.call(f, n + 1); f.call(f, 0);",
        "trapped",
        "",
    ),
    case("script: recursion through native functions", "within(0)", "trapped", ""),
    case("script: string bomb", "let s = \"x\"; loop { s += s; }", "limit", "script_string"),
    case("script: padding bomb", "let s = \"x\"; s.pad(1_000_000_000_000, \"y\");", "limit", ""),
    case("script: blob bomb", "blob(1_000_000_000_000);", "limit", ""),
    case("script: array bomb", "let a = [0]; loop { a += a; }", "limit", "script_collection"),
    case("script: values nested without end", "let a = []; loop { a = [a]; }", "cpu_timeout", ""),
    case(
        "script: a closure over itself, printed and sent",
        "let m = #{}; m.f = || m; print(m); bus::publish(\"a\", m);",
        "misuse",
        "cannot leave the script",
    ),
    case(
        "script: megabytes thrown",
        "let s = \"\\x1b[2J::error::\"; s.pad(8_000_000, \"x\"); throw s;",
        "threw",
        "",
    ),
    case(
        "script: escapes thrown",
        "throw \"\\x1b]0;owned\\x07\\x1b[2J\\r\\n::error::owned\\n\\u202e\";",
        "threw",
        "",
    ),
    case(
        "script: check names without end",
        "for n in 0..100_000 { check(`name ${ctx.iteration} ${n}`, true); }",
        "cpu_timeout",
        "",
    ),
    case(
        "script: group names without end",
        "for n in 0..100_000 { group(`group ${n}`, || check(\"inside\", true)); }",
        "cpu_timeout",
        "",
    ),
    case(
        "script: a name of megabytes",
        "let s = \"\"; s.pad(1_000_000, \"x\"); check(s, true);",
        "misuse",
        "label_bytes",
    ),
    case(
        "script: metrics that it did not declare",
        "for n in 0..1_000 { metric::add(`m${n}`, 1); }",
        "misuse",
        "not declared",
    ),
    case("script: numbers that are none", "metric::add(\"mine\", 0.0 / 0.0);", "misuse", "NaN"),
    case("script: host calls without end", "loop { ctx.random.int(0, 9); }", "cpu_timeout", ""),
    case(
        "script: publications without end",
        "loop { bus::publish(\"flood\", \"x\"); }",
        "cpu_timeout",
        "",
    ),
    case(
        "script: handles without end",
        "let held = []; loop { held.push(bus::subscribe(\"held.>\")); }",
        "misuse",
        "handles",
    ),
    case(
        "script: a batch beyond the limit",
        "let all = []; all.pad(20_000, #{ subject: \"a\" }); bus::publish_all(all);",
        "misuse",
        "batch",
    ),
    case(
        "script: a payload beyond the limit",
        "let s = \"\"; s.pad(2_000_000, \"x\"); bus::publish(\"a\", s);",
        "misuse",
        "payload_bytes",
    ),
    case("script: another's replies", "bus::subscribe(\"_INBOX.>\");", "misuse", "_INBOX"),
    case(
        "script: the server's own subjects",
        "bus::request(\"$JS.API.INFO\", \"\");",
        "misuse",
        "$JS",
    ),
    case(
        "script: the host's own subjects",
        "bus::publish(\"_wavetank.x.collect\", \"\");",
        "misuse",
        "_wavetank",
    ),
    case(
        "script: a subject that injects",
        "bus::publish(\"a\\r\\nPUB b 0\\r\\n\", \"\");",
        "misuse",
        "subject",
    ),
    case("script: sleep for ever", "sleep(2.h);", "", ""),
    case(
        "script: a transaction left open",
        "db::transaction(|| { db::execute(\"INSERT INTO t VALUES (-1)\"); throw \"gone\" });",
        "threw",
        "gone",
    ),
    case(
        "script: SQL without end",
        "db::query(\"WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c\", [], #{ timeout: \"200ms\" }); throw \"cut\";",
        "threw",
        "cut",
    ),
    case(
        "script: SQL that allocates",
        "let r = db::query(\"SELECT hex(randomblob(500000000))\"); if r.ok { throw \"it may\" } else { throw r.error }",
        "threw",
        "",
    ),
    case(
        "script: SQL that leaves its transaction",
        "db::transaction(|| db::execute(\"COMMIT\"));",
        "misuse",
        "COMMIT",
    ),
    case(
        "script: SQL that leaves its database",
        "let r = db::execute(\"ATTACH 'x.db' AS x\"); throw r.error;",
        "threw",
        "",
    ),
    case(
        "script: sorting a million",
        "let a = []; a.pad(1_000_000, 0); loop { a.sort(); a.reverse(); }",
        "cpu_timeout",
        "",
    ),
];

/// The run of a bad script: `bad` of nine and one.
fn beside(bad: &str) -> Seen {
    let script = format!(
        r#"
export const options = #{{
    scenarios: #{{
        good: #{{ executor: "constant-vus", vus: 9, duration: "1s", exec: "good", graceful_stop: "30s" }},
        bad: #{{ executor: "constant-vus", vus: 1, duration: "1s", exec: "bad", cpu_timeout: "100ms",
                graceful_stop: "3s" }},
    }},
    ops: ["ask"],
    metrics: #{{ mine: "gauge" }},
    services: #{{ "ask": "answer" }},
    thresholds: #{{ "db_query_failed{{scenario:good}}": "rate == 0", "bus_request_failed{{scenario:good}}": "rate == 0",
        "bus_requests{{op:ask,scenario:good}}": "count > 0" }},
}};
fn setup(ctx) {{ db::execute("CREATE TABLE t (n INTEGER)"); }}
fn answer(message) {{ #{{ n: message.json.n }} }}
fn good(ctx) {{
    let reply = bus::request("ask", #{{ n: ctx.iteration }}, #{{ op: "ask" }});
    check("answered", reply.ok && reply.json.n == ctx.iteration);
    check("stored", db::execute("INSERT INTO t VALUES (?)", [ctx.iteration]).ok);
    sleep("5ms");
}}
fn down(n) {{ down(n + 1) }}
fn within(n) {{ [1].map(|x| within(n + x)); group("deep", || within(n + 1)) }}
fn bad(ctx) {{ {bad} }}
fn teardown(ctx) {{ print(`bad rows ${{db::query("SELECT count(*) AS n FROM t WHERE n < 0").rows[0].n}}`); }}
"#
    );
    let workplace = workplace();
    let file = workplace.file("hostile.rhai", script);
    watch(&workplace, &[&file])
}

#[test]
fn one_bad_script_beside_nine_is_contained() {
    for case in CASES {
        let seen = beside(case.bad);
        seen.assert_contained(case);
        // A flood of lines may leave no room for the last.
        let rows = seen.ran.stderr.lines().find(|line| line.contains("bad rows"));
        let floods = case.bad.contains("print(");
        assert!(
            rows.map_or(floods, |line| line.ends_with("bad rows 0")),
            "{}: {}",
            case.name,
            seen.ran.stderr
        );
        // Whatever it said, it commands neither a terminal nor a workflow.
        let said = format!("{}{}", seen.ran.stdout, seen.ran.stderr);
        let bad = said.chars().find(|it| it.is_control() && *it != '\n');
        assert_eq!(bad, None, "{}: {said}", case.name);
        assert!(said.len() < 4 << 20, "{}: {} bytes were said", case.name, said.len());
    }
}

#[test]
fn lines_beyond_the_limit_are_counted() {
    let seen = beside("for n in 0..20_000 { print(`line ${n} ::warning::x \\x1b[31m`); }");
    seen.assert_the_nine_go_on("lines");
    let dropped = seen.ran.summary.as_ref().unwrap()["runner"]["log_lines_dropped"].as_u64();
    assert!(dropped.unwrap() > 0, "{:#?}", seen.ran.summary);
    assert!(seen.ran.stderr.lines().count() < 11_000);
}

/// Names and series have a limit, which a workload can reach in no time; what the others declared keeps its
/// own, or figures of a part would be shown as those of the whole.
#[test]
fn a_flood_of_names_hides_nothing_of_the_others() {
    let seen = beside("for n in 0..3_000 { check(`name ${ctx.iteration} ${n}`, true); }");
    let told = format!("{:#?}", seen.ran);
    let done = seen.scenario("good")["completed"].as_f64().unwrap();
    let summary = seen.ran.summary.as_ref().unwrap();
    let asked =
        summary["thresholds"].as_array().unwrap().iter().find(|it| {
            it["metric"] == "bus_requests" && it["selector"].to_string().contains("ask")
        });
    assert_eq!(asked.unwrap_or_else(|| panic!("{told}"))["observed"], done, "{told}");
}
