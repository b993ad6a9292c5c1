//! The house rules that a reader would otherwise have to remember.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use wavetank_tests::command::repository;

/// The rooms, in the order of `lib.rs`: each names only those before it.
const ROOMS: &[&str] = &[
    "clock",
    "digest",
    "diagnostic",
    "metric",
    "plan",
    "verdict",
    "primitive",
    "target",
    "workload",
    "executor",
    "run",
    "record",
    "report",
    "cli",
];

/// Rooms of one kind: neither names the other.
const SIBLINGS: &[[&str; 2]] = &[["target", "primitive"]];

/// Crates that only one place may name: (crate, where).
const KEPT_CRATES: &[(&str, &[&str])] = &[
    ("wasmtime", &["workload/component/"]),
    ("wasmtime_wasi", &["workload/component/"]),
    ("wit_component", &["workload/component/encode"]),
    ("wit_parser", &["workload/component/encode"]),
    ("rhai", &["workload/script/"]),
    ("corosensei", &["workload/script/"]),
    ("async_nats", &["primitive/bus/nats"]),
    ("rusqlite", &["primitive/database/sqlite"]),
    ("tokio_postgres", &["primitive/database/postgres"]),
    ("tokio_postgres_rustls", &["primitive/database/postgres/tls"]),
    ("rustls", &["primitive/database/postgres/tls", "cli/registry/connection"]),
    ("rustls_native_certs", &["primitive/database/postgres/tls", "cli/registry/connection"]),
    ("ureq", &["cli/registry/connection"]),
    ("minisign_verify", &["cli/trust"]),
    ("clap", &["cli/"]),
    ("anyhow", &["cli/"]),
    ("annotate_snippets", &["cli/"]),
    ("indicatif", &["cli/"]),
    ("anstream", &["cli/"]),
];

/// Names of bags.
const BAGS: &[&str] = &[
    "util", "utils", "common", "core", "shared", "helper", "helpers", "misc", "base", "types",
    "manager", "handler", "prelude",
];

const LONGEST_FILE: usize = 800;

#[test]
fn a_room_names_only_rooms_above_it() {
    let mut faults = Vec::new();
    for (path, text) in house() {
        let room = room_of(&path);
        let Some(own) = ROOMS.iter().position(|name| *name == room) else {
            if !matches!(room, "lib" | "main") {
                faults.push(format!("{path}: no such room in the map"));
            }
            continue;
        };
        for (number, line) in code_lines(&text) {
            let below = ROOMS.iter().enumerate().filter(|(index, name)| {
                *index > own || SIBLINGS.iter().any(|pair| pair[0] == room && pair[1] == **name)
            });
            for (index, name) in below {
                let direct = line.contains(&format!("crate::{name}::"))
                    || line.contains(&format!("crate::{name};"));
                if direct {
                    faults.push(format!(
                        "{path}:{number}: `{room}` names `{name}` ({index} > {own})"
                    ));
                }
            }
        }
        // `use crate::{ … room::…` over several lines.
        for (number, name) in grouped_imports(&text) {
            if ROOMS.iter().position(|room| *room == name).is_some_and(|index| index > own) {
                faults.push(format!("{path}:{number}: `{room}` names `{name}`"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_crate_is_named_only_where_it_lives() {
    let mut faults = Vec::new();
    for (path, text) in house() {
        for (number, line) in code_lines(&text) {
            for (name, places) in KEPT_CRATES {
                let named =
                    line.contains(&format!("{name}::")) || line.contains(&format!("use {name};"));
                let whole = line.match_indices(name).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                });
                if named && whole && !places.iter().any(|place| path.starts_with(place)) {
                    faults.push(format!("{path}:{number}: `{name}` belongs in {places:?}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_open_with_what_they_are_and_stay_readable() {
    let mut faults = Vec::new();
    for path in tracked(".rs") {
        let text = fs::read_to_string(repository().join(&path)).expect("a tracked file");
        if !text.starts_with("//!") {
            faults.push(format!("{path}: does not open with `//!`"));
        }
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            faults.push(format!("{path}: {lines} lines; is it still one room?"));
        }
        let stem = Path::new(&path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if BAGS.contains(&stem) {
            faults.push(format!("{path}: `{stem}` is the name of a bag"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_map_shows_every_room() {
    let map = fs::read_to_string(repository().join("host/src/lib.rs")).expect("lib.rs");
    let on_map: BTreeSet<_> =
        ROOMS.iter().filter(|room| map.contains(&format!("[`{room}`]"))).collect();
    assert_eq!(on_map.len(), ROOMS.len(), "on the map: {on_map:?}");
    let built: BTreeSet<String> =
        house().iter().map(|(path, _)| room_of(path).to_owned()).collect();
    let missing: Vec<_> = ROOMS.iter().filter(|room| !built.contains(**room)).collect();
    assert!(missing.is_empty(), "rooms without a file: {missing:?}");
}

#[test]
fn no_file_names_a_registry_or_a_machine() {
    // Assembled here, so that this file does not hold them either.
    let hosts = [["crates", "io"], ["pypi", "org"], ["npmjs", "org"], ["deb.debian", "org"]];
    let mut words: Vec<String> = hosts.iter().map(|[a, b]| format!("//{a}.{b}")).collect();
    words.extend(hosts.iter().map(|[a, b]| format!("index.{a}.{b}")));
    words.push(["/work", "main"].join("/"));
    words.push(["/root", ".cargo"].join("/"));
    let mut faults = Vec::new();
    for path in tracked("") {
        if path == "Cargo.lock" {
            continue;
        }
        let Ok(text) = fs::read_to_string(repository().join(&path)) else { continue };
        faults.extend(
            words.iter().filter(|word| text.contains(*word)).map(|word| format!("{path}: {word}")),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The host's sources: path below `host/src`, text.
fn house() -> Vec<(String, String)> {
    tracked(".rs")
        .into_iter()
        .filter_map(|path| {
            let short = path.strip_prefix("host/src/")?.to_owned();
            Some((short, fs::read_to_string(repository().join(&path)).expect("a tracked file")))
        })
        .collect()
}

fn room_of(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// Lines that are not comments, with their numbers.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The first names in `use crate::{…}` groups, with the line of the group.
fn grouped_imports(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::{") {
        let number = text[..at].matches('\n').count() + 1;
        let body = &text[at + "crate::{".len()..];
        let (mut depth, mut word, mut fresh) = (0_i32, String::new(), true);
        for character in body.chars() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                c if depth == 0 && fresh && (c.is_alphanumeric() || c == '_') => word.push(c),
                c if c.is_whitespace() => {}
                _ if depth == 0 && fresh => fresh = false,
                _ => {}
            }
            if (!fresh || character == ',') && !word.is_empty() {
                found.push((number, std::mem::take(&mut word)));
            }
        }
        if !word.is_empty() {
            found.push((number, word));
        }
    }
    found
}

/// Files that git tracks (or would), below the root, with this ending.
fn tracked(ending: &str) -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(repository())
        .output()
        .expect("git lists files");
    assert!(output.status.success(), "git ls-files: {output:?}");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|path| path.ends_with(ending) && repository().join(path).exists())
        .map(str::to_owned)
        .collect()
}
