//! What a script can use of the host: modules, words and types, one file each.
//!
//! Every function is registered with its signature and one sentence, so that the checker, the
//! definition files and the reference page are made from what is registered and cannot drift from
//! it. Failures of the system under test are values; misuse is thrown.

mod bus;
mod connection;
mod context;
mod data;
mod database;
mod json;
mod moments;
mod options;
mod reply;
mod target;
mod words;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use rhai::{Engine, FuncRegistration, Module, RhaiNativeFunc, Variant};

pub use context::Context;
pub use options::{CALLS, Call, hint};
pub use reply::Received;

use super::{files::Files, session::Current};
use crate::{plan::Limits, workload::Parameter};

/// What a script is loaded with, and what it says while it is loaded.
#[derive(Clone, Debug, Default)]
pub struct Loading {
    /// Files of the script's folder.
    pub files: Files,
    /// `-p NAME=VALUE`
    pub given: Arc<BTreeMap<String, String>>,
    /// `--secret-env`, resolved.
    pub secrets: Arc<BTreeMap<String, String>>,
    /// Limits of the run.
    pub limits: Arc<Limits>,
    /// Parameters that the script asked for.
    pub parameters: Rc<RefCell<Vec<Parameter>>>,
    /// What the script printed while it was loaded.
    pub printed: Rc<RefCell<Vec<String>>>,
}

/// Registers everything.
pub fn register(engine: &mut Engine, current: &Rc<Current>, loading: &Loading) {
    words::register(engine, current, loading);
    context::register(engine);
    json::register(engine);
    reply::register(engine, current);
    connection::register(engine, current);
    moments::register(engine, current);
    engine.register_static_module("bus", bus::module(current).into());
    engine.register_static_module("db", database::module(current).into());
    engine.register_static_module("time", moments::module(current).into());
    engine.register_static_module("metric", words::metric_module(current).into());
    engine.register_static_module("run", words::run_module(current).into());
    engine.register_static_module("target", target::module(current).into());
    engine.register_static_module("data", data::module(loading).into());
}

/// A registration from a signature such as `request(subject: string, payload: ?) -> Reply`.
fn registration(signature: &str, doc: &str) -> FuncRegistration {
    let (name, rest) = signature.split_once('(').unwrap_or((signature, ")"));
    let (parameters, result) = rest.rsplit_once(')').unwrap_or((rest, ""));
    let result = result.trim().strip_prefix("->").map_or("()", str::trim);
    let parameters = parameters.split(", ").filter(|parameter| !parameter.is_empty());
    FuncRegistration::new(name)
        .with_params_info(parameters.chain([result]))
        .with_comments([format!("/// {doc}")])
}

/// Adds a function to a module.
fn def<A: 'static, const N: usize, const X: bool, R, const F: bool, C>(
    module: &mut Module,
    signature: &str,
    doc: &str,
    function: C,
) where
    R: Variant + Clone,
    C: RhaiNativeFunc<A, N, X, R, F> + 'static,
{
    registration(signature, doc).with_volatility(true).set_into_module(module, function);
}

/// A function that is called as a method without its module's name.
fn method<A: 'static, const N: usize, const X: bool, R, const F: bool, C>(
    module: &mut Module,
    signature: &str,
    doc: &str,
    function: C,
) where
    R: Variant + Clone,
    C: RhaiNativeFunc<A, N, X, R, F> + 'static,
{
    registration(signature, doc)
        .with_volatility(true)
        .in_global_namespace()
        .set_into_module(module, function);
}

/// Adds a word to the engine.
fn word<A: 'static, const N: usize, const X: bool, R, const F: bool, C>(
    engine: &mut Engine,
    signature: &str,
    doc: &str,
    function: C,
) where
    R: Variant + Clone,
    C: RhaiNativeFunc<A, N, X, R, F> + 'static,
{
    registration(signature, doc).with_volatility(true).register_into_engine(engine, function);
}
