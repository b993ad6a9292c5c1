//! `target::`: the processes of the system under test, started, stopped, killed and paused by a workload
//! that was granted them.

use std::{pin::pin, rc::Rc};

use rhai::{Dynamic, Map, Module};

use super::{def, options::thrown, reply::outcome};
use crate::{
    target::Order,
    workload::script::session::{Called, Current},
};

const FUNCTIONS: [(Order, &str); 6] = [
    (Order::Start, "Starts a target that does not run, and waits until it is ready."),
    (Order::Stop, "Asks a target to stop, kills it after its grace, and waits until it is gone."),
    (Order::Kill, "Kills a target and waits until it is gone."),
    (Order::Restart, "Stops a target, starts it, and waits until it is ready again."),
    (Order::Pause, "Stops a target's processes where they are, until `resume`."),
    (Order::Resume, "Lets a target's processes go on."),
];

pub fn module(current: &Rc<Current>) -> Module {
    let mut module = Module::new();
    for (order, doc) in FUNCTIONS {
        let host = current.clone();
        let signature = format!("{}(target: string) -> map", order.name());
        let doc = format!("{doc} Fields: `ok`, `error`, `message`, `took` (a Duration).");
        def(&mut module, &signature, &doc, move |name: &str| give(&host, name, order));
    }
    module
}

fn give(current: &Current, name: &str, order: Order) -> Called<Map> {
    let session = current.session(&format!("target::{}", order.name()))?;
    let scope = &session.primitives.scope;
    let given = session.wait(pin!(session.targets.order(scope, name, order)))?;
    let given = thrown(given)?;
    let mut map = outcome(given.as_ref().err());
    map.insert("took".into(), given.map_or(Dynamic::UNIT, Dynamic::from));
    Ok(map)
}
