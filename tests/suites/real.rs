//! The whole of it on real parts: a service in a process of its own, on a real NATS server, with its
//! data in PostgreSQL; driven by the statistics script and by its plugin twin.
//!
//! Facts are asserted, never speed: a threshold on a time may fail here, an answer may not.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use wavetank_tests::{
    command::{Ran, Workplace, repository},
    guests::guest,
    nats::NatsServer,
    postgres::Postgres,
};

use crate::WAVETANK;

const PLAYERS: i64 = 120;

/// `wavetank serve`, ready.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) ready: String,
    rest: Option<JoinHandle<String>>,
}

impl Serving {
    pub(crate) fn start(workplace: &Workplace, arguments: &[&str]) -> Self {
        let mut all = vec!["serve"];
        all.extend(arguments);
        let mut child = workplace.start(&all);
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (mut ready, mut said) = (String::new(), String::new());
        while !ready.starts_with("ready: ") {
            said.push_str(&ready);
            ready.clear();
            let read = stderr.read_line(&mut ready).unwrap();
            assert!(read > 0, "it ended before it was ready:\n{said}");
        }
        // Someone must read on, or a full pipe would hold the service up.
        let rest = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap_or_default();
            text
        });
        Self { child, ready, rest: Some(rest) }
    }

    /// Asks it to end; the exit code and what it said since it was ready.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.child.wait().unwrap();
        (status.code(), self.rest.take().unwrap().join().unwrap())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Only where a test failed before `stop`.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A database whose schema `rosey` outlives the service, so that what it stored can be counted.
async fn database(cluster: &Postgres) -> (String, tokio_postgres::Client) {
    let url = cluster.database().await;
    let name = url.rsplit('/').next().unwrap();
    let client = cluster.admin(name).await;
    client.batch_execute("CREATE SCHEMA rosey AUTHORIZATION load").await.unwrap();
    (url, client)
}

async fn count(client: &tokio_postgres::Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// The sum of a counter over all phases of a run.
fn total(ran: &Ran, metric: &str) -> f64 {
    let summary = ran.summary.as_ref().unwrap();
    let series = summary["metrics"].as_array().unwrap().iter();
    series
        .filter(|entry| entry["name"] == metric)
        .filter(|entry| entry["tags"].as_object().is_some_and(|tags| !tags.is_empty()))
        .map(|entry| entry["values"]["count"].as_f64().unwrap())
        .sum()
}

/// What must be so however slow the machine is.
fn check(ran: &Ran) {
    let summary = ran.summary.as_ref().unwrap_or_else(|| panic!("{ran:#?}"));
    for threshold in summary["thresholds"].as_array().unwrap() {
        let metric = threshold["metric"].as_str().unwrap();
        let about_time = metric.ends_with("_duration") || metric.ends_with("_time");
        assert!(about_time || threshold["status"] == "pass", "{threshold:#}");
    }
    assert!(matches!(ran.code, 0 | 99 | 111 | 117), "{ran:#?}");
    let causes = summary["verdict"]["causes"].as_array().unwrap();
    let slow = ["thresholds_failed", "invalid", "not_shown"];
    assert!(causes.iter().all(|cause| slow.contains(&cause.as_str().unwrap())), "{causes:?}");
    let checks = summary["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    for name in ["user answered", "user found", "channel answered", "channel has users"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(checks.iter().all(|check| check["fails"] == 0), "{checks:?}");
    assert_eq!(summary["errors"], Value::Array(Vec::new()));

    let sent = total(ran, "bus_published") + total(ran, "bus_requests");
    assert!(sent > f64::from(PLAYERS as i32), "{sent}");
    assert_eq!(total(ran, "service_handled"), sent, "{:#}", summary["remarks"]);
    let handled = summary["metrics"].as_array().unwrap().iter();
    let mine = handled
        .filter(|entry| entry["name"] == "service_handle_duration")
        .filter(|entry| entry["tags"]["target"] == "rosey-database");
    let samples: u64 = mine.map(|entry| entry["values"]["count"].as_u64().unwrap()).sum();
    assert_eq!(samples as f64, sent);
    assert!(total(ran, "service_cpu_seconds") > 0.0);
    let failed = ran.metric("service_failed", &[]);
    assert_eq!(failed["passes"], 0, "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_its_own_process_is_driven_by_a_script_and_by_its_twin() {
    let bus = NatsServer::start().await;
    let cluster = Postgres::shared();
    let (url, client) = database(&cluster).await;
    let workplace = Workplace::new(WAVETANK);
    let service = guest("rosey-database");
    let service = service.to_str().unwrap();
    let twin = guest("stats-queries");
    let script = repository().join("scripts/rosey/r2-stats-queries.rhai");
    let players = format!("players={PLAYERS}");

    // One after the other on one service: what was measured in one run is not in the next.
    let nats_url = bus.url();
    let serving = Serving::start(
        &workplace,
        &[service, "--bus", &nats_url, "--db", &url, "--db-schema", "rosey", "--allow", "db"],
    );
    assert!(serving.ready.contains("subjects on nats://127.0.0.1:"), "{}", serving.ready);
    for workload in [script.to_str().unwrap(), twin.to_str().unwrap()] {
        let ran = workplace.run_workload(&[
            workload,
            "--bus",
            &nats_url,
            "--allow",
            "bus=rosey.>",
            "--rate",
            "50",
            "--duration",
            "3s",
            "-p",
            &players,
        ]);
        check(&ran);
        let users = count(&client, "SELECT count(*) FROM rosey.user_stats").await;
        assert_eq!(users, PLAYERS, "each join is a row");
    }
    let (code, said) = serving.stop();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(count(&client, "SELECT count(*) FROM rosey.bad_events").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_made_for_itself_is_gone_with_it() {
    let bus = NatsServer::start().await;
    let cluster = Postgres::shared();
    let (url, client) = database(&cluster).await;
    let workplace = Workplace::new(WAVETANK);
    let service = guest("rosey-database");
    let nats_url = bus.url();
    let arguments = [service.to_str().unwrap(), "--bus", &nats_url, "--db", &url];
    // Two at once: their schemas are their own.
    let serving = [(); 2].map(|()| Serving::start(&workplace, &arguments));
    let own = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'wavetank\\_serve\\_%'";
    assert_eq!(count(&client, own).await, 2);
    for serving in serving {
        assert_eq!(serving.stop().0, Some(0));
    }
    assert_eq!(count(&client, own).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_stored_and_bad_ones_are_counted() {
    let bus = NatsServer::start().await;
    let cluster = Postgres::shared();
    let (url, client) = database(&cluster).await;
    let workplace = Workplace::new(WAVETANK);
    let service = guest("rosey-database");
    let (service, nats_url) = (service.to_str().unwrap(), bus.url());
    let mut arguments = vec![service, "--bus", &nats_url, "--db", &url, "--db-schema", "rosey"];
    arguments.extend(["--allow", "db", "--allow", "existing-data"]);
    // Two processes make the same tables at the same time, and share the messages.
    let serving = std::thread::scope(|scope| {
        let start = || Serving::start(&workplace, &arguments);
        [scope.spawn(start), scope.spawn(start)].map(|thread| thread.join().unwrap())
    });
    let nats = async_nats::connect(bus.url()).await.unwrap();
    let events = [
        ("rosey.db.user.joined", r#"{"username":"ann"}"#),
        ("rosey.db.message.log", r#"{"username":"ann","message":"'); DROP TABLE user_stats; --"}"#),
        (
            "rosey.db.action.pm_command",
            r#"{"timestamp":"2026-01-02T03:04:05Z","username":"ann","command":"add","args":"","result":"success"}"#,
        ),
        ("rosey.db.status.update", r#"{"status_data":{"current_media_title":"ö"}}"#),
        ("rosey.db.stats.high_water", r#"{"chat_count":7,"connected_count":9}"#),
        ("rosey.db.user.joined", "not JSON"),
        ("rosey.db.message.log", r#"{"message":"nobody's"}"#),
    ];
    for (subject, payload) in events {
        nats.publish(subject, payload.into()).await.unwrap();
    }
    nats.flush().await.unwrap();
    let stored = "SELECT (SELECT count(*) FROM rosey.user_stats) + (SELECT count(*) FROM \
                  rosey.recent_chat) + (SELECT count(*) FROM rosey.user_actions) + (SELECT count(*) \
                  FROM rosey.current_status) + (SELECT count(*) FROM rosey.high_water) + (SELECT \
                  count(*) FROM rosey.bad_events)";
    for _ in 0..2_000 {
        if count(&client, stored).await == 8 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(count(&client, stored).await, 8);
    let action = client.query_one("SELECT timestamp, details FROM rosey.user_actions", &[]).await;
    let action = action.unwrap();
    assert!(action.get::<_, i64>(0) > 1_700_000_000, "its own timestamp");
    assert_eq!(action.get::<_, &str>(1), "cmd=add, result: success");
    let asked = nats.request("rosey.db.query.user_stats", r#"{"username":"ann"}"#.into()).await;
    let answer: Value = serde_json::from_slice(&asked.unwrap().payload).unwrap();
    assert_eq!((&answer["found"], &answer["total_chat_lines"]), (&true.into(), &1.into()));
    let asked = nats.request("rosey.db.query.channel_stats", "x".into()).await;
    let answer: Value = serde_json::from_slice(&asked.unwrap().payload).unwrap();
    assert_eq!(answer["high_water_connected"]["users"], 9, "{answer}");
    let asked = nats.request("rosey.db.stats.recent_chat.get", "{}".into()).await;
    let answer: Value = serde_json::from_slice(&asked.unwrap().payload).unwrap();
    assert_eq!(answer[0]["message"], "'); DROP TABLE user_stats; --", "{answer}");
    for serving in serving {
        assert_eq!(serving.stop().0, Some(0));
    }
}

#[test]
fn a_service_without_a_bus_or_a_database_says_so() {
    let workplace = Workplace::new(WAVETANK);
    let script = workplace.file(
        "echo.rhai",
        "export const options = #{ services: #{ \"a.echo\": \"echo\" } };\n\
         fn echo(message) { \"echo\" }\n",
    );
    let nowhere = "nats://127.0.0.1:1";
    let ran = workplace.run(&["serve", &script, "--bus", nowhere]);
    assert_eq!(ran.code, 116, "{ran:#?}");
    assert!(ran.stderr.contains("127.0.0.1:1"), "{}", ran.stderr);
    let ran = workplace.run(&["serve", &script]);
    assert_eq!(ran.code, 104, "{ran:#?}");
    let none = workplace.file("none.rhai", "fn iteration(ctx) {}\n");
    let ran = workplace.run(&["serve", &none, "--bus", nowhere]);
    assert_eq!(ran.code, 104, "{ran:#?}");
    assert!(ran.stderr.contains("offers no services"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_answer_is_ignored_and_counted() {
    let bus = NatsServer::start().await;
    let nats = async_nats::connect(bus.url()).await.unwrap();
    let mut asks = nats.subscribe("_wavetank.any.collect").await.unwrap();
    nats.flush().await.unwrap();
    let answering = tokio::spawn(async move {
        let bad = ["[]", "{\"schema\":\"x\"}", "\u{0}", "{\"schema\":\"wavetank.service/1\"}"];
        while let Some(ask) = futures_util::StreamExt::next(&mut asks).await {
            for payload in bad {
                let to = ask.reply.clone().unwrap();
                nats.publish(to, payload.into()).await.unwrap();
            }
            nats.flush().await.unwrap();
        }
    });
    let workplace = Workplace::new(WAVETANK);
    let script = workplace.file("sleep.rhai", "fn iteration(ctx) { sleep(\"1500ms\"); }\n");
    let url = bus.url();
    let running =
        tokio::task::spawn_blocking(move || workplace.run_workload(&[&script, "--bus", &url]));
    let ran = running.await.unwrap();
    answering.abort();
    assert_eq!(ran.code, 0, "{ran:#?}");
    let remarks = ran.summary.as_ref().unwrap()["remarks"].to_string();
    assert!(remarks.contains("no usable reports"), "{remarks}");
}

/// What a workload's one virtual user sends in 200 iterations, in order.
async fn operations(bus: &NatsServer, workload: &str, more: &[&str]) -> Vec<(String, String)> {
    let nats = async_nats::connect(bus.url()).await.unwrap();
    let mut all = nats.subscribe("*.>").await.unwrap();
    nats.flush().await.unwrap();
    let answering = {
        let nats = nats.clone();
        tokio::spawn(async move {
            let mut operations = Vec::new();
            while let Some(message) = futures_util::StreamExt::next(&mut all).await {
                match message.subject.split('.').next() {
                    Some("end") => break,
                    Some("rosey" | "warming") => {}
                    _ => continue,
                }
                if let Some(to) = message.reply {
                    let answer = r#"{"success":true,"found":true,"total_users_seen":1}"#;
                    nats.publish(to, answer.into()).await.unwrap();
                }
                let payload = String::from_utf8(message.payload.to_vec()).unwrap();
                operations.push((message.subject.to_string(), payload));
            }
            operations
        })
    };
    let (workplace, url) = (Workplace::new(WAVETANK), bus.url());
    let mut arguments: Vec<String> = ["--bus", &url, "--allow", "bus=rosey.>", "--allow"]
        .into_iter()
        .chain(["bus=warming.>", "--seed", "11", "--vus", "1", "--iterations", "200"])
        .chain(more.iter().copied())
        .map(str::to_owned)
        .collect();
    arguments.insert(0, workload.to_owned());
    let ran = tokio::task::spawn_blocking(move || {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        workplace.run_workload(&arguments)
    });
    let ran = ran.await.unwrap();
    assert_eq!(ran.metric("iterations", &[])["count"], 200.0, "{ran:#?}");
    nats.publish("end.of.run", "".into()).await.unwrap();
    nats.flush().await.unwrap();
    answering.await.unwrap()
}

/// What a workload sends against a service and awaits its effects, sorted: virtual users take turns as they
/// like. How often an effect is looked for is a matter of time, and those questions have a reply subject.
async fn effects(service: &str, workload: &str, more: &[&str]) -> Vec<(String, String)> {
    let bus = NatsServer::start().await;
    let nats = async_nats::connect(bus.url()).await.unwrap();
    let (workplace, url) = (Workplace::new(WAVETANK), bus.url());
    let service = guest(service);
    let both = ["--bus", &url, "--db", "sqlite:kept.sqlite", "--allow", "db", "--allow", "bus=>"];
    let mut arguments = vec![service.to_str().unwrap(), "--concurrency", "4"];
    arguments.extend(both);
    let serving = Serving::start(&workplace, &arguments);
    let mut all = nats.subscribe("*.>").await.unwrap();
    nats.flush().await.unwrap();
    let reading = tokio::spawn(async move {
        let mut operations = Vec::new();
        while let Some(message) = futures_util::StreamExt::next(&mut all).await {
            let first = message.subject.split('.').next().unwrap_or_default();
            if first == "end" {
                break;
            }
            if message.reply.is_none() && ["rosey", "events", "commands"].contains(&first) {
                let payload = String::from_utf8(message.payload.to_vec()).unwrap();
                operations.push((message.subject.to_string(), payload));
            }
        }
        operations.sort_unstable();
        operations
    });
    let mut arguments = vec![workload, "--allow", "existing-data", "--seed", "11"];
    arguments.extend(both);
    arguments.extend(more);
    let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
    let (ran, _workplace) = tokio::task::spawn_blocking(move || {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        (workplace.run_workload(&arguments), workplace)
    })
    .await
    .unwrap();
    assert_eq!(ran.summary.as_ref().unwrap()["errors"], Value::Array(Vec::new()), "{ran:#?}");
    nats.publish("end.of.run", "".into()).await.unwrap();
    nats.flush().await.unwrap();
    let operations = reading.await.unwrap();
    serving.stop();
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_issue_the_same_operations() {
    let bus = NatsServer::start().await;
    let unprepared: &[&str] = &["-p", "prepare=false"];
    let pairs: [(&str, &str, &[&str]); 4] = [
        ("rosey/r2-stats-queries", "stats-queries", unprepared),
        ("warming/w1-price-updates", "price-updates", unprepared),
        ("warming/w2-warmings", "warmings", &[]),
        ("warming/w3-spike", "spike", &[]),
    ];
    for (script, name, more) in pairs {
        let script = repository().join(format!("scripts/{script}.rhai"));
        let of_script = operations(&bus, script.to_str().unwrap(), more).await;
        let of_plugin = operations(&bus, guest(name).to_str().unwrap(), more).await;
        assert_eq!(of_script.len(), 200);
        assert_eq!(of_script, of_plugin, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_that_await_effects_issue_the_same_operations() {
    let once: &[&str] = &["--vus", "1", "--iterations", "200"];
    let bursts: &[&str] = &["--vus", "1", "--iterations", "20", "-p", "burst=5"];
    // Who sends what in R10 is a matter of its scenario; A3 has a guild that joins first.
    let pairs: [(&str, &str, &str, &[&str], usize); 5] = [
        ("rosey-database", "rosey/r1-one-event", "one-event", once, 200),
        ("rosey-database", "rosey/r10-mixed", "mixed-events", &[], 1_000),
        ("rosey-database", "rosey/r12-pm-commands", "pm-commands", once, 200),
        ("arrakis-worker", "arrakis/a2-burst", "event-burst", bursts, 100),
        ("arrakis-worker", "arrakis/a3-commands", "commands", once, 201),
    ];
    for (service, script, name, more, count) in pairs {
        let script = repository().join(format!("scripts/{script}.rhai"));
        let of_script = effects(service, script.to_str().unwrap(), more).await;
        let of_plugin = effects(service, guest(name).to_str().unwrap(), more).await;
        assert_eq!(of_script.len(), count, "{name}");
        assert_eq!(of_script, of_plugin, "{name}");
    }
}
