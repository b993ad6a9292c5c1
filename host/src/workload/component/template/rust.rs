//! A new plugin in Rust, with the SDK beside it.

use super::{File, WIT, World};

const MANIFEST: &str = r#"[package]
name = "{name}"
version = "0.1.0"
description = "What it does, in a line"
authors = []
license = "Apache-2.0"
edition = "2024"
publish = false

[lib]
crate-type = ["cdylib"]

[dependencies]
wavetank-sdk = { path = "sdk" }

[profile.release]
lto = true
codegen-units = 1
strip = true

[workspace]
"#;

const IGNORED: &str = "/target\n/*.wasm\n";

const WORKLOAD: &str = r#"//! What each virtual user does. `wavetank plugin build` makes {name}.wasm of it, and
//! `wavetank run {name}.wasm` runs that.

use wavetank_sdk::{
    Context, Description, Iteration, Json, Result, Workload, check, database::sql, json, random,
};

struct Visitor {
    people: i64,
}

impl Workload for Visitor {
    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
            // What is run, measured and judged, in the words of a script's `options`.
            .options(json!({
                "scenarios": {
                    // One scenario: arrivals at a fixed rate, however slow the system is.
                    "steady": { "executor": "constant-arrival-rate", "rate": 50, "duration": "5s" },
                },
                // Names for operations must be declared.
                "ops": ["visit", "look"],
                // A threshold that is missed, or that has nothing to judge, fails the run.
                "thresholds": {
                    "db_query_duration{op:look}": ["p(95) < 100ms"],
                    "checks": ["rate > 0.99"],
                },
            }))
            // `-p people=10` changes it.
            .parameter("people", 100, "how many people there are")
    }

    // Once before the load; what it returns is `context.data` everywhere else.
    fn setup(_: &Context) -> Result<Json> {
        sql("CREATE TABLE visits (name TEXT)").execute()??;
        Ok(Json::Null)
    }

    // Once per virtual user, and again after a panic.
    fn init(context: &Context) -> Result<Self> {
        Ok(Self {
            people: context.parameter("people")?,
        })
    }

    // Once per iteration. A failure of the system is data; what `?` throws ends the iteration.
    fn iterate(&mut self, _: &Iteration) -> Result {
        let name = format!("user{}", random::integer(1, self.people));
        let stored = sql("INSERT INTO visits (name) VALUES (?)")
            .value(name.as_str())
            .op("visit")
            .execute()?;
        check("stored", stored.is_ok())?;
        let found = sql("SELECT name FROM visits WHERE name = ? LIMIT 1")
            .value(name)
            .op("look")
            .query()?;
        check("found", found.is_ok_and(|found| found.rows.len() == 1))?;
        Ok(())
    }
}

wavetank_sdk::workload!(Visitor);
"#;

const SERVICE: &str = r#"//! What answers messages. `wavetank plugin build` makes {name}.wasm of it, and
//! `wavetank serve {name}.wasm --bus URL` serves it.

use wavetank_sdk::{Context, Description, Json, Result, Service, bus::Message, json};

struct Greeter {
    greeting: String,
}

impl Service for Greeter {
    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
            // Which subject goes to which handler.
            .options(json!({ "services": { "example.greet": "greet" } }))
            // `-p greeting=hi` changes it.
            .parameter("greeting", "hello", "what is said before the name")
    }

    // Once per instance, before its first message.
    fn start(context: &Context) -> Result<Self> {
        Ok(Self {
            greeting: context.parameter("greeting")?,
        })
    }

    // One message. What it returns is the reply; `None` is no reply.
    fn handle(&mut self, _handler: &str, message: &Message) -> Result<Option<Vec<u8>>> {
        let asked: Json =
            wavetank_sdk::serde_json::from_slice(&message.payload).unwrap_or_default();
        let who = asked["name"].as_str().unwrap_or("stranger");
        let reply = json!({ "text": format!("{}, {who}", self.greeting) });
        Ok(Some(reply.to_string().into_bytes()))
    }
}

wavetank_sdk::service!(Greeter);
"#;

/// The SDK; the contract that it is made from is [`super::WIT`].
const SDK: &[(&str, &str)] = &[
    ("src/bindings.rs", include_str!("../../../../../sdk/src/bindings.rs")),
    ("src/bus.rs", include_str!("../../../../../sdk/src/bus.rs")),
    ("src/database.rs", include_str!("../../../../../sdk/src/database.rs")),
    ("src/guest.rs", include_str!("../../../../../sdk/src/guest.rs")),
    ("src/guide.rs", include_str!("../../../../../sdk/src/guide.rs")),
    ("src/lib.rs", include_str!("../../../../../sdk/src/lib.rs")),
    ("src/random.rs", include_str!("../../../../../sdk/src/random.rs")),
    ("src/target.rs", include_str!("../../../../../sdk/src/target.rs")),
    ("src/time.rs", include_str!("../../../../../sdk/src/time.rs")),
];
const SDK_MANIFEST: &str = include_str!("../../../../../sdk/Cargo.toml");

/// Its files.
pub(super) fn files(name: &str, world: World) -> Vec<File> {
    let own = match world {
        World::Workload => WORKLOAD,
        World::Service => SERVICE,
    };
    let file =
        |path: &str, text: &str| File { path: path.to_owned(), text: text.replace("{name}", name) };
    let mut files =
        vec![file("Cargo.toml", MANIFEST), file(".gitignore", IGNORED), file("src/lib.rs", own)];
    files.push(File { path: "sdk/Cargo.toml".to_owned(), text: sdk_manifest() });
    let beside = SDK.iter().map(|(path, text)| (format!("sdk/{path}"), *text));
    let contract = WIT.iter().map(|(path, text)| (format!("sdk/wit/{path}"), *text));
    files.extend(beside.chain(contract).map(|(path, text)| File { path, text: text.to_owned() }));
    files
}

/// The SDK's manifest, for itself: what it has from its workspace is written out.
fn sdk_manifest() -> String {
    let values = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("edition", "2024"),
        ("rust-version", env!("CARGO_PKG_RUST_VERSION")),
        ("license", env!("CARGO_PKG_LICENSE")),
    ];
    let text = SDK_MANIFEST.replace("[lints]\nworkspace = true\n\n", "");
    let text = text.replace("publish.workspace = true", "publish = false");
    values.iter().fold(text, |text, (key, value)| {
        text.replace(&format!("\n{key}.workspace = true"), &format!("\n{key} = \"{value}\""))
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn the_whole_sdk_is_beside_it_and_asks_for_no_workspace() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk");
        let mut there = BTreeSet::from(["sdk/Cargo.toml".to_owned()]);
        for folder in ["src", "wit"] {
            for entry in fs::read_dir(sdk.join(folder)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                there.insert(format!("sdk/{folder}/{name}"));
            }
        }
        let files = files("first", World::Workload);
        let sdk = files.iter().filter(|file| file.path.starts_with("sdk/"));
        assert_eq!(sdk.map(|file| file.path.clone()).collect::<BTreeSet<_>>(), there);
        let manifest = &files.iter().find(|file| file.path == "sdk/Cargo.toml").unwrap().text;
        assert!(!manifest.contains("workspace"), "{manifest}");
    }
}
