//! A component of a core module, for languages whose own tools make no more than that.
//!
//! The module's imports and exports bear the names that bindings made from the same contract give them;
//! what it does not import, the component does not either.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::World;
use crate::diagnostic::Diagnostic;

/// Makes a component for a world of the contract in a folder of WIT files.
pub fn encode(mut module: Vec<u8>, contract: &Path, world: World) -> Result<Vec<u8>, Diagnostic> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Diagnostic::new(format!("{what}: {error:#}"))
            .help("keep `wit` and `bindings` as `wavetank plugin new` wrote them")
    };
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_dir(contract)
        .map_err(|error| failed("the contract in `wit` cannot be read", &error))?;
    let world = resolve
        .select_world(&[package], Some(world.name()))
        .map_err(|error| failed("the contract has no such world", &error))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| failed("the module cannot be given its world", &error))?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| failed("no component can be made of the module", &error))
}
