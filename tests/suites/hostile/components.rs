//! Components that mean harm, one beside nine. Written by hand where no toolchain makes what they do.

use wavetank_tests::component_text::{Text, component};

use super::{
    Case, case,
    ground::{Seen, watch, workplace},
};

pub const CASES: &[Case] = &[
    case("component: endless loop", "(loop $l (br $l))", "cpu_timeout", "cpu_timeout of 100ms"),
    case("component: endless recursion", "(drop (call $deep))", "trapped", "guest_stack"),
    case("component: trap", "unreachable", "trapped", "unreachable"),
    case(
        "component: memory bomb",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
        "limit",
        "guest_memory",
    ),
    case(
        "component: memory bomb that touches every page",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
         (memory.fill (i32.const 524288) (i32.const 1) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 524288)))
         unreachable",
        "limit",
        "guest_memory",
    ),
    case(
        "component: table bomb",
        "(loop $l (br_if $l (i32.ne (table.grow $table (ref.null func) (i32.const 100)) (i32.const -1)))) unreachable",
        "limit",
        "guest_table",
    ),
    case(
        "component: host calls without end",
        "(loop $l (call $check (i32.const 160) (i32.const 0) (i32.const 1) (i32.const 256)) (br $l))",
        "cpu_timeout",
        "cpu_timeout of 100ms",
    ),
    case(
        "component: lines logged without end",
        "(loop $l (call $line (i32.const 0) (i32.const 160) (i32.const 8)) (br $l))",
        "cpu_timeout",
        "cpu_timeout of 100ms",
    ),
    case(
        "component: publications without end",
        "(loop $l (call $send (i32.const 0) (i32.const 0)) (br $l))",
        "cpu_timeout",
        "cpu_timeout of 100ms",
    ),
    case("component: sleeps without end", "(loop $l (call $sleep (i64.const 0)) (br $l))", "", ""),
    case("component: sleeps for ever", "(call $sleep (i64.const -1))", "", ""),
    case(
        "component: a handle that was never given",
        "(call $next (i32.const 7) (i32.const 1) (i64.const 0) (i32.const 512))",
        "trapped",
        "handle",
    ),
    case(
        "component: a handle used after it was dropped",
        "(local.set $n (call $held)) (call $drop (local.get $n))
         (call $next (local.get $n) (i32.const 1) (i64.const 0) (i32.const 512))",
        "trapped",
        "handle",
    ),
    case(
        "component: a handle dropped twice",
        "(local.set $n (call $held)) (call $drop (local.get $n)) (call $drop (local.get $n))",
        "trapped",
        "handle",
    ),
    case(
        "component: handles without end",
        "(loop $l (drop (call $held)) (br_if $l (i32.eqz (i32.load8_u (i32.const 512))))) unreachable",
        "trapped",
        "unreachable",
    ),
    case(
        "component: an acknowledgement that was never asked for",
        "(call $acknowledge (i64.const 77) (i32.const 512))
         (if (i32.eqz (i32.load8_u (i32.const 512))) (then unreachable))",
        "",
        "",
    ),
    case(
        "component: a string that is no text",
        "(i32.store (i32.const 512) (i32.const -1))
         (call $check (i32.const 512) (i32.const 4) (i32.const 1) (i32.const 256))",
        "trapped",
        "utf-8",
    ),
    case(
        "component: a string beyond its memory",
        "(call $check (i32.const 2147483392) (i32.const 4096) (i32.const 1) (i32.const 256))",
        "trapped",
        "out of bounds",
    ),
    case(
        "component: a list beyond its memory",
        "(call $publish-all (i32.const 0) (i32.const 100000000) (i32.const 512))",
        "trapped",
        "",
    ),
    case(
        "component: a list of a million messages that are nothing",
        "(drop (memory.grow (i32.const 900)))
         (call $publish-all (i32.const 1048576) (i32.const 1200000) (i32.const 512))",
        "limit",
        "hostcall_bytes",
    ),
    case(
        "component: a list of millions of headers that are nothing",
        "(drop (memory.grow (i32.const 900))) (call $send (i32.const 1048576) (i32.const 3600000))",
        "limit",
        "hostcall_bytes",
    ),
    case(
        "component: headers that are all one string",
        // Two thousand headers at a mebibyte, each of them the same 64 KiB.
        "(drop (memory.grow (i32.const 100)))
         (loop $l
           (call $word (i32.add (i32.const 1048576) (i32.shl (local.get $n) (i32.const 3))) (i32.const 2097152))
           (call $word (i32.add (i32.const 1048580) (i32.shl (local.get $n) (i32.const 3))) (i32.const 65536))
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $l (i32.lt_u (local.get $n) (i32.const 4000))))
         (call $send (i32.const 1048576) (i32.const 2000))",
        "limit",
        "hostcall_bytes",
    ),
    case(
        "component: a payload of all its memory",
        "(drop (memory.grow (i32.const 900)))
         (call $publish (i32.const 160) (i32.const 1) (i32.const 0) (i32.const 50000000) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))",
        "limit",
        "hostcall_bytes",
    ),
    case(
        "component: a reply wanted where it may not send",
        // The subject is its own, the place for the reply is the server's: `$JS.API.X`.
        "(call $publish (i32.const 160) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
           (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 704) (i32.const 9) (i32.const 512))
         (if (i32.eqz (i32.load8_u (i32.const 512))) (then unreachable))",
        "",
        "",
    ),
];

/// The component of a bad iteration.
fn bad(bad: &str) -> Vec<u8> {
    component(Text { bad, ..Text::armed() })
}

/// Runs a component.
pub fn run(bytes: &[u8], flags: &[&str]) -> Seen {
    let workplace = workplace();
    let file = workplace.file("hostile.wasm", bytes);
    let mut all = vec![file.as_str()];
    all.extend(flags);
    watch(&workplace, &all)
}

#[test]
fn one_bad_component_beside_nine_is_contained() {
    for case in CASES {
        run(&bad(case.bad), &[]).assert_contained(case);
    }
}
