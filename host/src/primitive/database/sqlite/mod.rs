//! SQLite: one file, one writer thread and a few readers for the whole run.
//!
//! Why threads: a slow scan must stall no shard, and SQLite has one writer anyway. Why they stamp: the
//! way to a thread and the queue in front of it are the runner's, not the database's, and are recorded
//! as `db_wait_duration`.
//!
//! ```text
//!  shard 0 ─┐            ┌─ reader 0     (read-only connections, one queue)
//!  shard 1 ─┼── Queue ───┼─ reader 1
//!           └── Queue ───┴─ writer       (one transaction at a time)
//! ```

mod gate;
mod local;
mod queue;
mod statement;
mod work;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

pub(super) use self::local::Shard;
use self::{
    queue::{Queue, Refused},
    work::{Guard, Job, Reply, Ticket, Watch, Work, Worker},
};
use super::{
    Value,
    answer::{Answer, Caps, Outcome, Patience, timed_out, waited_out},
    pool::DatabaseError,
    sql::Parsed,
};
use crate::{
    clock::{Clock, Instant, Span},
    plan::Limits,
    primitive::Failure,
};

/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 256;
/// How long a thread may take to notice that its statement is over.
const GRACE: Duration = Duration::from_secs(2);

/// Names of the threads: the writer's, and what a reader's begins with.
const WRITER: &str = "db-writer";
const READER: &str = "db-reader-";

/// Whether a thread of this name is the database's.
pub(super) fn is_thread(name: &str) -> bool {
    name == WRITER || name.starts_with(READER)
}

/// Kind, version, and how durable it is.
pub(super) fn describe() -> String {
    format!("SQLite {} (WAL, synchronous=normal)", rusqlite::version())
}

/// The database of a run. Made once, shared by all shards.
#[derive(Clone, Debug)]
pub(super) struct File(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    limits: Limits,
    readers: Arc<Queue>,
    writer: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Apart from the queues, so that a read in place takes no lock to see it.
    closed: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.readers.close();
        self.writer.close();
    }
}

impl File {
    /// Opens or makes the file and starts the threads.
    pub(super) fn open(path: &Path, limits: &Limits) -> Result<Self, DatabaseError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let capacity = 64 + limits.vus as usize;
        let (readers, writer) = (Arc::new(Queue::new(capacity)), Arc::new(Queue::new(capacity)));
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let inner = Inner {
            path,
            limits: limits.clone(),
            readers,
            writer,
            threads: Mutex::default(),
            closed: AtomicBool::new(false),
        };
        // The writer first: it makes the file and its journal.
        let mut threads = vec![inner.start(WRITER, limits, false)?];
        for reader in 0..cores.clamp(2, 4) {
            threads.push(inner.start(&format!("{READER}{reader}"), limits, true)?);
        }
        *inner.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok(Self(Arc::new(inner)))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// A connection of the calling thread that only reads and never waits for a lock.
    fn reader(&self, watch: &Watch) -> Result<Connection, DatabaseError> {
        let made =
            connect(&self.0.path, &self.0.limits, true, watch).and_then(|(connection, _)| {
                connection.busy_timeout(Duration::ZERO)?;
                Ok(connection)
            });
        made.map_err(|error| unusable(&self.0.path, &error))
    }

    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Ends the threads and waits for them.
    pub(super) async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.readers.close();
        self.0.writer.close();
        let threads =
            std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                drop(thread.join());
            }
        });
        drop(joined.await);
    }

    /// Runs a statement on a thread: of the readers if it only reads, else on the writer.
    pub(super) async fn run(
        &self,
        clock: Clock,
        parsed: &Parsed,
        values: Vec<Value>,
        caps: Caps,
        patience: Patience,
        transaction: Option<&Transaction>,
    ) -> Outcome {
        let sql = parsed.sql.clone();
        let queue =
            if parsed.reads && transaction.is_none() { &self.0.readers } else { &self.0.writer };
        let work = Work::Run { sql: sql.clone(), values, caps };
        let number = transaction.map(Transaction::number);
        let (mut outcome, mut reply) = self.ask(queue, clock, work, patience, number).await;
        if let Some(values) = reply.as_mut().and_then(|reply| reply.writes.take()) {
            let first_wait = outcome.waited.unwrap_or_default();
            let work = Work::Run { sql, values, caps };
            (outcome, _) = self.ask(&self.0.writer, clock, work, patience, None).await;
            outcome.waited = outcome.waited.map(|waited| waited + first_wait);
        }
        outcome
    }

    /// Begins a transaction. The outcome's span is the database's, waiting for the writer apart.
    pub(super) async fn begin(
        &self,
        clock: Clock,
        patience: Patience,
    ) -> (Outcome, Option<Transaction>) {
        let (outcome, reply) = self.ask(&self.0.writer, clock, Work::Begin, patience, None).await;
        let guard = reply.and_then(|reply| reply.guard);
        (outcome, guard.map(Transaction))
    }

    /// Ends a transaction. Whatever comes of it, the transaction is over.
    pub(super) async fn end(
        &self,
        clock: Clock,
        transaction: Transaction,
        commit: bool,
        patience: Patience,
    ) -> Outcome {
        let work = if commit { Work::Commit } else { Work::Rollback };
        let number = Some(transaction.number());
        let (outcome, _) = self.ask(&self.0.writer, clock, work, patience, number).await;
        // Its guard rolls back what a commit left open because it was never begun.
        drop(transaction);
        outcome
    }

    async fn ask(
        &self,
        queue: &Queue,
        clock: Clock,
        work: Work,
        patience: Patience,
        transaction: Option<u64>,
    ) -> (Outcome, Option<Reply>) {
        let (sender, mut receiver) = oneshot::channel();
        let caller = Caller(Arc::default());
        let ticket = caller.0.clone();
        let asked = clock.now();
        let _still = clock.is_virtual().then(still);
        let job = Job { work, clock, patience, ticket, reply: Some(sender) };
        if let Err(refused) = queue.push(job, transaction) {
            return (Outcome::failed(refusal(refused)), None);
        }
        let answered = match wait(&mut receiver, clock, asked + patience.wait).await {
            Some(answered) => answered,
            None if caller.0.withdraw() => {
                let mut outcome = Outcome::failed(waited_out(patience.wait, "database thread"));
                outcome.waited = Some(clock.now().since(asked));
                return (outcome, None);
            }
            // A thread has it, and its progress handler knows the deadline.
            None => {
                let over = clock.now() + patience.run + GRACE;
                let Some(answered) = wait(&mut receiver, clock, over).await else {
                    return (Outcome::failed(timed_out(patience.run)), None);
                };
                answered
            }
        };
        let Ok(mut reply) = answered else {
            return (Outcome::failed(refusal(Refused::Closed)), None);
        };
        if clock.is_virtual() {
            reply.span = Span::between(asked, asked);
        }
        let waited = Some(reply.span.start().since(asked));
        let result = std::mem::replace(&mut reply.result, Ok(Answer::default()));
        (Outcome { result, span: Some(reply.span), waited }, Some(reply))
    }
}

/// An open transaction on the writer; dropped, it is rolled back.
#[derive(Debug)]
pub(super) struct Transaction(Guard);

impl Transaction {
    fn number(&self) -> u64 {
        self.0.transaction
    }
}

/// Waits for a reply until `deadline`.
async fn wait(
    receiver: &mut oneshot::Receiver<Reply>,
    clock: Clock,
    deadline: Instant,
) -> Option<Result<Reply, oneshot::error::RecvError>> {
    tokio::time::timeout_at(clock.to_tokio(deadline), receiver).await.ok()
}

/// Keeps a virtual clock where it is until what this returns is dropped: nothing takes time under one, and a
/// runtime that has nothing to do but to wait for a thread would advance it to the next timer. It does not
/// while it has blocking tasks.
fn still() -> mpsc::Sender<()> {
    let (held, released) = mpsc::channel();
    drop(tokio::task::spawn_blocking(move || released.recv()));
    held
}

fn refusal(refused: Refused) -> Failure {
    match refused {
        Refused::Full => Failure::new("limit", "too many statements wait for the database"),
        Refused::Closed => Failure::new("disconnected", "the database is closed"),
        Refused::Over => Failure::new("database", "the transaction is over"),
    }
}

/// Who waits for a job; gone, the job is given up.
struct Caller(Arc<Ticket>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl Inner {
    fn start(
        &self,
        name: &str,
        limits: &Limits,
        only_reads: bool,
    ) -> Result<JoinHandle<()>, DatabaseError> {
        let queue = if only_reads { self.readers.clone() } else { self.writer.clone() };
        let watch = Watch::default();
        let (connection, host) = connect(&self.path, limits, only_reads, &watch)
            .map_err(|error| unusable(&self.path, &error))?;
        let worker = Worker { connection, host, watch, queue, only_reads };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || worker.serve())
            .map_err(|error| DatabaseError(format!("a database thread did not start: {error}")))
    }
}

fn connect(
    path: &Path,
    limits: &Limits,
    only_reads: bool,
    watch: &Watch,
) -> rusqlite::Result<(Connection, gate::HostSpeaks)> {
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags |= if only_reads {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    };
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    if !only_reads {
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "normal")?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    watch.install(&mut connection)?;
    let host = gate::close_doors(&mut connection, limits)?;
    // Reads the header, so that a file that is none is refused now.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok((connection, host))
}

fn unusable(path: &Path, error: &rusqlite::Error) -> DatabaseError {
    DatabaseError(format!(
        "SQLite cannot use {}: {error}; name a file that it may make, as in sqlite:run.db",
        path.display()
    ))
}
