//! The five guarding components of catalogue G behind one service, as a component.
//!
//! | subject | |
//! |---|---|
//! | `aegis.intent.check` | `{intent, text?, risk?}` → `{success, allowed, rule}`: rules, in memory |
//! | `aegis.love.evaluate` | `{signals: {care, honesty, growth, harm …: 0–1}}` → `{success, score, verdict}` |
//! | `aegis.evolution.log_experience` | `{agent, …}` → `{success, id}`: appended to table `experience` |
//! | `aegis.audit.append` | an object → `{success, sequence, hash}`: see `audit.rs` |
//! | `aegis.audit.verify` | → `{success, valid, entries, head, broken_at?}`: the whole chain, read anew |
//! | `aegis.hitl.request` | `{action, risk?, timeout_ms?}` → `{success, id, approved, status, by}`: see `hitl.rs` |
//! | `aegis.hitl.approve` | `{id, approved?, by?}` → `{success, decided}` |
//! | `aegis.hitl.list` | → `{success, pending: [{id, action, risk}]}` |
//! | `aegis.stats`, `aegis.state` | what was done, and what is stored |
//!
//! A bad request is answered with `{success: false, error}` and counted; without somebody to answer it is
//! only counted.
//!
//! Many instances, in many processes, share the database. What is stored counts itself in its own
//! transaction; what is only computed is counted in memory, so that counting does not cost more than the
//! work, and is complete in `aegis.stats` once the instances have stopped (see `ledger`). A waiting
//! `aegis.hitl.request` keeps an instance: serve it with a `--concurrency` above the number of those who
//! are to wait at once.

mod audit;
mod hitl;
mod judge;

use ledger::{Ledger, number, sql, storable};
use wavetank_sdk::{
    Context, Description, Failure, Json, Result, Service, bus::Message, json, serde_json,
};

struct Aegis {
    ledger: Ledger,
    policy: hitl::Policy,
}

/// Why a request was not granted.
enum Refusal {
    /// It was a bad one.
    Bad(String),
    /// The database failed.
    Failed(String),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.to_string())
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Bad(text)
    }
}

/// What is answered. Misuse of the host is outside.
type Answer = Result<Result<Json, Refusal>>;

/// `?` on a refusal, inside a function that may also misuse the host.
macro_rules! granted {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(refusal) => return Ok(Err(refusal.into())),
        }
    };
}
use granted;

const EXPERIENCE: &str = "CREATE TABLE IF NOT EXISTS experience (
    id {id},
    timestamp BIGINT NOT NULL,
    agent TEXT NOT NULL,
    content TEXT NOT NULL)";

impl Service for Aegis {
    fn describe() -> Description {
        Description::new("aegis", env!("CARGO_PKG_VERSION"))
            .options(json!({
                "services": {
                    "aegis.intent.check": "intent",
                    "aegis.love.evaluate": "love",
                    "aegis.evolution.log_experience": "log_experience",
                    "aegis.audit.append": "audit",
                    "aegis.audit.verify": "audit_verify",
                    "aegis.hitl.request": "hitl",
                    "aegis.hitl.approve": "hitl_approve",
                    "aegis.hitl.list": "hitl_list",
                    "aegis.stats": "stats",
                    "aegis.state": "state",
                },
            }))
            .parameter(
                "approval_delay_ms",
                2,
                "after this long the auto-approver approves what it may approve",
            )
            .parameter("approval_risk", 0.7, "the highest risk that the auto-approver approves")
            .parameter("approval_timeout_ms", 20_000, "how long a request waits for a human")
    }

    fn start(context: &Context) -> Result<Self> {
        let schema: Vec<_> =
            [EXPERIENCE].into_iter().chain(audit::SCHEMA).chain(hitl::SCHEMA).collect();
        Ok(Self {
            ledger: Ledger::open("aegis", &schema)?,
            policy: hitl::Policy {
                delay_ms: context.parameter("approval_delay_ms")?,
                risk: context.parameter("approval_risk")?,
                timeout_ms: context.parameter("approval_timeout_ms")?,
            },
        })
    }

    fn handle(&mut self, handler: &str, message: &Message) -> Result<Option<Vec<u8>>> {
        let answer = match self.answer(handler, &message.payload)? {
            Ok(mut answer) => {
                answer["success"] = json!(true);
                answer
            }
            Err(refusal) => {
                let (kind, error) = match refusal {
                    Refusal::Bad(error) => ("bad", error),
                    Refusal::Failed(error) => ("failed", error),
                };
                self.ledger.note(&format!("{kind}.{handler}"))?;
                json!({"success": false, "error": error})
            }
        };
        Ok(message.reply_to.as_ref().map(|_| answer.to_string().into_bytes()))
    }

    fn stop(&mut self) -> Result {
        self.ledger.write()
    }
}

impl Aegis {
    fn answer(&mut self, handler: &str, payload: &[u8]) -> Answer {
        // These ask nothing.
        match handler {
            "audit_verify" => return audit::verify(),
            "hitl_list" => return hitl::list(),
            "stats" => return Ok(Ok(json!({ "counters": self.ledger.totals()? }))),
            "state" => return state(),
            _ => {}
        }
        let asked = match serde_json::from_slice::<Json>(payload) {
            Ok(asked) if asked.is_object() => asked,
            Ok(_) => return Ok(Err(Refusal::Bad("the request must be a JSON object".to_owned()))),
            Err(error) => return Ok(Err(Refusal::Bad(format!("the request is no JSON: {error}")))),
        };
        match handler {
            "intent" => {
                let answer = granted!(judge::intent(&asked));
                self.ledger.note("answered.intent")?;
                Ok(Ok(answer))
            }
            "love" => {
                let answer = granted!(judge::love(&asked));
                self.ledger.note("answered.love")?;
                Ok(Ok(answer))
            }
            "log_experience" => self.log_experience(&asked),
            "audit" => audit::append(&self.ledger, asked),
            "hitl" => hitl::request(&self.ledger, &self.policy, &asked),
            "hitl_approve" => hitl::approve(&self.ledger, &asked),
            other => Err(format!("there is no handler `{other}`").into()),
        }
    }

    /// The row and its count are one transaction; the id is known before the count is written.
    fn log_experience(&self, asked: &Json) -> Answer {
        let agent = granted!(name(asked, "agent"));
        let insert = sql("INSERT INTO experience (timestamp, agent, content) VALUES ({now}, ?, ?)
                          RETURNING id")
        .value(agent)
        .value(asked.to_string());
        let stored = wavetank_sdk::database::transaction(|| {
            let id = number(&insert.query()??);
            self.ledger.entry("stored.log_experience").execute()??;
            Ok(id)
        });
        settled(stored).map(|stored| stored.map(|id| json!({ "id": id })))
    }
}

/// A name of a field.
fn name<'a>(asked: &'a Json, field: &str) -> Result<&'a str, String> {
    asked[field]
        .as_str()
        .filter(|name| !name.is_empty() && storable(name))
        .ok_or_else(|| format!("`{field}` must be text, neither empty nor with a NUL"))
}

/// What came of a transaction: a failure of the database is an answer, misuse is not.
fn settled<T>(result: Result<T>) -> Result<Result<T, Refusal>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => match error.downcast::<Failure>() {
            Ok(failure) => Ok(Err((*failure).into())),
            Err(error) => Err(error),
        },
    }
}

/// What is stored, in rows and in characters of content.
fn state() -> Answer {
    let tables = [("experience", "content"), ("audit_log", "entry"), ("hitl_queue", "action")];
    let mut state = json!({});
    for (table, content) in tables {
        let text = format!(
            "SELECT count(*) AS stored,
                    CAST(COALESCE(sum(length({content})), 0) AS BIGINT) AS size FROM {table}"
        );
        let rows = granted!(sql(&text).query()?);
        state[table] = ledger::row(&rows, 0);
    }
    Ok(Ok(state))
}

wavetank_sdk::service!(Aegis);
