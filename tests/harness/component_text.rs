//! Components written by hand, because no toolchain makes what these do: a start section, handles that were
//! never given, lists whose elements are one and the same, strings that are no text.
//!
//! One text for all of them, with holes: what is imported, what the start section does, what each
//! function of the lifecycle does, and what the scenario `bad` does. `good` asks nobody and checks itself.

use std::fmt::Write;

/// What is put into the holes. Each is WebAssembly text; what is empty does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text<'a> {
    /// Imports of the component, and functions lowered from them.
    pub imports: &'a str,
    /// The lowered functions as the core module is given them: `(export "f" (func $f))` …
    pub given: &'a str,
    /// The same as the core module imports them.
    pub taken: &'a str,
    /// Functions, tables and globals of the core module; `(start $start)` too.
    pub more: &'a str,
    /// What `describe` does before it answers.
    pub describe: &'a str,
    /// What `setup` does.
    pub setup: &'a str,
    /// What `init` does.
    pub init: &'a str,
    /// What `teardown` does.
    pub teardown: &'a str,
    /// The body of an iteration of `bad`.
    pub bad: &'a str,
}

/// The scenarios, unless a case wants others.
pub const SCENARIOS: &str = r#"
    "good": { "executor": "constant-vus", "vus": 9, "duration": "1s", "exec": "good" },
    "bad": { "executor": "constant-vus", "vus": 1, "duration": "1s", "exec": "bad", "cpu_timeout": "100ms",
             "graceful_stop": "3s" }
"#;

/// What is imported beside checks and sleep.
const IMPORTS: &str = r#"
  (import "wavetank:workload/log@0.1.0" (instance $log
    (type $level-shape (enum "info" "warn" "error"))
    (export "level" (type $level (eq $level-shape)))
    (export "line" (func (param "level" $level) (param "text" string)))))
  (import "wavetank:workload/bus@0.1.0" (instance $bus
    (type $failure-shape (record (field "kind" string) (field "message" string)))
    (export "failure" (type $failure (eq $failure-shape)))
    (type $error-shape (variant (case "misuse" string) (case "failure" $failure)))
    (export "error" (type $error (eq $error-shape)))
    (type $outgoing-shape (record (field "subject" string) (field "payload" (list u8))
      (field "headers" (list (tuple string string))) (field "op" (option string)) (field "reply-to" (option string))))
    (export "outgoing" (type $outgoing (eq $outgoing-shape)))
    (type $message-shape (record (field "subject" string) (field "payload" (list u8))
      (field "headers" (list (tuple string string))) (field "reply-to" (option string)) (field "acknowledge" (option u64))))
    (export "message" (type $message (eq $message-shape)))
    (export "subscription" (type $subscription (sub resource)))
    (export "[method]subscription.next" (func (param "self" (borrow $subscription)) (param "timeout" (option u64))
      (result (result (option $message) (error $error)))))
    (export "publish" (func (param "message" $outgoing) (result (result (error $error)))))
    (export "publish-all" (func (param "messages" (list $outgoing))
      (result (result (list (result (error $failure))) (error string)))))
    (export "subscribe" (func (param "pattern" string) (param "queue" (option string))
      (result (result (own $subscription) (error $error)))))
    (export "acknowledge" (func (param "token" u64) (result (result (error $error)))))))
  (alias export $bus "subscription" (type $subscription))
  (core func $line (canon lower (func $log "line") (memory $memory)))
  (core func $next (canon lower (func $bus "[method]subscription.next") (memory $memory) (realloc $realloc)))
  (core func $publish (canon lower (func $bus "publish") (memory $memory) (realloc $realloc)))
  (core func $publish-all (canon lower (func $bus "publish-all") (memory $memory) (realloc $realloc)))
  (core func $subscribe (canon lower (func $bus "subscribe") (memory $memory) (realloc $realloc)))
  (core func $acknowledge (canon lower (func $bus "acknowledge") (memory $memory) (realloc $realloc)))
  (core func $drop (canon resource.drop $subscription))
"#;
const GIVEN: &str = r#"
    (export "line" (func $line)) (export "next" (func $next)) (export "publish" (func $publish))
    (export "publish-all" (func $publish-all)) (export "subscribe" (func $subscribe))
    (export "acknowledge" (func $acknowledge)) (export "drop" (func $drop))
"#;
const TAKEN: &str = r#"
    (import "host" "line" (func $line (param i32 i32 i32)))
    (import "host" "next" (func $next (param i32 i32 i64 i32)))
    (import "host" "publish" (func $publish (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "publish-all" (func $publish-all (param i32 i32 i32)))
    (import "host" "subscribe" (func $subscribe (param i32 i32 i32 i32 i32 i32)))
    (import "host" "acknowledge" (func $acknowledge (param i64 i32)))
    (import "host" "drop" (func $drop (param i32)))
"#;
const MORE: &str = r#"
    (table $table 10 funcref)
    (data (i32.const 704) "$JS.API.X")
    (func $deep (result i32) (i32.add (call $deep) (i32.const 1)))
    ;; A message to the subject `a`, with a list of headers.
    (func $send (param $headers i32) (param $length i32)
      (call $publish (i32.const 160) (i32.const 1) (i32.const 0) (i32.const 0) (local.get $headers) (local.get $length)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512)))
    ;; A subscription's handle.
    (func $held (result i32)
      (call $subscribe (i32.const 160) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
      (i32.load (i32.const 516)))
"#;

impl Text<'_> {
    /// With the log and the bus at hand, in functions that ask for nothing.
    pub fn armed() -> Self {
        Self { imports: IMPORTS, given: GIVEN, taken: TAKEN, more: MORE, ..Self::default() }
    }
}

/// All of them, with holes.
const COMPONENT: &str = include_str!("component_text.wat");

/// The text of a component.
fn text(holes: Text<'_>, scenarios: &str, thresholds: &str) -> String {
    let options = format!(
        r#"{{ "functions": ["good", "bad"], "ops": ["ask"], "scenarios": {{ {scenarios} }},
            "thresholds": {{ {thresholds} }} }}"#
    );
    let Text { imports, given, taken, more, describe, setup, init, teardown, bad } = holes;
    let context = "(param i32 i64 i32 i32 i32 i32 i32 i32) (result i32)";
    let length = options.len();
    let options = bytes(&options);
    let length = length.to_string();
    let holes = [
        ("{imports}", imports),
        ("{given}", given),
        ("{taken}", taken),
        ("{more}", more),
        ("{describe}", describe),
        ("{setup}", setup),
        ("{init}", init),
        ("{teardown}", teardown),
        ("{bad}", bad),
        ("{context}", context),
        ("{options}", &options),
        ("{length}", &length),
    ];
    holes.iter().fold(COMPONENT.to_owned(), |text, (hole, what)| text.replace(hole, what))
}

/// Bytes as WebAssembly text writes them.
fn bytes(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        let _ = write!(escaped, "\\{byte:02x}");
        escaped
    })
}

/// A component.
///
/// # Panics
/// As [`component_with`].
pub fn component(holes: Text<'_>) -> Vec<u8> {
    component_with(holes, SCENARIOS, "")
}

/// A component with scenarios and thresholds of its own, each the inside of an object of JSON.
///
/// # Panics
/// If what was put into the holes is no WebAssembly text.
pub fn component_with(holes: Text<'_>, scenarios: &str, thresholds: &str) -> Vec<u8> {
    let text = text(holes, scenarios, thresholds);
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
