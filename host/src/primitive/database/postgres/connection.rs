//! One connection to PostgreSQL, with the statements that are prepared on it.
//!
//! A statement that outlasts its timeout, or whose caller goes away, leaves the connection `busy`.
//! Such a connection is never used again: its statement is cancelled on the server and the connection
//! closed, which rolls its transaction back. Using it on would be cheaper and wrong: a cancel request
//! travels on a connection of its own and may arrive late, on the next caller's statement.

use std::{
    cell::{Cell, RefCell},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, pin_mut};
use rustc_hash::FxHashMap;
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};
use tokio_postgres::{Client, Config, Row, Statement, error::SqlState};

use super::{
    CONNECT, ENDING,
    codec::{self, Parameter, Reader},
    tls::Tls,
};
use crate::{
    clock::{Clock, Span},
    primitive::{
        Failure, Misuse,
        database::{
            Value,
            answer::{Answer, Caps, Outcome, timed_out},
            sql::is_kept,
        },
    },
};

/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 256;
/// Undoes what a virtual user may have left in a session; statements stay prepared.
const RESET: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
    SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// A statement prepared on one connection.
#[derive(Clone, Debug)]
pub(in crate::primitive::database) struct Prepared {
    statement: Statement,
    /// How each column is read.
    readers: Arc<[Reader]>,
    /// It returns no rows, or those that it changed.
    changes: bool,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    task: JoinHandle<()>,
    /// Cancel requests go the same way.
    tls: Tls,
    statements: RefCell<FxHashMap<Arc<str>, Prepared>>,
    /// A statement is under way.
    busy: Cell<bool>,
    /// A statement may have left something in the session.
    pub(super) marked: Cell<bool>,
    /// A transaction is open; whether a statement in it failed.
    pub(super) transaction: Cell<Option<bool>>,
    /// Who had it last.
    pub(super) user: Cell<u32>,
}

impl Connection {
    pub(super) async fn open(config: &Config, tls: &Tls) -> Result<Self, tokio_postgres::Error> {
        let connecting = config.connect(tls.connector());
        let (client, connection) = match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected?,
            Err(_) => return Err(tokio_postgres::Error::__private_api_timeout()),
        };
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok(Self {
            client,
            task,
            tls: tls.clone(),
            statements: RefCell::default(),
            busy: Cell::new(false),
            marked: Cell::new(false),
            transaction: Cell::new(None),
            user: Cell::new(0),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the next caller may have it.
    pub(super) fn is_idle(&self) -> bool {
        !self.busy.get() && self.transaction.get().is_none() && !self.client.is_closed()
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.busy.get() && !self.client.is_closed()
    }

    /// Cancels what runs, closes the connection, and only then gives its place away.
    pub(super) async fn abandon(self, permit: OwnedSemaphorePermit) {
        let Self { client, mut task, tls, busy, .. } = self;
        if busy.get() && !client.is_closed() {
            let cancel = client.cancel_token();
            drop(tokio::time::timeout(ENDING, cancel.cancel_query(tls.connector())).await);
        }
        drop(client);
        if tokio::time::timeout(ENDING, &mut task).await.is_err() {
            task.abort();
        }
        drop(permit);
    }

    /// Undoes what the last user may have left.
    pub(super) async fn reset(&self) -> Result<(), tokio_postgres::Error> {
        self.busy.set(true);
        let result = self.client.batch_execute(RESET).await;
        self.busy.set(false);
        self.marked.set(false);
        result
    }

    pub(super) fn prepared(&self, sql: &Arc<str>) -> Option<Prepared> {
        self.statements.borrow().get(sql).cloned()
    }

    /// Prepares a statement; the second time it is at hand.
    pub(super) async fn prepare(
        &self,
        sql: &Arc<str>,
        timeout: Duration,
    ) -> Result<Prepared, Failure> {
        if let Some(prepared) = self.prepared(sql) {
            return Ok(prepared);
        }
        let preparing = self.within(timeout, self.client.prepare(sql));
        let statement = Box::pin(preparing).await?;
        let readers = statement
            .columns()
            .iter()
            .map(|column| codec::reader(column.name(), column.type_()))
            .collect::<Result<_, _>>()?;
        let returning = |word: &[u8]| word.eq_ignore_ascii_case(b"RETURNING");
        let changes = statement.columns().is_empty() || sql.as_bytes().windows(9).any(returning);
        let prepared = Prepared { statement, readers, changes };
        if !is_kept(sql) {
            return Ok(prepared);
        }
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS {
            statements.clear();
        }
        statements.insert(sql.clone(), prepared.clone());
        Ok(prepared)
    }

    /// Runs a prepared statement. Its time runs from sending it to its last row.
    pub(super) async fn run(
        &self,
        clock: Clock,
        sql: &Arc<str>,
        prepared: Prepared,
        parameters: &[Parameter],
        caps: &Caps,
        timeout: Duration,
    ) -> Outcome {
        let start = clock.now();
        let mut result = self.rows(&prepared, parameters, caps, timeout).await;
        let mut start = start;
        if self.transaction.get().is_none() && matches!(&result, Err(failure) if is_stale(failure))
        {
            // The tables changed since it was prepared.
            self.statements.borrow_mut().remove(sql);
            result = match self.prepare(sql, timeout).await {
                Ok(prepared) => {
                    start = clock.now();
                    self.rows(&prepared, parameters, caps, timeout).await
                }
                Err(failure) => Err(failure),
            };
        }
        Outcome { result, span: Some(Span::between(start, clock.now())), waited: None }
    }

    async fn rows(
        &self,
        prepared: &Prepared,
        parameters: &[Parameter],
        caps: &Caps,
        timeout: Duration,
    ) -> Result<Answer, Failure> {
        let columns = prepared.statement.columns();
        let mut answer =
            Answer::of(columns.iter().map(|column| column.name().to_owned()).collect());
        let mut over = None;
        let work = async {
            let stream = self.client.query_raw(&prepared.statement, parameters).await?;
            pin_mut!(stream);
            while let Some(row) = stream.next().await {
                let pushed =
                    decode(&row?, &prepared.readers).and_then(|cells| answer.push(cells, caps));
                if let Err(failure) = pushed {
                    over = Some(failure);
                    return Ok(None);
                }
            }
            Ok(stream.rows_affected())
        };
        let affected = self.within(timeout, pin!(work)).await?;
        if let Some(failure) = over {
            // Rows are still coming; the connection is given up with them.
            self.busy.set(true);
            return Err(failure);
        }
        // The server counts the rows of a SELECT too; those were not changed.
        if prepared.changes {
            answer.changed = affected.unwrap_or_default();
        }
        Ok(answer)
    }

    /// Runs the host's own words: `BEGIN`, `COMMIT`, `ROLLBACK`.
    pub(super) async fn say(&self, words: &str, timeout: Duration) -> Result<(), Failure> {
        self.within(timeout, self.client.batch_execute(words)).await
    }

    /// Waits for the server; what is over or dropped leaves the connection busy.
    async fn within<T>(
        &self,
        timeout: Duration,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        self.busy.set(true);
        let Ok(result) = tokio::time::timeout(timeout, work).await else {
            return Err(timed_out(timeout));
        };
        self.busy.set(false);
        result.map_err(|error| {
            if let Some(failed) = self.transaction.get() {
                self.transaction.set(Some(failed || error.as_db_error().is_some()));
            }
            codec::failure(&error)
        })
    }
}

/// Values for a prepared statement.
pub(in crate::primitive::database) fn parameters(
    prepared: &Prepared,
    values: &[Value],
) -> Result<Vec<Parameter>, Misuse> {
    let types = prepared.statement.params();
    if types.len() != values.len() {
        return Err(Misuse::new(format!(
            "the statement takes {} values and {} were given",
            types.len(),
            values.len()
        )));
    }
    values
        .iter()
        .zip(types)
        .enumerate()
        .map(|(index, (value, type_))| codec::encode(value, type_, index + 1))
        .collect()
}

fn decode(row: &Row, readers: &[Reader]) -> Result<Vec<Value>, Failure> {
    let mut cells = Vec::with_capacity(readers.len());
    for (index, reader) in readers.iter().enumerate() {
        let raw: codec::Raw<'_> = row.try_get(index).map_err(|error| codec::failure(&error))?;
        cells.push(reader.read(raw)?);
    }
    Ok(cells)
}

/// "cached plan must not change result type", or a statement that the server no longer knows.
fn is_stale(failure: &Failure) -> bool {
    failure.message.contains("cached plan must not change")
        || failure.message.contains(SqlState::INVALID_SQL_STATEMENT_NAME.code())
}
