//! NATS request/reply against a bare async-nats loop on as many threads.

use std::{
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use wavetank_tests::nats::NatsServer;

use crate::{Bench, line, ratio, run};

const SUBJECT: &str = "bench.echo";
const LASTING: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;

/// The row.
pub fn row(bench: &Bench) {
    let server = wavetank_tests::wait(NatsServer::start());
    let url = server.url();
    let mut responder = responder(&url);
    let shards = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for vus in [64, 256] {
        let source = format!(
            r#"
export const options = #{{ scenarios: #{{ load: #{{ executor: "constant-vus", vus: {vus}, duration: "3s" }} }}, ops: ["echo"] }};
fn iteration(ctx) {{ bus::request("{SUBJECT}", "0123456789abcdef", #{{ op: "echo" }}); }}
"#
        );
        let (of_bare, bare_rate, rate) = ratio(
            ROUNDS,
            || bare(&url, vus, shards),
            || run::script(bench, &source, &["--bus", &url]).value("iterations", "per_second"),
        );
        line(
            &format!("NATS request/reply, {vus} VUs, Rhai"),
            &format!("{of_bare:.2} x ({rate:.0}/s, bare {bare_rate:.0}/s)"),
            ">= 0.85 x",
        );
        let guest = bench.guests.join("bench_guest.wasm");
        if !guest.exists() {
            continue;
        }
        let vus_text = vus.to_string();
        let arguments = [
            "--bus",
            &url,
            "--allow",
            "bus=bench.>",
            "--vus",
            &vus_text,
            "--duration",
            "3s",
            "-p",
            "mode=echo",
        ];
        let (of_bare, bare_rate, rate) = ratio(
            ROUNDS,
            || bare(&url, vus, shards),
            || run::workload(bench, &guest, &arguments).value("iterations", "per_second"),
        );
        line(
            &format!("NATS request/reply, {vus} VUs, component"),
            &format!("{of_bare:.2} x ({rate:.0}/s, bare {bare_rate:.0}/s)"),
            ">= 0.75 x",
        );
    }
    let _ = responder.kill();
    let _ = responder.wait();
}

/// A service in a process of its own: this binary in another role.
fn responder(url: &str) -> Child {
    let own = std::env::current_exe().expect("this binary");
    let child = Command::new(own).args(["respond", url]).spawn().expect("a responder");
    // Until it answers, requests find no responder.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = async_nats::connect(url).await.expect("the server");
        while client.request(SUBJECT, "".into()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    child
}

/// Answers with what it was sent, until killed.
pub fn respond(url: &str) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = async_nats::connect(url).await.expect("the server");
        let mut requests = client.subscribe(SUBJECT).await.expect("a subscription");
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply
                && client.publish(reply, request.payload).await.is_err()
            {
                return;
            }
        }
    });
}

/// Requests per second of bare loops.
#[expect(clippy::disallowed_methods, reason = "a bench has a clock of its own")]
fn bare(url: &str, vus: usize, threads: usize) -> f64 {
    let count = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let (url, count) = (url.to_owned(), Arc::clone(&count));
            let tasks = vus / threads + usize::from(thread < vus % threads);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, async move {
                    let client = async_nats::connect(url).await.expect("the server");
                    let end = Instant::now() + LASTING;
                    let tasks: Vec<_> = (0..tasks)
                        .map(|_| {
                            let (client, count) = (client.clone(), Arc::clone(&count));
                            tokio::task::spawn_local(async move {
                                while Instant::now() < end {
                                    if client
                                        .request(SUBJECT, "0123456789abcdef".into())
                                        .await
                                        .is_ok()
                                    {
                                        count.fetch_add(1, Ordering::Relaxed);
                                    }
                                }
                            })
                        })
                        .collect();
                    for task in tasks {
                        let _ = task.await;
                    }
                });
            })
        })
        .collect();
    for worker in workers {
        let _ = worker.join();
    }
    count.load(Ordering::Relaxed) as f64 / LASTING.as_secs_f64()
}
