//! `wavetank check`: what is wrong with a workload, where it stands, and the exit code, without running
//! it.

use wavetank_tests::command::{Ran, Workplace};

use crate::{WAVETANK, lifecycle::described};

fn assert_finds(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, 104, "{ran:#?}");
    let shown = format!("{}{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(shown.contains(word), "no `{word}` in:\n{shown}");
    }
}

#[test]
fn an_imported_file_is_checked_where_it_stands() {
    let workplace = Workplace::new(WAVETANK);
    let script = "import \"lib/prices\" as prices;\nfn iteration(ctx) { prices::ask(); }\n";
    let file = workplace.file("shop/shop.rhai", script);
    workplace.file("shop/lib/prices.rhai", "fn ask() {\n    bus::reqest(\"a\", 1);\n}\n");
    let ran = workplace.run(&["check", &file]);
    let words = ["there is no function `bus::reqest`", "shop/lib/prices.rhai:2:10", "1 error"];
    assert_finds(&ran, &words);
    // The path is one that CI finds from where the command ran.
    let ran = workplace.run(&["check", &file, "--format", "github"]);
    assert_finds(&ran, &["file=shop/lib/prices.rhai,line=2,col=10"]);
}

#[test]
fn options_and_thresholds_that_cannot_be_are_found_and_the_latter_refused() {
    let workplace = Workplace::new(WAVETANK);
    let call = "fn iteration(ctx) {\n    bus::request(\"a\", 1, #{ timeuot: \"1s\" });\n}\n";
    let file = workplace.file("call.rhai", call);
    let words =
        ["`bus::request` has no option `timeuot`", "did you mean `timeout`?", "call.rhai:2:29"];
    assert_finds(&workplace.run(&["check", &file]), &words);
    for (metric, threshold, word) in [
        ("iteration_response_time", "p(95) < 1s", "is of arrivals, and no scenario here has any"),
        ("dispatch_delay", "p(95) < 1s", "is of arrivals, and no scenario here has any"),
        ("guest_memory_bytes", "max < 1 MB", "is not measured of this kind of workload"),
        ("guest_traps", "count == 0", "is not measured of this kind of workload"),
    ] {
        let script = format!(
            "export const options = #{{ vus: 2, duration: \"1s\", thresholds: #{{\n    \
             \"{metric}\": \"{threshold}\" }} }};\nfn iteration(ctx) {{}}\n"
        );
        let file = workplace.file("judged.rhai", script);
        for command in ["check", "run"] {
            assert_finds(&workplace.run(&[command, &file]), &[metric, word, "judged.rhai:2", "^"]);
        }
    }
}

#[test]
fn a_handler_that_the_script_does_not_have_is_found() {
    let workplace = Workplace::new(WAVETANK);
    let script = "export const options = #{ services: #{ \"a\": \"answr\" } };\n\
                  fn answer(message) {}\nfn iteration(ctx) {}\n";
    let file = workplace.file("answering.rhai", script);
    let ran = workplace.run(&["check", &file]);
    assert_finds(&ran, &["`answr`", "`answer`", "answering.rhai:1", "^"]);
}

#[test]
fn a_component_is_checked_as_far_as_it_can_be() {
    let check = |how: &str| {
        let workplace = Workplace::new(WAVETANK);
        let file = workplace.file("guest.wasm", described(how));
        workplace.run(&["check", &file])
    };
    let ran = check("fine");
    assert_eq!((ran.code, ran.stdout.trim()), (0, "guest.wasm: nothing to object to"), "{ran:#?}");
    assert_finds(&check("exec"), &["scenarios.main.exec", "`fien`", "`fine`"]);
    assert_finds(&check("oops"), &["op:aks"]);
    let database = "the component does not import `wavetank:workload/database`";
    assert_finds(&check("base"), &["guest.wasm", "`db_query_failed`", database]);
    assert_finds(&check("trap"), &["guest.wasm", "boom in describe"]);
}
