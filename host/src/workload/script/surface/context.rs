//! `ctx`: which virtual user and iteration this is, and its random numbers.

use std::rc::Rc;

use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Map};

use super::word;
use crate::workload::script::{
    convert::JsonView,
    fault::misused,
    session::{Called, Session},
};

/// Letters of one random string.
const STRING: i64 = 1 << 20;

/// `ctx`; the same value for all iterations of a virtual user.
#[derive(Clone, Debug)]
pub struct Context(pub Rc<Session>);

/// `ctx.random`
#[derive(Clone, Debug)]
pub struct Chance(Rc<Session>);

pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Context>("Context");
    engine.register_type_with_name::<Chance>("Random");
    engine.register_get("vu", |it: &mut Context| i64::from(it.0.primitives.scope.vu()));
    engine.register_get("iteration", |it: &mut Context| it.0.iteration.get() as i64);
    engine.register_get("scenario", |it: &mut Context| text(&it.0.scenario.borrow()));
    engine.register_get("stage", |it: &mut Context| text(&it.0.stage.borrow()));
    engine.register_get("seed", |it: &mut Context| it.0.seed as i64);
    engine.register_get("data", |it: &mut Context| it.0.data.clone());
    engine.register_get("random", |it: &mut Context| Chance(it.0.clone()));
    engine.register_get("env", |it: &mut Context| {
        let env = it.0.env.borrow().clone();
        env.iter().map(|(name, value)| (name.into(), value.into())).collect::<Map>()
    });
    numbers(engine);
    picks(engine);
}

fn text(text: &str) -> ImmutableString {
    text.into()
}

fn numbers(engine: &mut Engine) {
    word(
        engine,
        "int(random: Random, low: int, high: int) -> int",
        "A whole number from `low` to `high`, both included.",
        |it: &mut Chance, low: i64, high: i64| -> Called<i64> {
            if high < low {
                return Err(misused(format!("random.int({low}, {high}): low is above high")));
            }
            Ok(it.0.primitives.scope.random().int(low, high))
        },
    );
    word(engine, "float(random: Random) -> float", "A number in [0, 1).", |it: &mut Chance| {
        it.0.primitives.scope.random().float()
    });
    word(
        engine,
        "bool(random: Random, probability: float) -> bool",
        "True with this probability.",
        |it: &mut Chance, probability: f64| it.0.primitives.scope.random().bool(probability),
    );
    word(engine, "bool(random: Random) -> bool", "True or false.", |it: &mut Chance| {
        it.0.primitives.scope.random().bool(0.5)
    });
    word(
        engine,
        "exp(random: Random, mean: float) -> float",
        "Exponentially distributed with this mean.",
        |it: &mut Chance, mean: f64| it.0.primitives.scope.random().exp(mean),
    );
    word(
        engine,
        "normal(random: Random, mean: float, stddev: float) -> float",
        "Normally distributed.",
        |it: &mut Chance, mean: f64, stddev: f64| {
            it.0.primitives.scope.random().normal(mean, stddev)
        },
    );
    word(
        engine,
        "zipf(random: Random, n: int, exponent: float) -> int",
        "A rank from 1 to `n`, small ones more often.",
        |it: &mut Chance, n: i64, exponent: f64| -> Called<i64> {
            if n < 1 {
                return Err(misused(format!("random.zipf({n}, …): there are no ranks below 1")));
            }
            Ok(it.0.primitives.scope.random().zipf(n as u64, exponent) as i64)
        },
    );
}

fn picks(engine: &mut Engine) {
    word(
        engine,
        "string(random: Random, length: int) -> string",
        "Letters and digits.",
        |it: &mut Chance, length: i64| -> Called<ImmutableString> {
            if !(0..=STRING).contains(&length) {
                return Err(misused(format!(
                    "random.string({length}): the length is not between 0 and {STRING}"
                )));
            }
            Ok(it.0.primitives.scope.random().string(length as usize).into())
        },
    );
    word(
        engine,
        "choice(random: Random, items: array) -> ?",
        "One of the items.",
        |it: &mut Chance, items: Array| -> Called<Dynamic> {
            let index = it.0.primitives.scope.random().choice(items.len());
            index.and_then(|index| items.get(index).cloned()).ok_or_else(empty)
        },
    );
    word(
        engine,
        "choice(random: Random, items: Json) -> ?",
        "One of the items.",
        |it: &mut Chance, items: JsonView| -> Called<Dynamic> {
            let JsonView::List(items) = items else { return Err(empty()) };
            let index = it.0.primitives.scope.random().choice(items.len());
            index.and_then(|index| items.get(index).cloned()).ok_or_else(empty)
        },
    );
    word(
        engine,
        "shuffle(random: Random, items: array) -> array",
        "The items in another order.",
        |it: &mut Chance, mut items: Array| -> Array {
            let order = it.0.primitives.scope.random().shuffle(items.len());
            order.into_iter().map(|index| std::mem::take(&mut items[index])).collect()
        },
    );
}

fn empty() -> Box<EvalAltResult> {
    misused("random.choice: there is nothing to choose from")
}
