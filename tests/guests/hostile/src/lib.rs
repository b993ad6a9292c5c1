//! A guest that does what guests must not, by the name of the function that is asked for.
#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "that is what it is for"
)]

use std::{collections::HashMap, hint::black_box, time::Duration};

use wavetank_sdk::{
    Context, Description, Iteration, Json, Misuse, Result, Workload, bus, check, json, random, time,
};

struct Hostile {
    /// Iterations of this instance: a fresh one starts from none.
    iterations: u64,
    data: Json,
    greeting: String,
    fail_in: String,
}

/// How `describe` ends. A test changes the last four letters in the component: nothing else reaches
/// a guest that is asked what it is.
static DESCRIBE: [u8; 14] = *b"describe: fine";

impl Workload for Hostile {
    fn describe() -> Description {
        let (mut exec, mut thresholds) = ("fine", json!({}));
        match &black_box(&DESCRIBE)[10..] {
            b"exec" => exec = "fien",
            b"oops" => thresholds = json!({"bus_request_failed{op:aks}": "rate == 0"}),
            b"base" => thresholds = json!({"db_query_failed": "rate == 0"}),
            b"trap" => panic!("boom in describe"),
            b"loop" => loop {
                black_box(0);
            },
            b"rand" => drop(random::integer(0, 9)),
            b"text" => return Description::new("hostile", "0.1.0").options(json!("a text")),
            _ => {}
        }
        Description::new("hostile", "0.1.0")
            .options(json!({
                "ops": ["ask"],
                "scenarios": {"main": {"executor": "constant-vus", "duration": "1s", "exec": exec}},
                "thresholds": thresholds,
            }))
            .functions(&["fine", "sleep"])
            .parameter("greeting", "hello", "what the log is told")
            .parameter("fail_in", "", "lifecycle function that fails, or panics with -panic")
    }

    fn setup(context: &Context) -> Result<Json> {
        fail(&context.parameter::<String>("fail_in")?, "setup")?;
        Ok(json!({"made": "in setup", "seed": context.seed}))
    }

    fn init(context: &Context) -> Result<Self> {
        let fail_in: String = context.parameter("fail_in")?;
        fail(&fail_in, "init")?;
        Ok(Self {
            fail_in,
            iterations: 0,
            data: context.data.clone(),
            greeting: context.parameter("greeting")?,
        })
    }

    fn iterate(&mut self, iteration: &Iteration) -> Result {
        self.iterations += 1;
        fail(&self.fail_in, "iterate")?;
        match iteration.exec.as_str() {
            "fine" => {}
            "first" => check("first of its instance", self.iterations == 1).map(drop)?,
            "second" => check("second of its instance", self.iterations == 2).map(drop)?,
            "data" => check("data", self.data["made"] == "in setup").map(drop)?,
            "greet" => println!("{} from {}", self.greeting, iteration.vu),
            "draw" => println!("{} {}", random::integer(0, 1_000_000), random::float()),
            "hash" => {
                let map: HashMap<u32, u32> = (0..100).map(|key| (key, key)).collect();
                println!("{:?}", map.keys().collect::<Vec<_>>());
            }
            "fail" => return Err("it did not want to".into()),
            "panic" => panic!("boom in iteration {}", iteration.number),
            "loop" => loop {
                black_box(0);
            },
            "spin" => spin(),
            "memory" => drop(black_box((0..4096).map(|_| vec![1_u8; 1 << 20]).collect::<Vec<_>>())),
            "recurse" => drop(black_box(recurse(black_box(1)))),
            "exit" => std::process::exit(7),
            "handles" => return handles(),
            "hold" => drop(hold()?),
            "hold-panic" => {
                let _held = hold()?;
                panic!("boom with connections");
            }
            "bytes" => {
                let _ = bus::to("big").bytes(vec![0; 4 << 20]).publish()?;
            }
            "misuse" => drop(bus::to("ask").op("undeclared in options").publish()?),
            "reserved" => drop(bus::to("$SYS.REQ").publish()?),
            "caught" => {
                let refused = wavetank_sdk::metric("undeclared", 1.0);
                check(
                    "told",
                    matches!(refused, Err(Misuse(message)) if message.contains("undeclared")),
                )?;
            }
            "sleep" => time::sleep(Duration::from_secs(3600)),
            "nap" => time::sleep(Duration::from_millis(5)),
            #[expect(clippy::disallowed_methods, reason = "what ordinary Rust does must work")]
            "std-sleep" => std::thread::sleep(Duration::from_millis(5)),
            "clock" => check("clock moves", time::now() >= time::due()).map(drop)?,
            "deadline" => deadline()?,
            "shout" => (0..100_000).for_each(|line| println!("line {line} of many")),
            "file" => check("no files", std::env::vars().next().is_none()).map(drop)?,
            "log" => wavetank_sdk::warn("a warning of its own"),
            other => return Err(format!("no function `{other}`").into()),
        }
        Ok(())
    }

    fn teardown(context: &Context) -> Result {
        fail(&context.parameter::<String>("fail_in")?, "teardown")
    }
}

fn fail(asked: &str, place: &str) -> Result {
    match asked.strip_suffix("-panic") {
        Some(name) if name == place => panic!("boom in {place}"),
        _ if asked == place => Err(format!("failed in {place}").into()),
        _ => Ok(()),
    }
}

/// About 20 ms of work.
fn spin() {
    let mut sum = 0_u64;
    for number in 0..20_000_000_u64 {
        sum = sum.wrapping_add(black_box(number));
    }
    black_box(sum);
}

/// Deep in the host's stack, not in the guest's memory: small frames, many of them.
#[expect(unconditional_recursion, reason = "to see where it ends")]
fn recurse(depth: u64) -> u64 {
    1 + recurse(black_box(depth))
}

/// What is left of a deadline, before it and after it.
fn deadline() -> Result {
    let deadline = time::Deadline::after(Duration::from_millis(20));
    let left = deadline.left();
    check("some is left", !left.is_zero() && left <= Duration::from_millis(20))?;
    let quiet = bus::subscribe("quiet", None)??;
    check("nothing came", quiet.next(Some(deadline.left()))??.is_none())?;
    check("nothing is left", deadline.has_passed() && deadline.left().is_zero())?;
    Ok(())
}

/// Subscriptions without end, all kept.
/// Ten connections.
fn hold() -> Result<Vec<bus::Connection>> {
    let held: Vec<_> = (0..10).map(|_| Ok(bus::connect(None, None)??)).collect::<Result<_>>()?;
    check("all are held", held.iter().all(bus::Connection::is_held))?;
    Ok(held)
}

fn handles() -> Result {
    let mut held = Vec::new();
    for number in 0..100_000 {
        held.push(bus::subscribe(&format!("held.{number}"), None)??);
    }
    Ok(())
}

wavetank_sdk::workload!(Hostile);
