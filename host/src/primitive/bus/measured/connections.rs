//! Further connections of a VU: opened, held, closed. On the embedded bus opening one is misuse that names
//! the remedy: there is nothing to connect to, and a time of it would be made up.

use std::{pin::pin, time::Duration};

use super::Bus;
use crate::{
    metric::Builtin,
    primitive::{
        Measured, Misuse, Operation, Stamped,
        bus::{ConnectionId, held::Held},
    },
};

/// What opening a connection feeds.
const CONNECT: Operation = Operation {
    count: Builtin::BusConnects,
    duration: Builtin::BusConnectDuration,
    failed: Builtin::BusConnectFailed,
};

impl Bus {
    /// Opens a further connection and holds it.
    pub async fn connect(
        &self,
        op: Option<&str>,
        timeout: Option<Duration>,
    ) -> Measured<ConnectionId> {
        self.scope.host_call(|| "bus::connect()".to_owned());
        let nats = self.connection.nats().ok_or_else(|| {
            Misuse::new(
                "the embedded bus has no connections to open: use `--bus nats-server`, which starts a \
                 server, or `--bus nats://host:port`",
            )
        })?;
        let op = self.scope.op(op)?;
        let holding = self.connection.holding();
        let place = holding.place(self.scope.limits().bus_connections)?;
        let name = format!("wavetank held by {}", self.scope.vu());
        let work = pin!(async {
            // Large, and rare.
            let mut connecting = Box::pin(nats.servers().hold(&name, place));
            let result = self.within(timeout, connecting.as_mut()).await.and_then(|held| held);
            Stamped { result, span: None }
        });
        let opened = self.scope.measure(CONNECT, op, work).await;
        self.record_held();
        Ok(match opened {
            Ok(held) => {
                let number = self.handles.number();
                self.handles.connections.borrow_mut().insert(number, held);
                Ok(ConnectionId(number))
            }
            Err(failure) => {
                holding.refused(&failure);
                Err(failure)
            }
        })
    }

    /// Whether a connection that the VU holds is up: the server may have ended it.
    pub fn is_held(&self, connection: ConnectionId) -> bool {
        self.scope.host_call(|| format!("bus::connection({}) held", connection.0));
        let connections = self.handles.connections.borrow();
        connections.get(&connection.0).is_some_and(Held::is_up)
    }

    /// Closes a connection that the VU holds; its socket is closed when this returns. Nothing if it was
    /// closed before.
    pub async fn disconnect(&self, connection: ConnectionId) {
        self.scope.host_call(|| format!("bus::connection({}) close", connection.0));
        let Some(held) = self.let_go(connection) else { return };
        self.scope.about_to_wait();
        held.close().await;
        self.record_held();
    }

    /// Closes a connection without waiting: for a guest that is gone.
    pub fn abandon(&self, connection: ConnectionId) {
        drop(self.let_go(connection));
    }

    fn let_go(&self, connection: ConnectionId) -> Option<Held> {
        self.handles.connections.borrow_mut().remove(&connection.0)
    }

    /// How many connections the VUs of the run hold now.
    fn record_held(&self) {
        if let Some(up) = self.connection.holding().up() {
            let (recorder, now) = (self.scope.recorder(), self.scope.clock().now());
            let metric = Builtin::BusConnections.id();
            recorder.gauge(metric, self.scope.tags(), now, f64::from(up));
        }
    }
}
