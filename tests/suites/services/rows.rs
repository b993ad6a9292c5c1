//! Rows of the catalogue, shortened, against the services: what is not about time must hold, and must miss
//! where the service is not what it should be.

use serde_json::json;
use wavetank_tests::command::repository;

use super::{World, end};

/// A script of a system's set, shortened, against a service; the thresholds that are not about time by
/// their metrics, with whether they hold.
fn row(world: &World, script: &str, more: &[&str]) -> Vec<(String, bool)> {
    let script = repository().join("scripts").join(script);
    let bus = world.bus.url();
    let mut arguments = vec![script.to_str().unwrap(), "--bus", &bus];
    arguments.extend(more);
    let ran = world.workplace.run_workload(&arguments);
    let summary = ran.summary.as_ref().unwrap_or_else(|| panic!("{ran:#?}"));
    assert_eq!(summary["errors"], json!([]), "{ran:#?}");
    let thresholds = summary["thresholds"].as_array().unwrap().iter();
    thresholds
        .filter(|it| {
            let metric = it["metric"].as_str().unwrap();
            !["_duration", "_time", "recovery"].iter().any(|end| metric.ends_with(end))
                && !it["expression"].as_str().unwrap().starts_with("rate > 10")
        })
        .map(|it| (it["metric"].as_str().unwrap().to_owned(), it["status"] == "pass"))
        .collect()
}

fn all_hold(row: &[(String, bool)]) {
    assert!(row.len() > 1 && row.iter().all(|(_, holds)| *holds), "{row:?}");
}

fn misses(row: &[(String, bool)], metric: &str) {
    assert!(row.contains(&(metric.to_owned(), false)), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_warming_hold_and_two_trackers_are_caught() {
    let world = World::sqlite().await;
    let more = ["--concurrency", "1", "-p", "l1_size=150"];
    let one = world.serve("warming", &more);
    all_hold(&row(&world, "warming/w1-price-updates.rhai", &["--quick", "-p", "rate=300"]));
    all_hold(&row(&world, "warming/w2-warmings.rhai", &["--quick", "-p", "rate=150"]));
    all_hold(&row(&world, "warming/w6-no-races.rhai", &[]));
    all_hold(&row(&world, "warming/w11-evictions.rhai", &["-p", "questions=300"]));
    // Each of two knows a part: what one handled the other does not count, and not every state is whole.
    let two = world.serve("warming", &more);
    misses(&row(&world, "warming/w6-no-races.rhai", &[]), "state_equal");
    end(one);
    end(two);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_aegis_and_arrakis_hold() {
    let world = World::sqlite().await;
    let aegis = world.serve("aegis", &[]);
    let rate = ["--quick", "-p", "rate=20"];
    all_hold(&row(&world, "aegis/g3-spike.rhai", &rate));
    end(aegis);
    // One instance, one cache: how many share the messages is a matter of the machine's speed.
    let more = ["--concurrency", "1", "--allow", "bus=replies.>"];
    let worker = world.serve("arrakis-worker", &more);
    all_hold(&row(&world, "arrakis/a2-payloads.rhai", &["--quick", "-p", "rate=60"]));
    all_hold(&row(&world, "arrakis/a2-burst.rhai", &["--quick", "-p", "users=2"]));
    all_hold(&row(&world, "arrakis/a3-commands.rhai", &["--quick"]));
    // A cache that holds next to nothing is no warm one.
    end(worker);
    let small = world.serve("arrakis-worker", &[&more[..], &["-p", "cache_size=1"]].concat());
    misses(&row(&world, "arrakis/a3-commands.rhai", &["--quick"]), "cache_hit");
    end(small);
}
