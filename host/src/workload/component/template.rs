//! What `wavetank plugin new` writes: a plugin that builds and passes as it is, with the contract and a
//! small layer of its language beside it, so that nothing is fetched but its language's own packages.

mod rust;

use super::World;

/// A file of a new plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where, from the plugin's folder.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// What plugins are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, with the SDK.
    Rust,
    /// JavaScript, by componentize-qjs.
    JavaScript,
    /// C, by clang.
    C,
    /// Python, by componentize-py.
    Python,
}

/// The contract.
pub const WIT: &[(&str, &str)] = &[
    ("bus.wit", include_str!("../../../../sdk/wit/bus.wit")),
    ("database.wit", include_str!("../../../../sdk/wit/database.wit")),
    ("log.wit", include_str!("../../../../sdk/wit/log.wit")),
    ("metrics.wit", include_str!("../../../../sdk/wit/metrics.wit")),
    ("random.wit", include_str!("../../../../sdk/wit/random.wit")),
    ("target.wit", include_str!("../../../../sdk/wit/target.wit")),
    ("timing.wit", include_str!("../../../../sdk/wit/timing.wit")),
    ("types.wit", include_str!("../../../../sdk/wit/types.wit")),
    ("worlds.wit", include_str!("../../../../sdk/wit/worlds.wit")),
];

/// A file of a template: where it goes, what is in it.
macro_rules! asset {
    ($path:literal, $file:literal) => {
        ($path, include_str!(concat!("../../../assets/plugins/", $file)))
    };
}

const JAVASCRIPT: &[(&str, &str)] = &[
    asset!(".gitignore", "javascript/ignored"),
    asset!("package.json", "javascript/package.json"),
    asset!("prelude.js", "javascript/prelude.js"),
    asset!("wavetank.js", "javascript/wavetank.js"),
];

const PYTHON: &[(&str, &str)] = &[
    asset!(".gitignore", "python/ignored"),
    asset!("prelude.py", "python/prelude.py"),
    asset!("pyproject.toml", "python/pyproject.toml"),
    asset!("requirements.txt", "python/requirements.txt"),
    asset!("wavetank.py", "python/wavetank.py"),
];

const C: &[(&str, &str)] = &[
    asset!(".gitignore", "c/ignored"),
    asset!("include/stdlib.h", "c/include/stdlib.h"),
    asset!("include/string.h", "c/include/string.h"),
    asset!("plugin.toml", "c/plugin.toml"),
    asset!("wavetank.c", "c/wavetank.c"),
    asset!("wavetank.h", "c/wavetank.h"),
];

const C_WORKLOAD: &[(&str, &str)] = &[
    asset!("bindings/contract.c", "c/bindings/workload/contract.c"),
    asset!("bindings/contract.h", "c/bindings/workload/contract.h"),
    asset!("plugin.c", "c/workload.c"),
    asset!("world.c", "c/world-workload.c"),
    asset!("world.h", "c/world-workload.h"),
];

const C_SERVICE: &[(&str, &str)] = &[
    asset!("bindings/contract.c", "c/bindings/service/contract.c"),
    asset!("bindings/contract.h", "c/bindings/service/contract.h"),
    asset!("plugin.c", "c/service.c"),
    asset!("world.c", "c/world-service.c"),
    asset!("world.h", "c/world-service.h"),
];

/// The files of a new plugin.
pub fn plugin(language: Language, name: &str, world: World) -> Vec<File> {
    let (files, own) = match (language, world) {
        (Language::Rust, _) => return rust::files(name, world),
        (Language::JavaScript, World::Workload) => {
            (JAVASCRIPT, &[asset!("plugin.js", "javascript/workload.js")][..])
        }
        (Language::JavaScript, World::Service) => {
            (JAVASCRIPT, &[asset!("plugin.js", "javascript/service.js")][..])
        }
        (Language::Python, World::Workload) => {
            (PYTHON, &[asset!("plugin.py", "python/workload.py")][..])
        }
        (Language::Python, World::Service) => {
            (PYTHON, &[asset!("plugin.py", "python/service.py")][..])
        }
        (Language::C, World::Workload) => (C, C_WORKLOAD),
        (Language::C, World::Service) => (C, C_SERVICE),
    };
    let filled = |text: &str| {
        let text = text.replace("{name}", name).replace("{file}", &name.replace('-', "_"));
        text.replace("{world}", world.name())
    };
    let own = files.iter().chain(own).map(|(path, text)| ((*path).to_owned(), filled(text)));
    let contract = WIT.iter().map(|(path, text)| (format!("wit/{path}"), (*text).to_owned()));
    own.chain(contract).map(|(path, text)| File { path, text }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::digest;

    #[test]
    fn the_bindings_of_c_are_made_from_the_contract_as_it_is() {
        let mut files = WIT.to_vec();
        files.sort_unstable();
        let text: String = files.iter().map(|(_, text)| *text).collect();
        assert_eq!(
            digest(text.as_bytes()),
            include_str!("../../../assets/plugins/c/bindings/made-from").trim(),
            "run host/assets/plugins/c/bindings/make"
        );
    }
}
