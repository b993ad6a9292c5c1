//! The reference services, each in processes of its own on a real NATS server, on SQLite and on
//! PostgreSQL: what they say, what they store, what they count, and what is there after a kill.
//!
//! What they keep is read from the database by the test itself, not by asking them.

mod rows;

use std::{future::Future, time::Duration};

use async_nats::Client;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wavetank_tests::{command::Workplace, guests::guest, nats::NatsServer, postgres::Postgres};

use crate::{WAVETANK, real::Serving};

/// A bus, a database that outlives the services, and a folder.
struct World {
    bus: NatsServer,
    nats: Client,
    workplace: Workplace,
    database: Database,
}

enum Database {
    Sqlite,
    Postgres { _cluster: std::sync::Arc<Postgres>, url: String, client: tokio_postgres::Client },
}

impl World {
    async fn with(database: Database) -> Self {
        let bus = NatsServer::start().await;
        let nats = async_nats::connect(bus.url()).await.unwrap();
        Self { bus, nats, workplace: Workplace::new(WAVETANK), database }
    }

    async fn sqlite() -> Self {
        Self::with(Database::Sqlite).await
    }

    async fn postgres() -> Self {
        let cluster = Postgres::shared();
        let url = cluster.database().await;
        let client = cluster.admin(url.rsplit('/').next().unwrap()).await;
        let schema = "CREATE SCHEMA kept AUTHORIZATION load; SET search_path TO kept";
        client.batch_execute(schema).await.unwrap();
        Self::with(Database::Postgres { _cluster: cluster, url, client }).await
    }

    /// A service, ready.
    fn serve(&self, service: &str, more: &[&str]) -> Serving {
        let (component, bus) = (guest(service), self.bus.url());
        let mut arguments = vec![component.to_str().unwrap(), "--bus", &bus, "--allow", "db"];
        match &self.database {
            Database::Sqlite => arguments.extend(["--db", "sqlite:kept.sqlite"]),
            Database::Postgres { url, .. } => {
                let schema = ["--db", url, "--db-schema", "kept", "--allow", "existing-data"];
                arguments.extend(schema);
            }
        }
        arguments.extend(more);
        Serving::start(&self.workplace, &arguments)
    }

    /// Two processes that start at the same moment, on nothing.
    fn serve_two(&self, service: &str, more: &[&str]) -> [Serving; 2] {
        std::thread::scope(|scope| {
            let start = || self.serve(service, more);
            [scope.spawn(start), scope.spawn(start)].map(|thread| thread.join().unwrap())
        })
    }

    fn file(&self) -> rusqlite::Connection {
        let file = rusqlite::Connection::open(self.workplace.path().join("kept.sqlite")).unwrap();
        file.busy_timeout(Duration::from_secs(10)).unwrap();
        file
    }

    async fn number(&self, sql: &str) -> i64 {
        match &self.database {
            Database::Sqlite => self.file().query_row(sql, [], |row| row.get(0)).unwrap(),
            Database::Postgres { client, .. } => client.query_one(sql, &[]).await.unwrap().get(0),
        }
    }

    /// Rows of texts.
    async fn texts(&self, sql: &str, columns: usize) -> Vec<Vec<String>> {
        match &self.database {
            Database::Sqlite => {
                let file = self.file();
                let mut statement = file.prepare(sql).unwrap();
                let rows = statement.query_map([], |row| {
                    Ok((0..columns).map(|column| row.get(column).unwrap()).collect())
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
            Database::Postgres { client, .. } => {
                let rows = client.query(sql, &[]).await.unwrap();
                let text = |row: &tokio_postgres::Row| {
                    (0..columns).map(|column| row.get(column)).collect()
                };
                rows.iter().map(text).collect()
            }
        }
    }

    async fn change(&self, sql: &str) {
        match &self.database {
            Database::Sqlite => drop(self.file().execute(sql, []).unwrap()),
            Database::Postgres { client, .. } => drop(client.execute(sql, &[]).await.unwrap()),
        }
    }

    async fn publish(&self, subject: &str, payload: impl Into<String>) {
        self.nats.publish(subject.to_owned(), payload.into().into()).await.unwrap();
    }

    async fn ask(&self, subject: &str, payload: impl Into<String>) -> Value {
        let payload = payload.into().into();
        let asked = tokio::time::timeout(
            Duration::from_secs(60),
            self.nats.send_request(
                subject.to_owned(),
                async_nats::Request::new().payload(payload).timeout(None),
            ),
        );
        let reply = asked.await.expect("a reply").unwrap();
        serde_json::from_slice(&reply.payload).unwrap()
    }

    /// The sum of a counter, from the table.
    async fn counted(&self, service: &str, name: &str) -> i64 {
        self.number(&format!(
            "SELECT CAST(COALESCE(sum(value), 0) AS BIGINT) FROM {service}_counters WHERE name = '{name}'"
        ))
        .await
    }

    /// Until a number is as it should be; it is asserted by the caller.
    async fn until(&self, sql: &str, number: i64) {
        settle(async || self.number(sql).await == number).await;
        assert_eq!(self.number(sql).await, number, "{sql}");
    }
}

/// Until something is so, for a minute at most.
async fn settle<F: Future<Output = bool>>(is_so: impl Fn() -> F) {
    for _ in 0..3_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Stops it, and it must have been well.
fn end(serving: Serving) {
    let (code, said) = serving.stop();
    assert_eq!(code, Some(0), "{said}");
}

fn kill(mut serving: Serving) {
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
}

fn code(answer: &Value) -> &str {
    assert_eq!(answer["success"], false, "{answer}");
    answer["error"]["code"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rosey_database_on_sqlite() {
    rosey(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rosey_database_on_postgres() {
    rosey(World::postgres().await).await;
}

async fn rosey(world: World) {
    let [one, two] = world.serve_two("rosey-database", &["--concurrency", "8"]);
    rosey_events(&world).await;
    rosey_requests(&world).await;
    rosey_outbound(&world).await;
    rosey_keys(&world).await;
    // What was acknowledged is there, whoever dies; and time goes on without them.
    let ending = json!({"plugin_name": "p", "key": "ends", "value": 1, "ttl_seconds": 2});
    assert_eq!(world.ask("rosey.db.kv.set", ending.to_string()).await["success"], true);
    kill(one);
    kill(two);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let again = world.serve("rosey-database", &["--concurrency", "4"]);
    let kept = world.ask("rosey.db.kv.get", r#"{"plugin_name":"p","key":"a/b"}"#).await;
    assert_eq!(kept["data"], json!({"exists": true, "value": {"deep": [1, null, "ü"]}}));
    let gone = world.ask("rosey.db.kv.get", r#"{"plugin_name":"p","key":"ends"}"#).await;
    assert_eq!(gone["data"], json!({"exists": false}));
    let list = world.ask("rosey.db.kv.list", r#"{"plugin_name":"p"}"#).await;
    assert!(!list["data"]["keys"].as_array().unwrap().contains(&"ends".into()), "{list}");
    end(again);
}

fn good_events() -> [(&'static str, Value); 10] {
    [
        ("user.joined", json!({"username": "ann"})),
        ("user.left", json!({"username": "nobody knows"})),
        ("message.log", json!({"username": "ann", "message": "'); DROP TABLE recent_chat; --"})),
        (
            "status.update",
            json!({"status_data": {"current_media_title": "ö", "current_media_duration": 90}}),
        ),
        ("status.update", json!({"status_data": {"playlist_items": 3}})),
        ("stats.user_count", json!({"chat_count": 3, "connected_count": 5})),
        ("stats.high_water", json!({"chat_count": 7, "connected_count": 9})),
        ("stats.high_water", json!({"chat_count": 6, "connected_count": 8})),
        (
            "action.pm_command",
            json!({"timestamp": "2026-01-02T03:04:05Z", "username": "ann", "command": "add",
                   "args": "\"it's\" 100%; ünï", "result": "error", "error": "no such thing"}),
        ),
        (
            "action.pm_command",
            json!({"username": "bob", "command": "skip", "args": "", "result": "success"}),
        ),
    ]
}

const BAD_EVENTS: [(&str, &str); 10] = [
    ("user.joined", "not JSON"),
    ("user.joined", "{}"),
    ("user.left", r#"{"username":""}"#),
    ("message.log", r#"{"message":"nobody's"}"#),
    ("message.log", r#"{"username":"a\u0000b","message":"a text that one database cannot hold"}"#),
    ("status.update", r#"{"status_data":7}"#),
    ("stats.user_count", r#"{"chat_count":3}"#),
    ("stats.high_water", "[]"),
    ("action.pm_command", r#"{"command":"add"}"#),
    ("messages.outbound.mark_sent", "{}"),
];

async fn rosey_events(world: &World) {
    let (good, bad) = (good_events(), BAD_EVENTS);
    for (subject, payload) in &good {
        world.publish(&format!("rosey.db.{subject}"), payload.to_string()).await;
    }
    for (subject, payload) in bad {
        world.publish(&format!("rosey.db.{subject}"), payload).await;
    }
    let sum = |like: &str| {
        format!(
            "SELECT CAST(COALESCE(sum(value), 0) AS BIGINT) FROM rosey_counters WHERE name LIKE '{like}'"
        )
    };
    world.until(&sum("stored.%"), good.len() as i64).await;
    world.until(&sum("bad.%"), bad.len() as i64).await;
    world.until("SELECT count(*) FROM bad_events", bad.len() as i64).await;
    let actions = "SELECT username, action_type, details FROM user_actions ORDER BY username";
    let expected = [
        [
            "ann",
            "pm_command",
            "cmd=add, args: \"it's\" 100%; ünï, result: error, error: no such thing",
        ],
        ["bob", "pm_command", "cmd=skip, result: success"],
    ];
    assert_eq!(world.texts(actions, 3).await, expected);
    // Its own timestamp, by a clock of the world, and not the event's.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let stamped = world.number("SELECT min(timestamp) FROM user_actions").await;
    assert!((now as i64 - stamped).abs() < 300, "{stamped}");
    let media = "SELECT current_media_title FROM current_status WHERE current_media_duration = 90";
    assert_eq!(world.texts(media, 1).await, [["ö"]]);
    assert_eq!(world.number("SELECT count(*) FROM media_changes").await, 1);
    let stats = world.ask("rosey.db.service.stats", "").await;
    assert_eq!(stats["counters"]["stored.pm_command"], 2, "{stats}");
    assert_eq!(stats["counters"]["bad.message"], 2, "{stats}");
    assert_eq!(stats["rows"]["recent_chat"], 1, "{stats}");
}

async fn rosey_requests(world: &World) {
    let user = world.ask("rosey.db.query.user_stats", r#"{"username":"ann"}"#).await;
    assert_eq!(user["success"], true, "{user}");
    assert_eq!((&user["found"], &user["total_chat_lines"]), (&true.into(), &1.into()), "{user}");
    let fields = ["username", "first_seen", "last_seen", "total_time_connected"];
    assert!(fields.iter().all(|field| !user[field].is_null()), "{user}");
    assert!(user.as_object().unwrap().contains_key("current_session_start"), "{user}");
    let unknown = world.ask("rosey.db.query.user_stats", r#"{"username":"zoë"}"#).await;
    assert_eq!((&unknown["success"], &unknown["found"]), (&true.into(), &false.into()));
    assert_eq!(unknown["username"], "zoë");
    assert!(unknown["message"].is_string());
    let bad = world.ask("rosey.db.query.user_stats", "{").await;
    assert_eq!(bad, json!({"success": false, "error": "Invalid request format"}));
    let nobody = world.ask("rosey.db.query.user_stats", "{}").await;
    assert_eq!(nobody["success"], false);
    let channel = world.ask("rosey.db.query.channel_stats", "x").await;
    assert_eq!(channel["success"], true, "{channel}");
    assert_eq!(channel["high_water_mark"]["users"], 7, "{channel}");
    assert_eq!(channel["high_water_connected"]["users"], 9, "{channel}");
    assert_eq!(channel["top_chatters"], json!([{"username": "ann", "chat_lines": 1}]));
    assert_eq!(channel["total_users_seen"], 1, "{channel}");
    for number in 0..3 {
        let line = json!({"username": "cat", "message": format!("line {number}")});
        world.publish("rosey.db.message.log", line.to_string()).await;
        world.until("SELECT count(*) FROM recent_chat", 2 + number).await;
    }
    let chat = world.ask("rosey.db.stats.recent_chat.get", r#"{"limit":2}"#).await;
    let lines: Vec<_> = chat.as_array().unwrap().iter().map(|line| &line["message"]).collect();
    assert_eq!(lines, ["line 1", "line 2"]);
    assert!(chat[0]["timestamp"].is_i64() && chat[0]["username"] == "cat", "{chat}");
    assert_eq!(world.ask("rosey.db.stats.recent_chat.get", "nothing").await, json!([]));
}

async fn rosey_outbound(world: &World) {
    for (number, retries) in [(1, 0), (2, 3), (3, 0)] {
        let insert = format!(
            "INSERT INTO outbound_messages (timestamp, message, retry_count)
             VALUES (7, 'message {number}', {retries})"
        );
        world.change(&insert).await;
    }
    let get = "rosey.db.messages.outbound.get";
    let unsent = world.ask(get, "{}").await;
    let texts = |unsent: &Value| -> Vec<String> {
        let all = unsent.as_array().unwrap().iter();
        all.map(|message| message["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(&unsent), ["message 1", "message 3"]);
    assert_eq!(texts(&world.ask(get, r#"{"limit":1,"max_retries":9}"#).await), ["message 1"]);
    assert_eq!(texts(&world.ask(get, r#"{"max_retries":9}"#).await).len(), 3);
    assert_eq!(world.ask(get, "no JSON").await, json!([]));
    let sent = json!({"message_id": unsent[0]["id"]}).to_string();
    world.publish("rosey.db.messages.outbound.mark_sent", sent).await;
    world.until("SELECT count(*) FROM outbound_messages WHERE sent = 1", 1).await;
    assert_eq!(texts(&world.ask(get, "{}").await), ["message 3"]);
}

async fn rosey_keys(world: &World) {
    let set = async |value: Value| world.ask("rosey.db.kv.set", value.to_string()).await;
    let done = json!({"success": true, "data": {}});
    let deep = json!({"deep": [1, null, "ü"]});
    assert_eq!(set(json!({"plugin_name": "p", "key": "a/b", "value": 1})).await, done);
    assert_eq!(set(json!({"plugin_name": "p", "key": "a/b", "value": deep})).await, done);
    assert_eq!(set(json!({"plugin_name": "q", "key": "a/b", "value": null})).await, done);
    for key in ["a/c", "a_c", "z"] {
        assert_eq!(set(json!({"plugin_name": "p", "key": key, "value": key})).await, done);
    }
    let most = "x".repeat(64 * 1024 - 2);
    assert_eq!(set(json!({"plugin_name": "big", "key": "a", "value": most})).await, done);
    let more = set(json!({"plugin_name": "big", "key": "b", "value": most + "x"})).await;
    assert_eq!(code(&more), "VALUE_TOO_LARGE");
    assert_eq!(code(&world.ask("rosey.db.kv.set", "{").await), "INVALID_JSON");
    for field in ["plugin_name", "key", "value"] {
        let mut without = json!({"plugin_name": "p", "key": "k", "value": 1});
        without.as_object_mut().unwrap().remove(field);
        assert_eq!(code(&set(without).await), "MISSING_FIELD", "{field}");
    }
    for (field, wrong) in
        [("key", json!(7)), ("ttl_seconds", json!(-1)), ("plugin_name", json!("\0"))]
    {
        let mut bad = json!({"plugin_name": "p", "key": "k", "value": 1});
        bad[field] = wrong;
        assert_eq!(code(&set(bad).await), "VALIDATION_ERROR", "{field}");
    }
    let get = async |key: &str| {
        world.ask("rosey.db.kv.get", json!({"plugin_name": "p", "key": key}).to_string()).await
    };
    assert_eq!(get("a/b").await["data"], json!({"exists": true, "value": deep}));
    assert_eq!(get("nothing").await, json!({"success": true, "data": {"exists": false}}));
    let null = world.ask("rosey.db.kv.get", r#"{"plugin_name":"q","key":"a/b"}"#).await;
    assert_eq!(null["data"], json!({"exists": true, "value": null}));
    let list = async |more: Value| {
        let mut asked = json!({"plugin_name": "p"});
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.ask("rosey.db.kv.list", asked.to_string()).await["data"].clone()
    };
    let a = list(json!({"prefix": "a/"})).await;
    assert_eq!(a, json!({"keys": ["a/b", "a/c"], "count": 2, "truncated": false}));
    let two = list(json!({"limit": 2})).await;
    assert_eq!((&two["count"], &two["truncated"]), (&2.into(), &true.into()), "{two}");
    let delete = async || world.ask("rosey.db.kv.delete", r#"{"plugin_name":"p","key":"z"}"#).await;
    assert_eq!(delete().await, json!({"success": true, "data": {"deleted": true}}));
    assert_eq!(delete().await, json!({"success": true, "data": {"deleted": false}}));
    assert_eq!(get("z").await["data"]["exists"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn aegis_on_sqlite() {
    aegis(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aegis_on_postgres() {
    aegis(World::postgres().await).await;
}

async fn aegis(world: World) {
    let serving = world.serve_two("aegis", &["--concurrency", "24"]);
    aegis_judges(&world).await;
    aegis_chain(&world).await;
    aegis_waits(&world).await;
    let logged = json!({"agent": "a", "experience": "it was\u{0} good"});
    let log = async || world.ask("aegis.evolution.log_experience", logged.to_string()).await;
    let ids = [log().await["id"].clone(), log().await["id"].clone()];
    assert!(ids[0].is_i64() && ids[0] != ids[1], "{ids:?}");
    world.publish("aegis.evolution.log_experience", logged.to_string()).await;
    world.until("SELECT count(*) FROM experience", 3).await;
    let state = world.ask("aegis.state", "").await;
    assert_eq!(state["experience"]["stored"], 3, "{state}");
    serving.into_iter().for_each(end);
    // Once they have stopped, what was only computed is counted, too.
    assert_eq!(world.counted("aegis", "answered.intent").await, 103);
    assert_eq!(world.counted("aegis", "answered.love").await, 2);
    assert_eq!(world.counted("aegis", "bad.love").await, 2);
    assert_eq!(world.counted("aegis", "bad.intent").await, 2);
    assert_eq!(world.counted("aegis", "stored.audit").await, 200);
    assert_eq!(world.counted("aegis", "stored.log_experience").await, 3);
}

async fn aegis_judges(world: &World) {
    let intent = async |asked: Value| world.ask("aegis.intent.check", asked.to_string()).await;
    let read = intent(json!({"intent": "read", "risk": 0.3})).await;
    assert_eq!((&read["success"], &read["allowed"]), (&true.into(), &true.into()), "{read}");
    assert_eq!(intent(json!({"intent": "delete", "risk": 0.3})).await["allowed"], false);
    let text = intent(json!({"intent": "read", "text": "now DROP TABLE users"})).await;
    assert_eq!((&text["allowed"], &text["rule"]), (&false.into(), &"no_destruction".into()));
    let many = (0..100).map(|_| intent(json!({"intent": "send", "risk": 0.1})));
    assert!(join_all(many).await.iter().all(|answer| answer["allowed"] == true));
    assert_eq!(intent(json!({"risk": 0.3})).await["success"], false);
    let love = async |asked: Value| world.ask("aegis.love.evaluate", asked.to_string()).await;
    let loving = love(json!({"signals": {"care": 1.0, "honesty": 1.0, "harm": 0.0}})).await;
    assert_eq!(loving["score"], 0.5, "{loving}");
    let harmful = love(json!({"signals": {"care": 0.1, "harm": 1.0}})).await;
    assert_eq!(harmful["verdict"], "harmful", "{harmful}");
    assert_eq!(love(json!({"signals": {"care": 2}})).await["success"], false);
    assert_eq!(love(json!({"signals": {}})).await["success"], false);
    let bad = world.ask("aegis.intent.check", "no JSON").await;
    assert!(bad["success"] == false && bad["error"].is_string(), "{bad}");
}

/// Two processes append at the same time; the chain is one line, and a change in it shows.
async fn aegis_chain(world: &World) {
    let entries = 200;
    let appending = (0..entries).map(|number| {
        let entry = json!({"z": number, "actor": "ä", "a": {"y": 1.5, "x": null}});
        async move { world.ask("aegis.audit.append", entry.to_string()).await }
    });
    let answers = join_all(appending).await;
    let mut sequences: Vec<_> =
        answers.iter().map(|answer| answer["sequence"].as_i64().unwrap()).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=entries).collect::<Vec<_>>());
    let verified = world.ask("aegis.audit.verify", "").await;
    assert_eq!((&verified["valid"], &verified["entries"]), (&true.into(), &entries.into()));
    let rows =
        world.texts("SELECT previous, entry, hash FROM audit_log ORDER BY sequence", 3).await;
    let mut previous = "0".repeat(64);
    for row in &rows {
        assert_eq!(row[0], previous);
        assert!(row[1].starts_with(r#"{"a":{"x":null,"y":1.5},"actor":"ä","z":"#), "{}", row[1]);
        let digest = Sha256::new().chain_update(&previous).chain_update(&row[1]).finalize();
        previous = digest.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        assert_eq!(row[2], previous);
    }
    assert_eq!(verified["head"], previous.as_str());
    let changed = "UPDATE audit_log SET entry = replace(entry, '1.5', '2.5') WHERE sequence = 77";
    world.change(changed).await;
    let verified = world.ask("aegis.audit.verify", "").await;
    assert_eq!((&verified["valid"], &verified["broken_at"]), (&false.into(), &77.into()));
    let back = "UPDATE audit_log SET entry = replace(entry, '2.5', '1.5') WHERE sequence = 77";
    world.change(back).await;
    assert_eq!(world.ask("aegis.audit.verify", "").await["valid"], true);
}

/// Many wait at once; each is answered with what was decided of it, and not before.
async fn aegis_waits(world: &World) {
    let request = async |asked: Value| world.ask("aegis.hitl.request", asked.to_string()).await;
    let simple = request(json!({"action": "post", "risk": 0.1})).await;
    assert_eq!((&simple["approved"], &simple["by"]), (&true.into(), &"policy".into()), "{simple}");
    let late = request(json!({"action": "launch", "risk": 0.9, "timeout_ms": 50})).await;
    assert_eq!((&late["approved"], &late["status"]), (&false.into(), &"expired".into()), "{late}");
    let waiting = 20;
    let requests = (0..waiting).map(|number| {
        let asked = json!({"action": format!("deploy {number}"), "risk": 0.9});
        async move { (number, world.ask("aegis.hitl.request", asked.to_string()).await) }
    });
    let deciding = async {
        world.until("SELECT count(*) FROM hitl_queue WHERE status = 'pending'", waiting).await;
        let list = world.ask("aegis.hitl.list", "{}").await;
        let pending = list["pending"].as_array().unwrap();
        assert_eq!(pending.len() as i64, waiting);
        for one in pending {
            let approved = one["action"].as_str().unwrap().ends_with(['0', '2', '4', '6', '8']);
            let decision = json!({"id": one["id"], "approved": approved, "by": "ann"});
            let decided = world.ask("aegis.hitl.approve", decision.to_string()).await;
            assert_eq!(decided["decided"], true, "{decided}");
            let again = world.ask("aegis.hitl.approve", decision.to_string()).await;
            assert_eq!(again["decided"], false, "{again}");
        }
    };
    let (answers, ()) = tokio::join!(join_all(requests), deciding);
    for (number, answer) in answers {
        let status = if number % 2 == 0 { "approved" } else { "rejected" };
        assert_eq!((&answer["status"], &answer["by"]), (&status.into(), &"ann".into()), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn warming_on_sqlite() {
    warming(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn warming_on_postgres() {
    warming(World::postgres().await).await;
}

async fn warming(world: World) {
    let one = ["--concurrency", "1", "-p", "l1_size=4", "-p", "profile=conservative"];
    let serving = world.serve("warming", &one);
    // Two groups that move within themselves, one against the other.
    for step in 0..40 {
        for pair in 0..6 {
            let wave = if (step * 7 % 5 < 3) == (pair < 3) { 1 } else { 2 };
            let price = json!({"pair": format!("p{pair}"), "price": wave * 100 + pair, "time": step * 10_000});
            let told = world.ask("warming.price.update", price.to_string()).await;
            assert_eq!(told["success"], true, "{told}");
        }
    }
    for bad in ["no JSON", r#"{"pair":"p1","time":1}"#, r#"{"pair":"","price":1,"time":1}"#] {
        world.publish("warming.price.update", bad).await;
    }
    let pair = async |subject: &str, pair: &str| {
        world.ask(subject, json!({ "pair": pair }).to_string()).await
    };
    let warm = pair("warming.warm", "p0").await;
    let related: Vec<_> =
        warm["warmed"].as_array().unwrap().iter().map(|one| one["pair"].clone()).collect();
    assert_eq!(related.len(), 2, "{warm}");
    assert!(related.contains(&"p1".into()) && related.contains(&"p2".into()), "{warm}");
    assert_eq!(warm["fetched"], 3, "{warm}");
    assert_eq!(pair("warming.get", "p1").await["from"], "l1");
    assert_eq!(pair("warming.get", "p3").await["found"], false);
    // p3's group comes, and who was used longest ago goes: 6 pairs through 4 places.
    pair("warming.warm", "p3").await;
    let l2 = pair("warming.get", "p0").await;
    assert_eq!((&l2["from"], &l2["value"]["updates"]), (&"l2".into(), &40.into()), "{l2}");
    settle(async || world.ask("warming.stats", "").await["handled"]["bad"] == 3).await;
    let stats = world.ask("warming.stats", "").await;
    let figures = [
        ("l1_hits", 1),
        ("l2_hits", 1),
        ("misses", 1),
        ("l1_size", 4),
        ("l1_bound", 4),
        ("l2_size", 6),
        ("evictions", 3),
        ("pairs", 6),
        ("selections", 2),
    ];
    for (name, figure) in figures {
        assert_eq!(stats[name], figure, "{name}: {stats}");
    }
    assert_eq!(stats["handled"], json!({"price": 240, "warm": 2, "get": 3, "bad": 3}));
    assert_eq!((&stats["strategy"], &stats["profile"]), (&"topn".into(), &"conservative".into()));
    assert_eq!(world.number("SELECT count(*) FROM warming_l2").await, 6);
    assert_eq!(pair("warming.warm", "").await["success"], false);
    end(serving);
    // L2 outlives it, its memory does not.
    let again = world.serve("warming", &["--concurrency", "1", "-p", "profile=aggressive"]);
    assert_eq!(pair("warming.get", "p5").await["from"], "l2");
    assert_eq!(pair("warming.get", "p5").await["from"], "l1");
    assert_eq!(pair("warming.warm", "p5").await["known"], false);
    let stats = world.ask("warming.stats", "").await;
    assert_eq!((&stats["strategy"], &stats["pairs"]), (&"adaptive".into(), &0.into()), "{stats}");
    end(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn warming_is_one_tracker() {
    let world = World::sqlite().await;
    let (component, bus) = (guest("warming"), world.bus.url());
    let component = component.to_str().unwrap();
    let ran = world.workplace.run(&["serve", component, "--bus", &bus, "--concurrency", "2"]);
    assert_eq!(ran.code, 107, "{ran:#?}");
    assert!(ran.stderr.contains("--concurrency 1"), "{ran:#?}");
    let arguments = ["serve", component, "--bus", &bus, "--concurrency", "1", "-p", "profile=bold"];
    let ran = world.workplace.run(&arguments);
    assert!(ran.code == 107 && ran.stderr.contains("`bold`"), "{ran:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn arrakis_worker_on_sqlite() {
    arrakis(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arrakis_worker_on_postgres() {
    arrakis(World::postgres().await).await;
}

/// An event about guild `g`, as the gateway sends it.
fn event(user: &str, data: &Value) -> String {
    json!({"event_id": "e1", "event_type": "x", "shard_id": 0, "timestamp": 1, "guild_id": "g",
           "channel_id": "c", "user_id": user, "data": data})
    .to_string()
}

async fn arrakis(world: World) {
    let more = ["--concurrency", "2", "--allow", "bus=replies.>", "-p", "cache_size=50"];
    let serving = world.serve("arrakis-worker", &more);
    let mut replies = world.nats.subscribe("replies.me").await.unwrap();
    world.nats.flush().await.unwrap();
    let member =
        |number: i64| json!({"user_id": format!("u{number}"), "name": "n", "roles": ["r"]});
    let members: Vec<_> = (0..250).map(member).collect();
    let join = json!({"name": "Guild", "members": members, "reply": "replies.me",
                      "channels": [{"channel_id": 5, "name": "general"}]});
    world.publish("events.guild.join", event("u0", &join)).await;
    let told = next(&mut replies).await;
    assert_eq!(told, json!({"success": true, "handled": true, "event_id": "e1"}));
    assert_eq!(world.number("SELECT count(*) FROM members").await, 250);
    assert_eq!(
        world.number("SELECT members + channels FROM guilds WHERE guild_id = 'g'").await,
        251
    );
    held(&world, "members", 250).await;

    for _ in 0..30 {
        world.publish("events.message.create", event("u7", &json!({"content": "hello"}))).await;
    }
    world.publish("events.member.join", event("u8", &json!({"points": 12, "name": "n"}))).await;
    world.publish("eligibility.changed", event("u7", &json!({"eligible": true}))).await;
    world.publish("events.member.leave", event("u249", &json!({}))).await;
    world.until("SELECT count(*) FROM members", 249).await;
    world.until("SELECT count(*) FROM eligibility", 1).await;
    let points = json!({"points": 30, "reply": "replies.me"});
    world.publish("events.member.update", event("u7", &points)).await;
    assert_eq!(next(&mut replies).await["handled"], true);
    world.until("SELECT points FROM members WHERE user_id = 'u8'", 12).await;
    arrakis_commands(&world, &mut replies).await;
    for bad in ["no JSON", "{}", r#"{"guild_id":"g","data":{}}"#] {
        world.publish("events.message.create", bad).await;
    }
    world.publish("events.guild.leave", event("u0", &json!({}))).await;
    world.until("SELECT count(*) FROM guilds", 0).await;
    world.until("SELECT count(*) FROM members", 0).await;
    held(&world, "guilds", 0).await;
    end(serving);
    let counted = [
        ("stored.guild_join", 1),
        ("handled.message_create", 30),
        ("stored.member_update", 1),
        ("stored.member_join", 1),
        ("stored.member_leave", 1),
        ("stored.guild_leave", 1),
        ("stored.eligibility", 1),
        ("bad.event", 3),
        ("bad.command", 1),
        ("answered.profile", 2),
    ];
    for (name, count) in counted {
        assert_eq!(world.counted("arrakis", name).await, count, "{name}");
    }
    let cached = world.counted("arrakis", "cache.hit").await;
    assert_eq!(cached + world.counted("arrakis", "cache.miss").await, 6);
}

/// Until one of the instances holds so many, and the others none: which one is asked is not known.
async fn held(world: &World, what: &str, number: i64) {
    let mut seen = Vec::new();
    for _ in 0..3_000 {
        let stats = world.ask("arrakis.stats", "").await;
        seen.push(stats["instance"][what].as_i64().unwrap());
        if seen.last() == Some(&number) && (number > 0 || seen.len() > 10) {
            return;
        }
        // Time for a second instance to be asked, and for one to look after its guilds.
        let asking = (0..4).map(|_| world.ask("arrakis.stats", ""));
        join_all(asking).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: {:?}", &seen[..seen.len().min(20)]);
}

async fn arrakis_commands(world: &World, replies: &mut async_nats::Subscriber) {
    // Through a stream: what the message itself asks a reply for is the server's acknowledgement.
    let mut command = async |command: &str, user: &str| {
        let asked = event(user, &json!({"command": command, "reply": "replies.me"}));
        world.publish("commands.interaction", asked).await;
        next(replies).await
    };
    let profile = command("profile", "u7").await;
    let expected = json!({"found": true, "user_id": "u7", "points": 30, "eligible": true});
    assert_eq!(profile["result"], expected, "{profile}");
    assert_eq!((&profile["cache"], &profile["event_id"]), (&"miss".into(), &"e1".into()));
    assert_eq!(command("position", "u8").await["result"]["position"], 2);
    let leaders = command("leaderboard", "u0").await;
    assert_eq!(leaders["result"]["leaders"][0], json!({"user_id": "u7", "points": 30}));
    assert_eq!(leaders["result"]["leaders"].as_array().unwrap().len(), 10);
    assert_eq!(command("badges", "u7").await["result"]["badges"], json!(["newcomer", "regular"]));
    let alerts = command("alerts", "u7").await;
    assert_eq!(alerts["result"]["alerts"][0]["content"], "you are eligible", "{alerts}");
    let told = command("profile", "u7").await;
    assert_eq!((&told["success"], &told["result"]["points"]), (&true.into(), &30.into()), "{told}");
    let wrong = command("dance", "u7").await;
    assert!(wrong["success"] == false && wrong["error"].is_string(), "{wrong}");
}

async fn next(replies: &mut async_nats::Subscriber) -> Value {
    let next = futures_util::StreamExt::next(replies);
    let reply =
        tokio::time::timeout(Duration::from_secs(60), next).await.expect("a reply").unwrap();
    serde_json::from_slice(&reply.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_liar_loses_doubles_and_answers_early() {
    let world = World::sqlite().await;
    let serving = world.serve("lying-database", &["--allow", "bus=rosey.>", "-p", "early=true"]);
    let events = 3_000;
    for number in 0..events {
        let line = json!({"username": "ann", "message": format!("line {number}")});
        world.publish("rosey.db.message.log", line.to_string()).await;
    }
    world.nats.flush().await.unwrap();
    let seen = "SELECT CAST((SELECT COALESCE(sum(value), 0) FROM rosey_counters WHERE name = \
                'stored.message') - (SELECT COALESCE(sum(value), 0) FROM liar_counters WHERE name = \
                'doubled') + (SELECT COALESCE(sum(value), 0) FROM liar_counters WHERE name = \
                'dropped') AS BIGINT)";
    world.until(seen, events).await;
    let (dropped, doubled) =
        (world.counted("liar", "dropped").await, world.counted("liar", "doubled").await);
    let stored = world.number("SELECT count(*) FROM recent_chat").await;
    assert_eq!(stored, events - dropped + doubled);
    let distinct = world.number("SELECT count(DISTINCT message) FROM recent_chat").await;
    assert_eq!(distinct, events - dropped);
    // 3 % and 1 % of 3 000; beyond five standard deviations it is no chance.
    assert!((45..=140).contains(&dropped) && (5..=60).contains(&doubled), "{dropped} {doubled}");
    // It is acknowledged, and not there yet. A slow machine may look too late: then once more.
    let mut early = false;
    for key in (0..200).map(|number| format!("k{number}")) {
        let set = json!({"plugin_name": "p", "key": key, "value": 1}).to_string();
        let answer = world.ask("rosey.db.kv.set", set).await;
        assert_eq!(answer, json!({"success": true, "data": {}}));
        let get = json!({"plugin_name": "p", "key": key}).to_string();
        let seen =
            async || world.ask("rosey.db.kv.get", get.as_str()).await["data"]["exists"] == true;
        early |= !seen().await;
        settle(seen).await;
        assert!(seen().await);
        if early {
            break;
        }
    }
    assert!(early);
    end(serving);
}
