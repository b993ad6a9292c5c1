//! Whether a component is one of ours, by its imports and exports: world, version, and nothing that it
//! may not have. A refusal names the import and says how to build without it.

use wasmtime::{
    Engine,
    component::{Component, types::ComponentItem},
};

use crate::diagnostic::Diagnostic;

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// It has virtual users.
    Workload,
    /// It answers messages.
    Service,
}

impl World {
    /// As it is written in `sdk/wit`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Service => "service",
        }
    }
}

/// A component's side of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Which world it is for.
    pub world: World,
    /// Version of `wavetank:workload` it was built against.
    pub version: String,
    /// Its imports, as they are named.
    pub imports: Vec<String>,
    /// Those of which it can call something. Of an interface may be imported no more than its types.
    pub called: Vec<String>,
}

/// WASI interfaces that are linked, all of them inert.
const INERT: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];

/// Our interfaces, with what they mean to someone who reads `inspect`.
const OURS: &[(&str, &str)] = &[
    ("types", ""),
    ("bus", "sends and receives messages"),
    ("database", "uses the database"),
    ("timing", "reads the run's clock and sleeps"),
    ("target", "starts and stops targets"),
    ("metrics", "records checks and metrics"),
    ("random", "draws seeded random numbers"),
    ("log", "writes to the run's log"),
];

const PACKAGE: &str = "wavetank:workload/";

/// Reads a compiled component's contract, or says why it is refused.
pub(super) fn read(engine: &Engine, component: &Component) -> Result<Contract, Diagnostic> {
    let kind = component.component_type();
    let imports: Vec<String> = kind.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let called = kind.imports(engine).filter(|(_, import)| has_functions(engine, &import.ty));
    let called = called.map(|(name, _)| name.to_owned()).collect();
    let exports: Vec<String> = kind.exports(engine).map(|(name, _)| name.to_owned()).collect();
    let version = check_imports(&imports)?;
    let world = world(&exports)?;
    let Some(version) = version else {
        return Err(Diagnostic::new(format!(
            "the component does not import `{PACKAGE}types`: it is not built for this contract"
        ))
        .help("build it with the `wavetank-sdk` crate, or from `sdk/wit`"));
    };
    Ok(Contract { world, version, imports, called })
}

fn has_functions(engine: &Engine, import: &ComponentItem) -> bool {
    match import {
        ComponentItem::ComponentFunc(_) => true,
        ComponentItem::ComponentInstance(interface) => interface
            .exports(engine)
            .any(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_))),
        _ => false,
    }
}

fn world(exports: &[String]) -> Result<World, Diagnostic> {
    let has = |names: &[&str]| names.iter().all(|name| exports.iter().any(|known| known == name));
    if has(&["describe", "setup", "init", "iterate", "teardown"]) {
        return Ok(World::Workload);
    }
    if has(&["describe", "start", "handle", "stop"]) {
        return Ok(World::Service);
    }
    let what = if exports.iter().any(|name| name.starts_with("wasi:cli/run")) {
        "the component is a program (it exports `wasi:cli/run`), not a workload".to_owned()
    } else if exports.iter().any(|name| name.starts_with("wasi:http/")) {
        "the component is an HTTP handler, not a workload".to_owned()
    } else if exports.is_empty() {
        "the component exports nothing".to_owned()
    } else {
        format!("the component is for another world: it exports {}", listed(exports))
    };
    Err(Diagnostic::new(what).help(
        "a workload exports describe, setup, init, iterate and teardown, a service describe, start, \
         handle and stop: implement `Workload` or `Service` of the `wavetank-sdk` crate",
    ))
}

fn listed(names: &[String]) -> String {
    let shown: Vec<_> =
        names.iter().take(8).map(|name| format!("`{}`", name.escape_debug())).collect();
    let more = if names.len() > 8 { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// The version of our package that is imported; an error for what may not be.
fn check_imports(imports: &[String]) -> Result<Option<String>, Diagnostic> {
    let mut found: Option<String> = None;
    for import in imports {
        let (interface, version) = import.split_once('@').unwrap_or((import, ""));
        if let Some(name) = interface.strip_prefix(PACKAGE) {
            if !is_in_line(version) {
                return Err(Diagnostic::new(format!(
                    "the component was built against `wavetank:workload@{}`; this host speaks 0.1",
                    version.escape_debug()
                ))
                .help(
                    "build it against the contract of this host (`wavetank plugin new` writes it beside a \
                     new plugin), or use the host it was built for",
                ));
            }
            if !OURS.iter().any(|(known, _)| *known == name) {
                return Err(
                    refused(import).help("this host is older than the component: update it")
                );
            }
            found.get_or_insert_with(|| version.to_owned());
        } else if !(INERT.contains(&interface) && version.starts_with("0.2.")) {
            return Err(refused(import).help(advice(interface, version)));
        }
    }
    Ok(found)
}

/// The name of one of our interfaces, without package and version; `None` for any other import.
pub(super) fn interface(import: &str) -> Option<&str> {
    import.strip_prefix(PACKAGE)?.split('@').next()
}

/// Whether a version belongs to the 0.1 line.
fn is_in_line(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']);
    parts.next() == Some("0") && parts.next() == Some("1")
}

fn refused(import: &str) -> Diagnostic {
    Diagnostic::new(format!(
        "the component imports `{}`, which no workload gets",
        import.escape_debug()
    ))
}

fn advice(interface: &str, version: &str) -> &'static str {
    let (package, _) = interface.split_once('/').unwrap_or((interface, ""));
    match package {
        "wasi:filesystem" => {
            "Rust: build it without `std::fs`, and take what it needs as parameters (`-p`), from `setup`'s \
             data, or with `include_str!`; JavaScript and Python: `wavetank plugin build`, which gives their \
             tools `--stub-wasi`"
        }
        "wasi:sockets" => {
            "build it without `std::net`: a workload talks through `wavetank_sdk::bus` and `database`, \
             so that the host can time it; JavaScript and Python: `wavetank plugin build`, which gives \
             their tools `--stub-wasi`"
        }
        "wasi:http" => {
            "build it without an HTTP client: a workload talks through the bus; JavaScript: \
             `wavetank plugin build`, whose tool has none"
        }
        _ if version.starts_with("0.3") => {
            "it was built for WASI 0.3, whose calls are asynchronous: build it for WASI 0.2 with \
             synchronous functions (JavaScript: `wavetank plugin build`, which gives its tool `--sync`)"
        }
        _ => {
            "build it with the `wavetank-sdk` crate for `wasm32-wasip2`; a workload gets the interfaces \
             of `wavetank:workload`, and of WASI 0.2 only cli, io, clocks and random"
        }
    }
}

/// What a compiler's refusal means, where its words are for those who know the component model.
pub(super) fn explain(error: &wasmtime::Error) -> Diagnostic {
    let text = format!("{error:#}");
    let diagnostic = Diagnostic::new(format!("the component is not valid: {text}"));
    if text.contains("async") {
        return diagnostic.help(
            "it uses the asynchronous component model, which workloads do not: build it with \
             synchronous functions (JavaScript: `wavetank plugin build`, which gives its tool `--sync`; \
             Rust: no `async: true`)",
        );
    }
    diagnostic
        .help("build or copy it again, with the `wasm32-wasip2` target of a current toolchain")
}

impl Contract {
    /// Whether it can call one of our interfaces, by its short name.
    pub fn asks_for(&self, name: &str) -> bool {
        self.called.iter().any(|import| interface(import) == Some(name))
    }

    /// Its imports in words, for `inspect`: what it may do if it is granted.
    pub fn in_words(&self) -> Vec<&'static str> {
        let mut words: Vec<_> = self
            .called
            .iter()
            .filter_map(|import| import.strip_prefix(PACKAGE))
            .filter_map(|import| import.split('@').next())
            .filter_map(|name| OURS.iter().find(|(known, _)| *known == name))
            .map(|(_, words)| *words)
            .filter(|words| !words.is_empty())
            .collect();
        if self.imports.iter().any(|import| import.starts_with("wasi:")) {
            words.push(
                "has a clock, hashing seeds and an output that the run provides (inert WASI)",
            );
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(names: &[&str]) -> Result<Option<String>, Diagnostic> {
        check_imports(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_line_0_1_is_accepted_and_no_other() {
        for good in ["wavetank:workload/types@0.1.0", "wavetank:workload/bus@0.1.7"] {
            assert!(imports(&[good]).unwrap().is_some(), "{good}");
        }
        for bad in [
            "wavetank:workload/types@0.2.0",
            "wavetank:workload/types@1.0.0",
            "wavetank:workload/types@0.10.0",
            "wavetank:workload/types",
        ] {
            assert!(imports(&[bad]).unwrap_err().message.contains("speaks 0.1"), "{bad}");
        }
    }

    #[test]
    fn a_refused_import_is_named_with_what_to_do() {
        for (import, help) in [
            ("wasi:filesystem/types@0.2.6", "std::fs"),
            ("wasi:sockets/tcp@0.2.0", "std::net"),
            ("wasi:http/outgoing-handler@0.2.0", "HTTP"),
            ("wasi:cli/stdout@0.3.0", "--sync"),
            ("wasi:keyvalue/store@0.2.0", "wavetank-sdk"),
            ("wavetank:workload/teleport@0.1.9", "older"),
            ("env", "wavetank-sdk"),
        ] {
            let refusal = imports(&[import]).unwrap_err();
            assert!(refusal.message.contains(import), "{}", refusal.message);
            assert!(refusal.help.unwrap().contains(help), "{import}");
        }
    }

    #[test]
    fn another_world_is_called_what_it_is() {
        let world = |names: &[&str]| {
            world(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            world(&["describe", "setup", "init", "iterate", "teardown"]).unwrap(),
            World::Workload
        );
        assert_eq!(world(&["describe", "start", "handle", "stop"]).unwrap(), World::Service);
        assert!(world(&["wasi:cli/run@0.2.0"]).unwrap_err().message.contains("program"));
        assert!(world(&[]).unwrap_err().message.contains("nothing"));
        assert!(world(&["draw"]).unwrap_err().message.contains("`draw`"));
    }
}
