//! `time::`, `sleep`, and durations: `500.ms`, `2.s`, `1.5.s`.
//!
//! A deadline bounds several calls together, where a duration would bound each of them:
//!
//! ```rhai
//! let deadline = time::deadline("2s");
//! let order = bus::request("orders.new", "", #{ timeout: deadline });
//! while !deadline.passed {
//!     if bus::request("orders.state", order.text, #{ timeout: deadline.left }).text == "done" { break; }
//! }
//! ```

use std::{pin::pin, rc::Rc, time::Duration};

use rhai::{Dynamic, Engine, Module};

use super::{def, word};
use crate::{
    primitive::timing::{self, Deadline},
    workload::script::{
        convert,
        fault::{misuse, misused},
        session::{Called, Current},
    },
};

/// Units of durations as properties of numbers, with their length in seconds.
const UNITS: [(&str, f64); 6] =
    [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];

pub fn register(engine: &mut Engine, current: &Rc<Current>) {
    engine.register_type_with_name::<Duration>("Duration");
    for (name, unit) in UNITS {
        engine.register_get(name, move |number: &mut i64| length(*number as f64, unit, name));
        engine.register_get(name, move |number: &mut f64| length(*number, unit, name));
    }
    engine.register_get("seconds", |it: &mut Duration| it.as_secs_f64());
    engine.register_get("milliseconds", |it: &mut Duration| it.as_secs_f64() * 1e3);
    engine.register_get("nanoseconds", |it: &mut Duration| it.as_nanos() as i64);
    for name in ["to_string", "to_debug"] {
        engine.register_fn(name, |it: &mut Duration| convert::duration_text(*it));
    }
    engine.register_fn("+", |a: Duration, b: Duration| a.saturating_add(b));
    engine.register_fn("-", |a: Duration, b: Duration| a.saturating_sub(b));
    engine.register_fn("==", |a: Duration, b: Duration| a == b);
    engine.register_fn("!=", |a: Duration, b: Duration| a != b);
    engine.register_fn("<", |a: Duration, b: Duration| a < b);
    engine.register_fn("<=", |a: Duration, b: Duration| a <= b);
    engine.register_fn(">", |a: Duration, b: Duration| a > b);
    engine.register_fn(">=", |a: Duration, b: Duration| a >= b);
    engine.register_type_with_name::<Deadline>("Deadline");
    engine.register_get("left", |it: &mut Deadline| it.left());
    engine.register_get("passed", |it: &mut Deadline| it.has_passed());
    for name in ["to_string", "to_debug"] {
        engine.register_fn(name, |it: &mut Deadline| {
            format!("{} left", convert::duration_text(it.left()))
        });
    }
    let host = current.clone();
    word(
        engine,
        "sleep(duration: Duration)",
        "Suspends the virtual user: \"500ms\", 500.ms, or a number of seconds.",
        move |duration: Dynamic| sleep(&host, &duration),
    );
    // Rhai's own, which block the thread, are found before one that takes anything.
    let host = current.clone();
    word(
        engine,
        "sleep(seconds: int)",
        "Suspends the virtual user for so many seconds.",
        move |seconds: i64| sleep(&host, &seconds.into()),
    );
    let host = current.clone();
    word(
        engine,
        "sleep(seconds: float)",
        "Suspends the virtual user for so many seconds.",
        move |seconds: f64| sleep(&host, &seconds.into()),
    );
}

fn length(number: f64, unit: f64, name: &str) -> Called<Duration> {
    convert::seconds(number * unit)
        .ok_or_else(|| misused(format!("{number}.{name} is not a duration of this tool")))
}

/// A sleep before which memory is given back: what that costs, a microsecond, is nothing beside it.
const LONG_SLEEP: Duration = Duration::from_millis(50);

fn sleep(current: &Current, duration: &Dynamic) -> Called<()> {
    let session = current.session("sleep")?;
    let duration = match (duration.as_int(), duration.as_float()) {
        (Ok(whole), _) => length(whole as f64, 1.0, "s")?,
        (_, Ok(number)) => length(number, 1.0, "s")?,
        _ => convert::duration(duration, "sleep").map_err(|error| misuse(&error))?,
    };
    if duration >= LONG_SLEEP {
        session.switch.trim();
    }
    session.wait(pin!(timing::sleep(&session.primitives.scope, duration)))
}

pub fn module(current: &Rc<Current>) -> Module {
    let mut module = Module::new();
    let host = current.clone();
    def(
        &mut module,
        "now() -> Duration",
        "Time since the run's clock started.",
        move || -> Called<Duration> {
            let session = host.session("time::now")?;
            Ok(Duration::from_nanos(timing::now(&session.primitives.scope)))
        },
    );
    let host = current.clone();
    def(
        &mut module,
        "deadline(duration: Duration) -> Deadline",
        "An instant so long from now, for several calls together: a `timeout` that takes it is what is \
         left until then. Fields: `left`, a Duration, zero once it has passed; `passed`.",
        move |duration: Dynamic| -> Called<Deadline> {
            let session = host.session("time::deadline")?;
            let duration = convert::duration(&duration, "time::deadline");
            let duration = duration.map_err(|error| misuse(&error))?;
            Ok(Deadline::after(&session.primitives.scope, duration))
        },
    );
    let host = current.clone();
    def(
        &mut module,
        "sleep(duration: Duration)",
        "Suspends the virtual user, as `sleep` does.",
        move |duration: Dynamic| sleep(&host, &duration),
    );
    module
}
