//! The Rhai engine of a shard: what a script may use, and how much of it.
//!
//! One engine per thread, because Rhai without its `sync` feature is not shared between threads (and
//! is faster so). Everything that could block the thread, read a file, run for ever or allocate
//! without bound is taken away or bounded here.

use std::rc::Rc;

use rhai::{Engine, OptimizationLevel, packages::Package, packages::StandardPackage};

use super::{resolver::Resolver, session::Current, surface};
use crate::plan::Limits;

/// Nesting of expressions, at the top level and in functions: each level costs native stack while
/// parsing and while running.
const EXPRESSION_DEPTH: usize = 48;

/// Variables of one scope.
const VARIABLES: usize = 4_096;

/// Functions of one file.
const FUNCTIONS: usize = 4_096;

/// Imports of one script.
const MODULES: usize = 64;

/// An engine with our surface. `optimise` off keeps map literals as they were written.
pub fn engine(
    limits: &Limits,
    current: &Rc<Current>,
    resolver: Resolver,
    host: &surface::Loading,
    optimise: bool,
) -> Engine {
    let mut engine = Engine::new_raw();
    StandardPackage::new().register_into_engine(&mut engine);
    bound(&mut engine, limits);
    engine.set_optimization_level(if optimise {
        OptimizationLevel::Simple
    } else {
        OptimizationLevel::None
    });
    engine.disable_symbol("eval");
    engine.set_module_resolver(resolver);
    let progress = current.clone();
    engine.on_progress(move |_| progress.progress());
    surface::register(&mut engine, current, host);
    engine
}

fn bound(engine: &mut Engine, limits: &Limits) {
    let collection = usize::try_from(limits.script_collection).unwrap_or(usize::MAX);
    engine.set_max_operations(limits.script_operations);
    engine.set_max_call_levels(limits.script_call_levels as usize);
    engine.set_max_expr_depths(EXPRESSION_DEPTH, EXPRESSION_DEPTH);
    engine.set_max_string_size(usize::try_from(limits.script_string).unwrap_or(usize::MAX));
    engine.set_max_array_size(collection);
    engine.set_max_map_size(collection);
    engine.set_max_variables(VARIABLES);
    engine.set_max_functions(FUNCTIONS);
    engine.set_max_modules(MODULES);
}
