//! The connections of a shard, and who has them.
//!
//! Why not deadpool: it knows nothing of affinity (a VU gets back the connection whose session is
//! its own, so that nothing needs to be reset), its objects go back whole when a future is dropped in
//! the middle of a statement, and it counts a place as free before the server has ended what was
//! abandoned. What is left of a pool is a semaphore and a list.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Server, codec,
    connection::{Connection, Prepared, parameters},
};
use crate::{
    clock::Clock,
    primitive::{
        Failure, Misuse,
        database::{
            Value,
            answer::{Caps, Outcome, Patience, waited_out},
            sql::Parsed,
        },
    },
};

/// The connections of a shard. Clones share them.
#[derive(Clone, Debug)]
pub(in crate::primitive::database) struct Leases(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Server,
    places: Arc<Semaphore>,
    /// Oldest first.
    idle: RefCell<VecDeque<Connection>>,
}

/// A connection that a VU holds. Dropped idle, it goes back; dropped in the middle of something, it
/// is abandoned.
#[derive(Debug)]
pub(in crate::primitive::database) struct Held {
    leases: Leases,
    held: Option<(Connection, OwnedSemaphorePermit)>,
}

impl Leases {
    pub(in crate::primitive::database) fn new(server: Server, places: usize) -> Self {
        debug_assert!(places > 0, "a pool without a place would be waited for in vain");
        let places = Arc::new(Semaphore::new(places));
        Self(Rc::new(Inner { server, places, idle: RefCell::default() }))
    }

    /// Opens a connection ahead of time; the server's refusal is told now and not in the middle.
    pub(in crate::primitive::database) async fn warm(&self) -> Result<(), Failure> {
        let connection = self.connect().await?;
        self.0.idle.borrow_mut().push_back(connection);
        Ok(())
    }

    /// Leases a connection for a VU: the one that it had last, or else the one idle for longest, or
    /// else a new one.
    pub(in crate::primitive::database) async fn lease(
        &self,
        vu: u32,
        clock: Clock,
        patience: Patience,
    ) -> Result<Held, Failure> {
        if let Some(held) = self.at_hand(vu) {
            return Ok(held);
        }
        let deadline = clock.to_tokio(clock.now() + patience.wait);
        match Box::pin(tokio::time::timeout_at(deadline, self.take(vu))).await {
            Ok(result) => result,
            Err(_) => Err(waited_out(patience.wait, "database connection")),
        }
    }

    /// The connection that a VU had last, if it is idle: nothing to wait for, nothing to reset.
    fn at_hand(&self, vu: u32) -> Option<Held> {
        let place = self.0.places.clone().try_acquire_owned().ok()?;
        let mut idle = self.0.idle.borrow_mut();
        let own = idle.iter().position(|it| it.user.get() == vu && it.is_idle())?;
        let connection = idle.remove(own)?;
        Some(Held { leases: self.clone(), held: Some((connection, place)) })
    }

    async fn take(&self, vu: u32) -> Result<Held, Failure> {
        let Ok(place) = self.0.places.clone().acquire_owned().await else {
            return Err(Failure::new("disconnected", "the pool is closed"));
        };
        while let Some(connection) = self.idle(vu) {
            if !connection.is_idle() {
                continue;
            }
            let foreign = connection.user.replace(vu) != vu;
            if foreign && connection.marked.get() && connection.reset().await.is_err() {
                continue;
            }
            return Ok(Held { leases: self.clone(), held: Some((connection, place)) });
        }
        let connection = Box::pin(self.connect()).await?;
        connection.user.set(vu);
        Ok(Held { leases: self.clone(), held: Some((connection, place)) })
    }

    fn idle(&self, vu: u32) -> Option<Connection> {
        let mut idle = self.0.idle.borrow_mut();
        let own = idle.iter().position(|connection| connection.user.get() == vu);
        idle.remove(own.unwrap_or(0))
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        self.0.server.connect().await.map_err(|error| match codec::failure(&error) {
            // Too many connections, starting up, shutting down, nobody there: it may pass.
            failure if failure.kind == "denied" => failure,
            failure => Failure { kind: "disconnected", ..failure },
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some((connection, place)) = self.held.take() else { return };
        if connection.is_idle() {
            self.leases.0.idle.borrow_mut().push_back(connection);
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(connection.abandon(place));
        }
    }
}

impl Held {
    fn connection(&self) -> Result<&Connection, Failure> {
        match &self.held {
            Some((connection, _)) => Ok(connection),
            None => Err(Failure::new("disconnected", "the connection was given back")),
        }
    }

    /// Whether a further statement may be sent on it.
    pub(in crate::primitive::database) fn is_usable(&self) -> bool {
        self.connection().is_ok_and(Connection::is_usable)
    }

    /// Whether a statement needs no preparing.
    pub(in crate::primitive::database) fn knows(&self, parsed: &Parsed) -> bool {
        self.connection().is_ok_and(|connection| connection.prepared(&parsed.sql).is_some())
    }

    pub(in crate::primitive::database) async fn prepare(
        &self,
        parsed: &Parsed,
        patience: Patience,
    ) -> Result<Prepared, Failure> {
        self.connection()?.prepare(&parsed.sql, patience.run).await
    }

    /// Runs a prepared statement.
    pub(in crate::primitive::database) async fn run(
        &self,
        clock: Clock,
        parsed: &Parsed,
        bound: Bound,
        caps: &Caps,
        patience: Patience,
    ) -> Outcome {
        let connection = match self.connection() {
            Ok(connection) => connection,
            Err(failure) => return Outcome::failed(failure),
        };
        if parsed.marks_session {
            connection.marked.set(true);
        }
        let Bound { prepared, parameters } = bound;
        connection.run(clock, &parsed.sql, prepared, &parameters, caps, patience.run).await
    }

    pub(in crate::primitive::database) async fn begin(
        &self,
        patience: Patience,
    ) -> Result<(), Failure> {
        let connection = self.connection()?;
        connection.say("BEGIN", patience.run).await?;
        connection.transaction.set(Some(false));
        Ok(())
    }

    /// Ends the transaction. A commit after a failed statement would be answered with a silent
    /// rollback; it is a failure here.
    pub(in crate::primitive::database) async fn end(
        &self,
        commit: bool,
        patience: Patience,
    ) -> Result<(), Failure> {
        let connection = self.connection()?;
        let failed = connection.transaction.get().unwrap_or(true);
        let words = if commit && !failed { "COMMIT" } else { "ROLLBACK" };
        let result = connection.say(words, patience.run).await;
        if connection.is_usable() {
            connection.transaction.set(None);
        }
        result?;
        if commit && failed {
            return Err(Failure::new(
                "database",
                "the transaction was rolled back: a statement in it had failed",
            ));
        }
        Ok(())
    }
}

/// A prepared statement with its values.
#[derive(Debug)]
pub(in crate::primitive::database) struct Bound {
    prepared: Prepared,
    parameters: Vec<codec::Parameter>,
}

impl Bound {
    /// Fits values to the types that the server found for the placeholders.
    pub(in crate::primitive::database) fn new(
        prepared: Prepared,
        values: &[Value],
    ) -> Result<Self, Misuse> {
        let parameters = parameters(&prepared, values)?;
        Ok(Self { prepared, parameters })
    }
}
