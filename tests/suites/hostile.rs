//! One bad virtual user beside nine good ones, in one run of the real command: the bad one ends with the
//! error that is documented for it, the nine go on, and nothing is left behind.
//!
//! Each file holds a table of cases and the run that they are put into. What every case is, what happens
//! to it and which test shows it stands in `tests/HOSTILE.md`; a test here keeps that page in step.

mod backends;
mod components;
mod files;
mod ground;
mod scripts;

use std::{collections::BTreeSet, path::Path};

use wavetank_tests::command::repository;

/// Something bad: what one virtual user does, and what comes of it.
pub struct Case {
    /// As the table in `tests/HOSTILE.md` calls it.
    pub name: &'static str,
    /// What is put into the bad one.
    pub bad: &'static str,
    /// The kind of its errors; empty if it has none.
    pub kind: &'static str,
    /// What the error says.
    pub says: &'static str,
}

/// A case.
const fn case(
    name: &'static str,
    bad: &'static str,
    kind: &'static str,
    says: &'static str,
) -> Case {
    Case { name, bad, kind, says }
}

/// A row of the page.
struct Row {
    name: String,
    test: String,
}

fn rows() -> Vec<Row> {
    let page = std::fs::read_to_string(repository().join("tests/HOSTILE.md")).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| case "));
    rows.map(|line| {
        let cells = cells(line);
        assert_eq!(cells.len(), 4, "{line}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{line}");
        Row { name: cells[0].clone(), test: cells[3].trim_matches('`').to_owned() }
    })
    .collect()
}

/// Whether there is a function of that name in a Rust file of a folder.
fn has_function(folder: &Path, name: &str) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return has_function(&path, name);
        }
        path.extension().is_some_and(|it| it == "rs")
            && std::fs::read_to_string(path).unwrap().contains(&format!("fn {name}("))
    })
}

#[test]
fn the_page_of_cases_is_in_step() {
    let rows = rows();
    let names: BTreeSet<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "a case stands there twice");
    for case in components::CASES.iter().chain(scripts::CASES) {
        assert!(names.contains(case.name), "`{}` is not in tests/HOSTILE.md", case.name);
    }
    for Row { name, test } in &rows {
        let function = test.rsplit("::").next().unwrap();
        let places = ["tests/suites", "host/src"].map(|place| repository().join(place));
        assert!(
            places.iter().any(|place| has_function(place, function)),
            "{name}: there is no test `{test}`"
        );
    }
}
