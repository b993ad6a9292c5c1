//! A statement on its way to a database thread, and the thread's loop.
//!
//! The statement's time is taken here, around the statement and nothing else, so that the hop and the
//! queue are waiting and not the database's time. A caller that goes away (a stop, a timeout) leaves
//! its mark on the ticket, which the progress handler sees within a thousand steps of SQLite's
//! machine; a transaction whose holder goes away is rolled back, because its guard says so.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    gate::HostSpeaks,
    queue::Queue,
    statement::{self, Refusal},
};
use crate::{
    clock::{Clock, Instant, Span},
    primitive::{
        Failure,
        database::{
            Value,
            answer::{Answer, Caps, Patience, timed_out},
        },
    },
};

/// Where a job is. Shared by the one who waits for it and the thread that does it.
#[derive(Debug, Default)]
pub(super) struct Ticket(AtomicU8);

const QUEUED: u8 = 0;
const RUNNING: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Ticket {
    /// Takes the job up; false when nobody waits for it any more.
    fn start(&self) -> bool {
        self.0.compare_exchange(QUEUED, RUNNING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Gives up what no thread has taken up; false when one has.
    pub(super) fn withdraw(&self) -> bool {
        self.0.compare_exchange(QUEUED, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Nobody waits any more: what runs is interrupted.
    pub(super) fn give_up(&self) {
        self.0.store(GIVEN_UP, Ordering::Release);
    }

    fn given_up(&self) -> bool {
        self.0.load(Ordering::Acquire) == GIVEN_UP
    }
}

/// What a thread is asked to do.
#[derive(Debug)]
pub(super) enum Work {
    /// A statement.
    Run { sql: Arc<str>, values: Vec<Value>, caps: Caps },
    /// Begin a transaction for the caller.
    Begin,
    /// End it well.
    Commit,
    /// End it without effect.
    Rollback,
}

/// A statement in a queue.
#[derive(Debug)]
pub(super) struct Job {
    pub work: Work,
    pub clock: Clock,
    pub patience: Patience,
    pub ticket: Arc<Ticket>,
    pub reply: Option<oneshot::Sender<Reply>>,
}

/// What a thread answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub result: Result<Answer, Failure>,
    pub span: Span,
    /// It writes and was given to a reader: it goes to the writer, with the values given back.
    pub writes: Option<Vec<Value>>,
    /// The transaction that was begun; dropped without an end, it is rolled back.
    pub guard: Option<Guard>,
}

/// A transaction on the writer.
#[derive(Debug)]
pub(super) struct Guard {
    pub queue: Arc<Queue>,
    pub clock: Clock,
    pub transaction: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let patience = Patience { wait: Duration::MAX, run: Duration::from_secs(60) };
        let job = Job {
            work: Work::Rollback,
            clock: self.clock,
            patience,
            ticket: Arc::default(),
            reply: None,
        };
        // Refused when the transaction is over, or the queue is closed and the writer gone.
        drop(self.queue.push(job, Some(self.transaction)));
    }
}

/// What the progress handler of a connection watches.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Mutex<Option<Watched>>>);

#[derive(Debug)]
struct Watched {
    clock: Clock,
    deadline: Instant,
    ticket: Option<Arc<Ticket>>,
}

/// How long a statement waits for a lock of another process at the most, whatever its timeout.
const LOCKED: Duration = Duration::from_secs(60);
/// Steps of SQLite's machine between two looks at the clock: some ten microseconds.
const STEPS: i32 = 1_000;

impl Watch {
    /// Installs the handler.
    pub(super) fn install(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let watch = self.clone();
        connection.progress_handler(STEPS, Some(move || watch.is_over()))
    }

    fn is_over(&self) -> bool {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.as_ref().is_some_and(|watched| {
            watched.ticket.as_ref().is_some_and(|ticket| ticket.given_up())
                || watched.clock.now() >= watched.deadline
        })
    }

    /// Interrupts what runs from now on at `deadline`, or when the ticket is given up.
    pub(super) fn arm(&self, clock: Clock, deadline: Instant, ticket: Option<Arc<Ticket>>) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *watched = Some(Watched { clock, deadline, ticket });
    }

    /// Interrupts nothing.
    pub(super) fn disarm(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A connection on its thread.
pub(super) struct Worker {
    pub connection: Connection,
    pub host: HostSpeaks,
    pub watch: Watch,
    pub queue: Arc<Queue>,
    pub only_reads: bool,
}

/// Where the writer stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    /// SQLite rolled it back by itself; its holder must still end it.
    Lost,
}

impl Worker {
    /// Serves the queue until it is closed.
    pub(super) fn serve(self) {
        let mut transaction = Transaction::None;
        while let Some(job) = self.queue.next() {
            // What nobody waits for is not done, except for the end of a transaction.
            let ends = matches!(job.work, Work::Rollback);
            if job.ticket.start() || ends {
                self.serve_one(job, &mut transaction);
            }
        }
        if transaction == Transaction::Open {
            drop(self.host.execute(&self.connection, "ROLLBACK"));
        }
    }

    fn serve_one(&self, job: Job, transaction: &mut Transaction) {
        let Job { work, clock, patience, ticket, reply } = job;
        let start = clock.now();
        self.watch.arm(clock, start + patience.run, Some(ticket));
        // Other processes may hold the file's lock.
        drop(self.connection.busy_timeout(patience.run.min(LOCKED)));
        let done = match work {
            Work::Run { sql, values, caps } => self.run(&sql, values, &caps, *transaction),
            Work::Begin => self.begin(transaction).map(Done::Begun),
            Work::Commit => self.end("COMMIT", transaction).map(Done::Answer),
            Work::Rollback => {
                self.watch.disarm();
                self.end("ROLLBACK", transaction).map(Done::Answer)
            }
        };
        let span = Span::between(start, clock.now());
        self.watch.disarm();
        if *transaction == Transaction::Open && self.connection.is_autocommit() {
            *transaction = Transaction::Lost;
        }
        let Some(reply) = reply else { return };
        let mut message = Reply { result: Ok(Answer::default()), span, writes: None, guard: None };
        match done {
            Ok(Done::Answer(answer)) => message.result = Ok(answer),
            Ok(Done::Writes(values)) => message.writes = Some(values),
            Ok(Done::Begun(transaction)) => {
                message.guard = Some(Guard { queue: self.queue.clone(), clock, transaction });
            }
            Err(Refusal::Failure(failure)) => message.result = Err(failure),
            Err(Refusal::Interrupted | Refusal::Writes) => {
                message.result = Err(timed_out(patience.run));
            }
        }
        // If nobody listens, the message is dropped, and with it the guard of a transaction.
        drop(reply.send(message));
    }

    fn run(
        &self,
        sql: &str,
        values: Vec<Value>,
        caps: &Caps,
        transaction: Transaction,
    ) -> Result<Done, Refusal> {
        if transaction == Transaction::Lost {
            return Err(Refusal::Failure(lost()));
        }
        match statement::run(&self.connection, sql, &values, caps, self.only_reads) {
            Err(Refusal::Writes) => Ok(Done::Writes(values)),
            other => other.map(Done::Answer),
        }
    }

    fn begin(&self, transaction: &mut Transaction) -> Result<u64, Refusal> {
        self.host.execute(&self.connection, "BEGIN IMMEDIATE").map_err(statement::refusal)?;
        *transaction = Transaction::Open;
        Ok(self.queue.begin())
    }

    /// Ends the transaction, whatever happens: a commit that fails is rolled back.
    fn end(&self, sql: &str, transaction: &mut Transaction) -> Result<Answer, Refusal> {
        let was = std::mem::replace(transaction, Transaction::None);
        let result = self.end_open(sql, was);
        self.queue.end();
        result
    }

    fn end_open(&self, sql: &str, was: Transaction) -> Result<Answer, Refusal> {
        if was != Transaction::Open {
            return if sql == "COMMIT" {
                Err(Refusal::Failure(lost()))
            } else {
                Ok(Answer::default())
            };
        }
        let result = self.host.execute(&self.connection, sql).map_err(statement::refusal);
        if !self.connection.is_autocommit() {
            self.watch.disarm();
            drop(self.host.execute(&self.connection, "ROLLBACK"));
        }
        result.map(|()| Answer::default())
    }
}

enum Done {
    Answer(Answer),
    Writes(Vec<Value>),
    Begun(u64),
}

fn lost() -> Failure {
    Failure::new(
        "database",
        "the transaction was rolled back by the database after an earlier failure in it",
    )
}
