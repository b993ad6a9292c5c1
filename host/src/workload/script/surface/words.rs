//! The words `check fail group param secret log print`, and the small modules `metric run`.

use std::rc::Rc;

use rhai::{Array, Dynamic, Engine, FnPtr, ImmutableString, Map, Module, NativeCallContext};

use super::{Loading, def, word};
use crate::{
    primitive::{LogLevel, Scope},
    workload::{
        Parameter,
        script::{
            convert,
            fault::{misuse, misused, thrown},
            session::{Called, Current},
        },
    },
};

/// Lines printed while a script is loaded that are kept.
const PRINTED: usize = 100;

pub fn register(engine: &mut Engine, current: &Rc<Current>, loading: &Loading) {
    judging(engine, current);
    logging(engine, current, loading);
    giving(engine, loading);
}

fn judging(engine: &mut Engine, current: &Rc<Current>) {
    let host = current.clone();
    word(
        engine,
        "check(name: string, passed: bool) -> bool",
        "Counts a check and returns whether it held; never throws for a check that fails.",
        move |name: &str, passed: bool| -> Called<bool> {
            let session = host.session("check")?;
            session.primitives.scope.check(name, passed).map_err(|error| misuse(&error))
        },
    );
    word(
        engine,
        "check(name: string, passed: ?) -> bool",
        "A check on something that is no truth value: misuse, unless it is `()`, which fails it.",
        {
            let host = current.clone();
            move |name: &str, passed: Dynamic| -> Called<bool> {
                if !passed.is_unit() {
                    return Err(misused(format!(
                        "check `{name}`: a {} is neither true nor false",
                        passed.type_name()
                    )));
                }
                let session = host.session("check")?;
                session.primitives.scope.check(name, false).map_err(|error| misuse(&error))
            }
        },
    );
    word(
        engine,
        "fail(message: string)",
        "Ends the iteration as an iteration error.",
        |message: ImmutableString| -> Called<()> { Err(thrown(message.to_string())) },
    );
    let host = current.clone();
    word(
        engine,
        "group(name: string, body: Fn) -> ?",
        "Calls `body`; what is measured meanwhile bears the tag `group`.",
        move |context: NativeCallContext, name: &str, body: FnPtr| -> Called<Dynamic> {
            let session = host.session("group")?;
            let scope = session.primitives.scope.clone();
            let outer = scope.enter_group(name).map_err(|error| misuse(&error))?;
            let result = body.call_within_context::<Dynamic>(&context, ());
            scope.leave_group(outer);
            result
        },
    );
}

fn logging(engine: &mut Engine, current: &Rc<Current>, loading: &Loading) {
    let say = {
        let (host, printed) = (current.clone(), loading.printed.clone());
        Rc::new(move |text: &str| match host.session("log") {
            Ok(session) => session.primitives.scope.log(LogLevel::Info, text.to_owned()),
            Err(_) if printed.borrow().len() < PRINTED => {
                let text = text.chars().take(1_000).collect();
                printed.borrow_mut().push(text);
            }
            Err(_) => {}
        })
    };
    let print = say.clone();
    engine.on_print(move |text| print(text));
    let debug = say.clone();
    engine.on_debug(move |text, _, _| debug(text));
    for name in ["to_string", "to_debug", "print", "debug"] {
        // Rhai's own ones recurse through whatever a script has nested or tied into a knot.
        engine.register_fn(name, |it: &mut Map| convert::show(&it.clone().into()));
        engine.register_fn(name, |it: &mut Array| convert::show(&it.clone().into()));
        engine.register_fn(name, |it: &mut FnPtr| format!("Fn({})", it.fn_name()));
    }
    word(
        engine,
        "log(value: ?)",
        "Writes a line to the run's log; values other than text as JSON.",
        move |value: Dynamic| -> Called<()> {
            say(&shown(&value)?);
            Ok(())
        },
    );
}

fn shown(value: &Dynamic) -> Called<String> {
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(text.to_string());
    }
    convert::to_json(value).map(|json| json.to_string()).map_err(|error| misuse(&error))
}

fn giving(engine: &mut Engine, loading: &Loading) {
    let host = loading.clone();
    word(
        engine,
        "param(name: string, value: ?, doc: string) -> ?",
        "A parameter of the script: `-p NAME=VALUE`, else this value, whose type it has.",
        move |name: &str, value: Dynamic, doc: &str| param(&host, name, &value, doc),
    );
    let host = loading.clone();
    word(
        engine,
        "param(name: string, value: ?) -> ?",
        "A parameter without an explanation.",
        move |name: &str, value: Dynamic| param(&host, name, &value, ""),
    );
    let secrets = loading.secrets.clone();
    word(
        engine,
        "secret(name: string) -> string",
        "A secret given with `--secret-env NAME=VARIABLE`; never logged or reported by the host.",
        move |name: &str| -> Called<ImmutableString> {
            secrets.get(name).map(ImmutableString::from).ok_or_else(|| {
                misused(format!("secret `{name}` is not given: add --secret-env {name}=VARIABLE"))
            })
        },
    );
}

fn param(loading: &Loading, name: &str, default: &Dynamic, doc: &str) -> Called<Dynamic> {
    let json = convert::to_json(default).map_err(|error| misuse(&error))?;
    let value = match loading.given.get(name) {
        None => default.clone(),
        Some(text) => typed(text, default).ok_or_else(|| {
            misused(format!(
                "parameter `{name}`: `{text}` is not a {}: its default is {json}",
                default.type_name()
            ))
        })?,
    };
    let mut parameters = loading.parameters.borrow_mut();
    if !parameters.iter().any(|parameter| parameter.name == name) {
        parameters.push(Parameter {
            name: name.to_owned(),
            default: json,
            value: convert::to_json(&value).map_err(|error| misuse(&error))?,
            doc: doc.to_owned(),
        });
    }
    Ok(value)
}

/// A parameter's text as a value of its default's type.
fn typed(text: &str, default: &Dynamic) -> Option<Dynamic> {
    if default.is_int() {
        return text.replace('_', "").parse::<i64>().ok().map(Dynamic::from);
    }
    if default.is_float() {
        let number: f64 = text.parse().ok()?;
        return number.is_finite().then(|| number.into());
    }
    if default.is_bool() {
        return text.parse::<bool>().ok().map(Dynamic::from);
    }
    if default.is_array() || default.is_map() {
        let json: serde_json::Value = serde_json::from_str(text).ok()?;
        let fits = if default.is_array() { json.is_array() } else { json.is_object() };
        return fits.then(|| convert::own(json));
    }
    if default.is::<std::time::Duration>() {
        return convert::parse_duration(text).map(Dynamic::from);
    }
    Some(text.into())
}

pub fn metric_module(current: &Rc<Current>) -> Module {
    let mut module = Module::new();
    let host = current.clone();
    def(
        &mut module,
        "add(name: string, value: int)",
        "Adds a sample to a metric that the options declare.",
        move |name: &str, value: i64| add(&host, name, value as f64),
    );
    let host = current.clone();
    def(
        &mut module,
        "add(name: string, value: float)",
        "Adds a sample to a metric that the options declare.",
        move |name: &str, value: f64| add(&host, name, value),
    );
    let host = current.clone();
    def(
        &mut module,
        "add(name: string, value: bool)",
        "Adds a hit or a miss to a rate that the options declare.",
        move |name: &str, value: bool| add(&host, name, f64::from(u8::from(value))),
    );
    let host = current.clone();
    def(
        &mut module,
        "add(name: string, value: Duration)",
        "Adds a time to a metric of unit \"ns\" that the options declare.",
        move |name: &str, value: std::time::Duration| add(&host, name, value.as_nanos() as f64),
    );
    module
}

fn add(current: &Current, name: &str, value: f64) -> Called<()> {
    let session = current.session("metric::add")?;
    let scope: &Scope = &session.primitives.scope;
    scope.host_call(|| format!("metric::add({name:?}, {value})"));
    scope.metric(name, value).map_err(|error| misuse(&error))
}

pub fn run_module(current: &Rc<Current>) -> Module {
    let mut module = Module::new();
    let host = current.clone();
    def(
        &mut module,
        "abort(reason: string)",
        "Stops the whole run (exit code 108) and ends this iteration.",
        move |reason: &str| -> Called<()> {
            host.session("run::abort")?.primitives.scope.abort(reason);
            Err(thrown(format!("run aborted: {reason}")))
        },
    );
    let host = current.clone();
    def(
        &mut module,
        "mark_failed(reason: string)",
        "Lets the run go on and makes it fail (exit code 110).",
        move |reason: &str| -> Called<()> {
            host.session("run::mark_failed")?.primitives.scope.mark_failed(reason);
            Ok(())
        },
    );
    module
}
