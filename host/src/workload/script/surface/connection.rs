//! `bus::connect`: connections that a VU holds beside its own.

use std::{pin::pin, rc::Rc};

use rhai::{Dynamic, Engine, Map, Module};

use super::{
    def, method,
    options::{CONNECT, CallOptions, thrown},
};
use crate::{
    primitive::{Failure, bus::ConnectionId},
    workload::script::session::{Called, Current},
};

/// A held connection, or why there is none.
#[derive(Clone, Debug)]
pub struct Connection(Rc<Result<ConnectionId, Failure>>);

/// The fields that scripts read.
pub fn register(engine: &mut Engine, current: &Rc<Current>) {
    engine.register_type_with_name::<Connection>("Connection");
    engine.register_get("ok", |it: &mut Connection| it.0.is_ok());
    engine.register_get("error", |it: &mut Connection| -> Dynamic {
        it.0.as_ref().as_ref().err().map_or(Dynamic::UNIT, |failure| failure.kind.into())
    });
    engine.register_get("message", |it: &mut Connection| -> Dynamic {
        it.0.as_ref().as_ref().err().map_or(Dynamic::UNIT, |it| it.message.clone().into())
    });
    let host = current.clone();
    engine.register_get("held", move |it: &mut Connection| -> Called<bool> {
        let session = host.session("held")?;
        Ok(it.0.as_ref().as_ref().is_ok_and(|id| session.primitives.bus.is_held(*id)))
    });
}

fn connect(host: &Current, map: &Map) -> Called<Connection> {
    let session = host.session("bus::connect")?;
    let options = CallOptions::new(&CONNECT, map)?;
    let (op, timeout) = (options.text("op")?, options.duration("timeout")?);
    let opening = session.primitives.bus.connect(op.as_deref(), timeout);
    Ok(Connection(Rc::new(thrown(session.wait(pin!(opening))?)?)))
}

/// The functions of `bus::` that are about connections.
pub fn connecting(module: &mut Module, current: &Rc<Current>) {
    module.set_custom_type::<Connection>("Connection");
    let host = current.clone();
    def(
        module,
        "connect() -> Connection",
        "Opens a connection beside the VU's own and holds it: fields ok, error, message, held.",
        move || connect(&host, &Map::new()),
    );
    let host = current.clone();
    def(
        module,
        "connect(options: map) -> Connection",
        "Opens a connection beside the VU's own and holds it; options: op, timeout.",
        move |options: Map| connect(&host, &options),
    );
    let host = current.clone();
    method(
        module,
        "close(connection: Connection)",
        "Closes a held connection; its socket is closed when this returns.",
        move |it: &mut Connection| -> Called<()> {
            let session = host.session("close")?;
            let Ok(id) = it.0.as_ref() else { return Ok(()) };
            session.wait(pin!(session.primitives.bus.disconnect(*id)))
        },
    );
}
