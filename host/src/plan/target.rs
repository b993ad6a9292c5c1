//! What declares a target: a process of the system under test.
//!
//! Declared by a suite file or by a flag, never by a workload. A command is words, never a shell's
//! text: `sh -c '…'` is there for those who want one. A target that the runner did not start may be
//! stopped only with `allow_stop`: it is someone else's.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    quantity::shown,
    section::{Item, Places, Section},
};
use crate::diagnostic::Diagnostic;

/// How long a target may take to be ready, unless it says else.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a target may take to stop, unless it says else.
const GRACE: Duration = Duration::from_secs(10);
/// Characters of a name.
const NAME: usize = 64;
/// Targets of one run.
const MOST: usize = 64;

/// A target, declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetPlan {
    /// What workloads and thresholds call it.
    pub name: String,
    /// Where its process comes from.
    pub source: TargetSource,
    /// It is ready once all of these hold; with none, once it runs.
    pub ready: Vec<Ready>,
    /// How long that may take.
    pub ready_timeout: Duration,
    /// How it is asked to stop.
    pub stop: TargetStop,
    /// Whether it may be stopped although the runner did not start it.
    pub allow_stop: bool,
}

/// Where the process of a target comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetSource {
    /// The runner starts it, and it does not outlive the runner.
    Command {
        /// Program and arguments; `{bus} {db} {run} {dir}` are replaced.
        words: Vec<String>,
        /// Added to the runner's environment, with the same placeholders.
        env: BTreeMap<String, String>,
        /// Where it runs; the runner's directory if it is not given.
        directory: Option<PathBuf>,
    },
    /// It runs already.
    Pid(i32),
    /// It runs already, and its number stands in a file.
    PidFile(PathBuf),
    /// It runs already, and listens on this TCP port.
    Port(u16),
}

/// How a target shows that it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ready {
    /// It answers a request on the run's bus.
    Request {
        /// Where to.
        subject: String,
        /// With what.
        payload: String,
    },
    /// It accepts connections on this TCP port of this machine.
    Port(u16),
    /// It writes a line that contains this, to its standard output or error.
    Line(String),
    /// This command ends well.
    Command(Vec<String>),
}

/// How a target is stopped: a signal to its process group; after the grace it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStop {
    /// Asks it to end.
    pub signal: TargetSignal,
    /// How long it may take.
    pub grace: Duration,
}

impl Default for TargetStop {
    fn default() -> Self {
        Self { signal: TargetSignal::Term, grace: GRACE }
    }
}

/// Signals that ask a process to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TargetSignal {
    /// SIGTERM
    #[default]
    Term,
    /// SIGINT
    Int,
    /// SIGQUIT
    Quit,
    /// SIGHUP
    Hup,
    /// SIGUSR1
    Usr1,
    /// SIGUSR2
    Usr2,
    /// SIGKILL
    Kill,
}

impl TargetSignal {
    const NAMES: [(&str, Self); 7] = [
        ("TERM", Self::Term),
        ("INT", Self::Int),
        ("QUIT", Self::Quit),
        ("HUP", Self::Hup),
        ("USR1", Self::Usr1),
        ("USR2", Self::Usr2),
        ("KILL", Self::Kill),
    ];
}

const KEYS: [&str; 10] = [
    "command",
    "env",
    "directory",
    "pid",
    "pid_file",
    "port",
    "ready",
    "ready_timeout",
    "stop",
    "allow_stop",
];

impl TargetPlan {
    /// Reads `[targets.NAME]` of a suite file.
    pub(super) fn read(name: &str, item: &Item<'_>) -> Result<Self, Diagnostic> {
        check_name(name).map_err(|error| item.error(&error.message).help(NAME_HELP))?;
        let section = item.section("a target", &KEYS)?;
        let source = source(&section)?;
        let ready = section.get("ready").map(|item| readiness(&item)).transpose()?;
        let stop = section.get("stop").map(|item| stopping(&item)).transpose()?;
        let stop_grant = section.boolean("allow_stop")?;
        let target = Self {
            name: name.to_owned(),
            source,
            ready: ready.unwrap_or_default(),
            ready_timeout: section.duration("ready_timeout")?.unwrap_or(READY_TIMEOUT),
            stop: stop.unwrap_or_default(),
            allow_stop: stop_grant.unwrap_or(false),
        };
        if target.is_attached() && target.ready.iter().any(|ready| matches!(ready, Ready::Line(_)))
        {
            let error = item.error("the output of a process that runs already cannot be read");
            return Err(error.help("wait for a port, a request or a command instead of a line"));
        }
        Ok(target)
    }

    /// Reads `--target NAME=COMMAND`, `NAME=pid:N`, `NAME=pidfile:PATH`, `NAME=port:N`, or
    /// `NAME={"command": …}` with everything that a suite file may say, as JSON.
    pub fn from_flag(flag: &str) -> Result<Self, Diagnostic> {
        let form = "write --target NAME=COMMAND, NAME=pid:NUMBER, NAME=pidfile:PATH or \
                    NAME=port:NUMBER";
        let at = |error: Diagnostic| Diagnostic {
            message: format!("--target {}: {}", shown(flag), error.message),
            ..error
        };
        let Some((name, rest)) = flag.split_once('=') else {
            return Err(at(Diagnostic::new("there is no `=`").help(form)));
        };
        check_name(name).map_err(at)?;
        let value = if rest.starts_with("{\"") {
            serde_json::from_str(rest).map_err(|error| {
                at(Diagnostic::new(format!("this is not JSON: {error}")).help(form))
            })?
        } else {
            let (key, value) = match rest.split_once(':') {
                Some(("pid", number)) => ("pid", number_of(number)),
                Some(("port", number)) => ("port", number_of(number)),
                Some(("pidfile", path)) => ("pid_file", Value::from(path)),
                _ => ("command", Value::from(rest)),
            };
            Value::from_iter([(key, value)])
        };
        let places = Places::new();
        Self::read(name, &Item { value: &value, path: Vec::new(), places: &places }).map_err(at)
    }

    /// Checks what targets of one run have to be together.
    pub fn check_all(targets: &[Self]) -> Result<(), Diagnostic> {
        if targets.len() > MOST {
            let message = format!("{} targets are too many", targets.len());
            return Err(Diagnostic::new(message).help(format!("{MOST} at most")));
        }
        for (index, target) in targets.iter().enumerate() {
            if targets.iter().take(index).any(|other| other.name == target.name) {
                let message = format!("there are two targets `{}`", target.name);
                return Err(Diagnostic::new(message).help("give each a name of its own"));
            }
        }
        Ok(())
    }

    /// Whether it ran before the runner did.
    pub const fn is_attached(&self) -> bool {
        !matches!(self.source, TargetSource::Command { .. })
    }

    /// Where it comes from, in a few words.
    pub fn describe(&self) -> String {
        match &self.source {
            TargetSource::Command { words, .. } => words.join(" "),
            TargetSource::Pid(pid) => format!("pid {pid}"),
            TargetSource::PidFile(path) => format!("pid file {}", path.display()),
            TargetSource::Port(port) => format!("port {port}"),
        }
    }
}

/// A number that is not one is kept, for the error that shows it.
fn number_of(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from)
}

const NAME_HELP: &str = "use letters, digits, `_` and `-`, 64 at most";

fn check_name(name: &str) -> Result<(), Diagnostic> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.len() <= NAME && name.chars().all(fits) {
        return Ok(());
    }
    let message = format!("`{}` is not a name of a target", shown(name));
    Err(Diagnostic::new(message).help(NAME_HELP))
}

fn source(section: &Section<'_>) -> Result<TargetSource, Diagnostic> {
    let ways = ["command", "pid", "pid_file", "port"];
    let given: Vec<_> = ways.iter().filter_map(|key| Some((*key, section.get(key)?))).collect();
    let help = "write one of `command`, `pid`, `pid_file` and `port`";
    let [(way, item)] = given.as_slice() else {
        let what = if given.is_empty() { "nothing says" } else { "more than one key says" };
        let message = format!("{what} where the target's process comes from");
        return Err(section.whole().error(message).help(help));
    };
    if *way != "command"
        && let Some(key) = ["env", "directory"].into_iter().find(|key| section.get(key).is_some())
    {
        let message = format!("`{key}` is for a target that has a command");
        return Err(section.whole().error(message).help("it runs already: leave it out"));
    }
    Ok(match *way {
        "command" => TargetSource::Command {
            words: words(item)?,
            env: environment(section)?,
            directory: section.string("directory")?.map(PathBuf::from),
        },
        "pid" => {
            let pid = i32::try_from(item.whole()?).ok().filter(|pid| *pid > 0);
            TargetSource::Pid(pid.ok_or_else(|| {
                item.error(format!("{} is no process", item.value)).help("write its number")
            })?)
        }
        "pid_file" => TargetSource::PidFile(PathBuf::from(item.string()?)),
        _ => TargetSource::Port(port(item)?),
    })
}

fn environment(section: &Section<'_>) -> Result<BTreeMap<String, String>, Diagnostic> {
    let Some(item) = section.get("env") else { return Ok(BTreeMap::new()) };
    let env = item.labels()?;
    let wrong = |(key, value): (&String, &String)| {
        key.is_empty() || key.contains(['=', '\0']) || value.contains('\0')
    };
    if env.iter().any(wrong) {
        let error = item.error("a variable's name is empty or has `=` or NUL in it");
        return Err(error.help("write NAME = \"value\""));
    }
    Ok(env)
}

/// An array of words, or a string that is split as a shell splits it.
fn words(item: &Item<'_>) -> Result<Vec<String>, Diagnostic> {
    let words = match item.value {
        Value::Array(_) => {
            let words = item.array()?;
            words.iter().map(|word| word.string().map(str::to_owned)).collect::<Result<_, _>>()?
        }
        _ => split(item.string()?).ok_or_else(|| {
            let text = shown(item.string().unwrap_or_default());
            item.error(format!("`{text}` ends within quotes")).help("close them")
        })?,
    };
    if words.first().is_none_or(String::is_empty) {
        return Err(item.error("the command is empty").help("name a program"));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(item.error("a word of the command has a NUL in it").help("leave it out"));
    }
    Ok(words)
}

/// Splits a text into words as a shell does: quotes of both kinds and backslashes, nothing else of a
/// shell. `None` if it ends within one.
fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '\'' => break,
                        letter => word.push(letter),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' => match letters.next()? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        letter => word.push(letter),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(letters.next()?),
            space if space.is_ascii_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Some(words)
}

fn port(item: &Item<'_>) -> Result<u16, Diagnostic> {
    let port = u16::try_from(item.whole()?).ok().filter(|port| *port > 0);
    port.ok_or_else(|| item.error(format!("{} is no TCP port", item.value)).help("1 to 65535"))
}

/// One condition, or an array of them, all of which have to hold.
fn readiness(item: &Item<'_>) -> Result<Vec<Ready>, Diagnostic> {
    match item.value {
        Value::Array(_) => item.array()?.iter().map(condition).collect(),
        _ => Ok(vec![condition(item)?]),
    }
}

fn condition(item: &Item<'_>) -> Result<Ready, Diagnostic> {
    let keys = ["request", "payload", "port", "line", "command"];
    let section = item.section("`ready`", &keys)?;
    let ways: Vec<_> = ["request", "port", "line", "command"]
        .into_iter()
        .filter_map(|key| Some((key, section.get(key)?)))
        .collect();
    let [(way, value)] = ways.as_slice() else {
        let error = item.error("one condition is one of request, port, line and command");
        return Err(error.help("for more than one, write an array of conditions"));
    };
    let payload = section.get("payload");
    if *way != "request" && payload.is_some() {
        return Err(item.error("`payload` belongs to a `request`").help("leave it out"));
    }
    Ok(match *way {
        "request" => Ready::Request {
            subject: value.string()?.to_owned(),
            payload: payload.map_or_else(String::new, |payload| match payload.value {
                Value::String(text) => text.clone(),
                json => json.to_string(),
            }),
        },
        "port" => Ready::Port(port(value)?),
        "line" => match value.string()? {
            "" => {
                return Err(value.error("every line contains nothing").help("write a part of one"));
            }
            line => Ready::Line(line.to_owned()),
        },
        _ => Ready::Command(words(value)?),
    })
}

fn stopping(item: &Item<'_>) -> Result<TargetStop, Diagnostic> {
    let section = item.section("`stop`", &["signal", "grace"])?;
    Ok(TargetStop {
        signal: section.choice("signal", &TargetSignal::NAMES)?,
        grace: section.duration("grace")?.unwrap_or(GRACE),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<TargetPlan, Diagnostic> {
        let places = Places::new();
        TargetPlan::read(
            "db",
            &Item { value, path: vec!["targets".into(), "db".into()], places: &places },
        )
    }

    fn complaint(value: Value) -> String {
        let error = read(&value).unwrap_err();
        format!("{}\n{}", error.message, error.help.unwrap_or_default())
    }

    #[test]
    fn everything_that_a_target_may_say_is_read() {
        let target = read(&json!({
            "command": "serve --bus {bus} 'a b' \"c \\\" d\" e\\ f",
            "env": { "LEVEL": 3 },
            "directory": "/tmp",
            "ready": [{ "request": "a.health", "payload": { "deep": true } }, { "port": 4222 },
                      { "line": "listening" }, { "command": ["true"] }],
            "ready_timeout": "3s",
            "stop": { "signal": "INT", "grace": "500ms" },
        }))
        .unwrap();
        let TargetSource::Command { words, env, directory } = &target.source else { panic!() };
        assert_eq!(words, &["serve", "--bus", "{bus}", "a b", "c \" d", "e f"]);
        assert_eq!(env["LEVEL"], "3");
        assert_eq!(directory.as_deref(), Some(std::path::Path::new("/tmp")));
        assert_eq!(
            target.ready,
            [
                Ready::Request { subject: "a.health".into(), payload: r#"{"deep":true}"#.into() },
                Ready::Port(4222),
                Ready::Line("listening".into()),
                Ready::Command(vec!["true".into()]),
            ]
        );
        assert_eq!(target.ready_timeout, Duration::from_secs(3));
        assert_eq!(target.stop.signal, TargetSignal::Int);
        assert_eq!(target.stop.grace, Duration::from_millis(500));
        let back: TargetPlan =
            serde_json::from_str(&serde_json::to_string(&target).unwrap()).unwrap();
        assert_eq!(back, target);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write() {
        for (value, words) in [
            (json!({}), "nothing says where"),
            (json!({ "command": "a", "pid": 3 }), "more than one key"),
            (json!({ "comand": "a" }), "did you mean `command`?"),
            (json!({ "command": "a 'b" }), "ends within quotes"),
            (json!({ "command": " " }), "the command is empty"),
            (json!({ "command": [] }), "the command is empty"),
            (json!({ "command": ["a\0b"] }), "NUL"),
            (json!({ "pid": 0 }), "0 is no process"),
            (json!({ "pid": 3, "env": {} }), "`env` is for a target that has a command"),
            (json!({ "pid": 3, "ready": { "line": "x" } }), "cannot be read"),
            (json!({ "port": 70_000 }), "70000 is no TCP port"),
            (json!({ "command": "a", "ready": {} }), "one condition is one of"),
            (json!({ "command": "a", "ready": { "line": "" } }), "every line contains nothing"),
            (json!({ "command": "a", "ready": { "prot": 1 } }), "did you mean `port`?"),
            (json!({ "command": "a", "stop": { "signal": "STOP" } }), "not one of"),
            (json!({ "command": "a", "env": { "A=B": "c" } }), "`=` or NUL"),
        ] {
            let said = complaint(value.clone());
            assert!(said.contains(words), "{value}: {said}");
        }
    }

    #[test]
    fn flags_start_and_attach() {
        let source = |flag: &str| TargetPlan::from_flag(flag).unwrap().source;
        assert_eq!(source("a=pid:12"), TargetSource::Pid(12));
        assert_eq!(source("a=port:4222"), TargetSource::Port(4222));
        assert_eq!(source("a=pidfile:/run/a.pid"), TargetSource::PidFile("/run/a.pid".into()));
        let TargetSource::Command { words, .. } = source("a=sh -c 'x=1; echo $x'") else {
            panic!()
        };
        assert_eq!(words, ["sh", "-c", "x=1; echo $x"]);
        let json = TargetPlan::from_flag(r#"a={"command":"b","ready":{"port":1}}"#).unwrap();
        assert_eq!(json.ready, [Ready::Port(1)]);
        for flag in ["a", "=b", "a b=c", "a=", "a=pid:x", "a=port:0", "a={\"x\"}"] {
            let error = TargetPlan::from_flag(flag).unwrap_err();
            assert!(error.message.starts_with("--target "), "{flag}: {error}");
            assert!(error.help.is_some(), "{flag}: {error}");
        }
        let twice = [TargetPlan::from_flag("a=b").unwrap(), TargetPlan::from_flag("a=c").unwrap()];
        assert!(TargetPlan::check_all(&twice).is_err());
    }
}
