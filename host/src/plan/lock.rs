//! A lock: the files that a suite, or a workload, was made of when it was locked, byte for byte.
//!
//! ```toml
//! version = 1
//!
//! [suite]                                  # none where a workload alone was locked
//! source = "suite.toml"
//! digest = "sha256:…"
//!
//! [[plugins]]
//! name = "stats-queries"
//! version = "0.1.0"
//! source = "plugin:stats-queries"          # as the suite names it; or `oci://…`
//! digest = "sha256:…"                      # of the component
//! world = "workload"
//! imports = ["wavetank:workload/bus@0.1.0"]
//!
//! [[scripts]]
//! source = "r2-stats.rhai"
//! digest = "sha256:…"                      # with everything that it imports
//! ```

use std::fmt::Write;

use super::{
    document,
    section::{Item, Section},
};
use crate::{diagnostic::Diagnostic, digest::is_digest};

/// The version of this format.
const VERSION: u64 = 1;

/// What was locked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// The suite file itself, if it is one of a suite.
    pub suite: Option<Locked>,
    /// Components.
    pub plugins: Vec<LockedPlugin>,
    /// Scripts.
    pub scripts: Vec<Locked>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// What it is called where it is used.
    pub source: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
}

/// A component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPlugin {
    /// What it calls itself.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file.
    pub file: Locked,
    /// `workload` or `service`.
    pub world: String,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
}

/// The only file that may be loaded under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// What it is that was locked: for a message.
    pub what: String,
    /// How it is locked anew: for a message.
    pub anew: String,
}

impl Pin {
    /// A digest of which nothing else is known.
    pub fn alone(digest: &str) -> Self {
        let anew = "`wavetank plugin lock`".to_owned();
        Self { digest: digest.to_owned(), what: "what was locked".to_owned(), anew }
    }
}

impl Lock {
    /// Reads a lock. `origin` is what errors call it: its file.
    pub fn read(text: &str, origin: &str) -> Result<Self, Diagnostic> {
        let (value, places) = document::read(text, origin)?;
        let root = Item { value: &value, path: Vec::new(), places: &places };
        let section = root.section("a lock", &["version", "suite", "plugins", "scripts"])?;
        let version = section.require("version", "1")?;
        if version.whole()? != VERSION {
            return Err(version
                .error("this version of the format is not known")
                .help(format!("it is {VERSION}: lock it anew with `wavetank plugin lock`")));
        }
        Ok(Self {
            suite: section.get("suite").map(|item| locked(&item)).transpose()?,
            plugins: list(&section, "plugins", plugin)?,
            scripts: list(&section, "scripts", locked)?,
        })
    }

    /// What a workload or service must be, as it is named; `None` for one that was not locked. `anew` says
    /// how the lock is written.
    pub fn pin(&self, source: &str, anew: &str) -> Option<Pin> {
        let pin = |file: &Locked, what: String| {
            Some(Pin { digest: file.digest.clone(), what, anew: anew.to_owned() })
        };
        if let Some(plugin) = self.plugins.iter().find(|plugin| plugin.file.source == source) {
            return pin(&plugin.file, format!("{} {}", plugin.name, plugin.version));
        }
        let script = self.scripts.iter().find(|script| script.source == source)?;
        pin(script, "the script, with what it imports".to_owned())
    }

    /// The lock as its file's text: the same for the same files, in whatever order they were found.
    pub fn render(&self) -> String {
        let mut text = String::from(
            "# Written by `wavetank plugin lock`: what `--locked` lets run, byte for byte.\n",
        );
        // Writing to a string cannot fail.
        let _ = writeln!(text, "version = {VERSION}");
        if let Some(suite) = &self.suite {
            text.push_str("\n[suite]\n");
            file(&mut text, suite);
        }
        let mut plugins: Vec<_> = self.plugins.iter().collect();
        plugins.sort_by(|one, other| one.file.source.cmp(&other.file.source));
        for plugin in plugins {
            let LockedPlugin { name, version, file: own, world, imports } = plugin;
            let _ = write!(text, "\n[[plugins]]\nname = {}\n", quoted(name));
            let _ = writeln!(text, "version = {}", quoted(version));
            file(&mut text, own);
            let _ = writeln!(text, "world = {}", quoted(world));
            let lines: Vec<_> = imports.iter().map(|it| format!("\n    {},", quoted(it))).collect();
            let _ = writeln!(text, "imports = [{}\n]", lines.concat());
        }
        let mut scripts: Vec<_> = self.scripts.iter().collect();
        scripts.sort_by(|one, other| one.source.cmp(&other.source));
        for script in scripts {
            text.push_str("\n[[scripts]]\n");
            file(&mut text, script);
        }
        text
    }
}

fn file(text: &mut String, file: &Locked) {
    let _ = writeln!(text, "source = {}", quoted(&file.source));
    let _ = writeln!(text, "digest = {}", quoted(&file.digest));
}

/// A basic string: of what JSON escapes, TOML escapes the same in the same way, but for one character.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn list<T>(
    section: &Section<'_>,
    key: &str,
    read: impl Fn(&Item<'_>) -> Result<T, Diagnostic>,
) -> Result<Vec<T>, Diagnostic> {
    let Some(item) = section.get(key) else { return Ok(Vec::new()) };
    item.array()?.iter().map(read).collect()
}

fn locked(item: &Item<'_>) -> Result<Locked, Diagnostic> {
    own(&item.section("a locked file", &["source", "digest"])?)
}

fn plugin(item: &Item<'_>) -> Result<LockedPlugin, Diagnostic> {
    let keys = ["name", "version", "source", "digest", "world", "imports"];
    let section = item.section("a locked plugin", &keys)?;
    let text = |key| section.require(key, "\"…\"")?.string().map(str::to_owned);
    let imports = section.require("imports", "[]")?.array()?;
    let imports = imports.iter().map(|item| item.string().map(str::to_owned));
    Ok(LockedPlugin {
        name: text("name")?,
        version: text("version")?,
        file: own(&section)?,
        world: text("world")?,
        imports: imports.collect::<Result<_, _>>()?,
    })
}

fn own(section: &Section<'_>) -> Result<Locked, Diagnostic> {
    let digest = section.require("digest", "\"sha256:…\"")?;
    let text = digest.string()?;
    if !is_digest(text) {
        return Err(digest.error("this is no digest").help(
            "it is `sha256:` and 64 hexadecimal digits: lock it anew with `wavetank plugin lock`",
        ));
    }
    let source = section.require("source", "\"plugin:NAME\"")?.string()?.to_owned();
    Ok(Locked { source, digest: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    fn one(source: &str, digit: char) -> Locked {
        Locked { source: source.to_owned(), digest: digest(digit) }
    }

    fn lock() -> Lock {
        Lock {
            suite: Some(one("suite.toml", 'a')),
            plugins: vec![LockedPlugin {
                name: "spike".to_owned(),
                version: "0.1.0".to_owned(),
                file: one("plugin:spike", 'b'),
                world: "workload".to_owned(),
                imports: vec!["wavetank:workload/bus@0.1.0".to_owned()],
            }],
            scripts: vec![one("first.rhai", 'c')],
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_found_by_its_name() {
        let read = Lock::read(&lock().render(), "suite.lock").unwrap();
        assert_eq!(read, lock());
        let found = |source| read.pin(source, "anew").map(|pin| (pin.digest, pin.what));
        assert_eq!(found("plugin:spike"), Some((digest('b'), "spike 0.1.0".to_owned())));
        assert_eq!(found("first.rhai").unwrap().0, digest('c'));
        assert_eq!(found("suite.toml"), None, "the suite is no workload");
        let mut turned = lock();
        turned.scripts.insert(0, one("second.rhai", 'd'));
        let mut straight = lock();
        straight.scripts.push(one("second.rhai", 'd'));
        assert_eq!(turned.render(), straight.render());
    }

    #[test]
    fn what_is_no_lock_is_refused_where_it_is_wrong() {
        let good = lock().render();
        for (from, to, says) in [
            ("version = 1\n", "version = 2\n", "this version of the format is not known"),
            ("version = 1\n", "", "version"),
            (digest('b').as_str(), "sha256:b", "this is no digest"),
            (digest('b').as_str(), &digest('B'), "this is no digest"),
            ("world", "word", "word"),
            ("[suite]", "[suit]", "`suit`"),
            ("imports = [", "import = [", "`import`"),
        ] {
            let wrong = good.replacen(from, to, 1);
            assert_ne!(wrong, good);
            let error = Lock::read(&wrong, "suite.lock").unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_name_survives(name in "\\PC*|[\\x00-\\x7f]*") {
            let mut lock = lock();
            lock.scripts[0].source.clone_from(&name);
            lock.plugins[0].name = name;
            prop_assert_eq!(Lock::read(&lock.render(), "x.lock").unwrap(), lock);
        }
    }
}
