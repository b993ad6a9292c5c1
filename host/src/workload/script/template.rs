//! What `wavetank script new` writes: a scenario that passes as it is, on the embedded bus, and says
//! at each part what it is for.

/// The text of a new script. Load it, run it, then replace its parts one by one.
pub const TEMPLATE: &str = r#"// Run it:              wavetank run THIS_FILE
// Look it over first:  wavetank check THIS_FILE

// What is run, measured and judged.
export const options = #{
    scenarios: #{
        // One scenario: arrivals at a fixed rate, however slow the system is.
        // Others: shared-iterations, per-vu-iterations, constant-vus, ramping-vus,
        // ramping-arrival-rate.
        steady: #{
            executor: "constant-arrival-rate",
            rate: 50,
            duration: "5s",
            exec: "iteration",
        },
    },

    // Subjects that this script answers itself. Remove it when your system answers.
    services: #{ "example.echo": "echo" },

    // Names for operations (`op`) and metrics of your own must be declared.
    ops: ["echo"],
    metrics: #{ letters: "counter" },

    // A threshold that is missed, or that has nothing to judge, fails the run.
    thresholds: #{
        "bus_request_duration{op:echo}": ["p(95) < 100ms"],
        "checks": ["rate > 0.99"],
    },
};

// `-p greeting=hi` changes it.
const GREETING = param("greeting", "hello", "what is sent");

// Once before the load; its value is `ctx.data` below. Maps, arrays, texts, numbers.
fn setup(ctx) {
    #{ names: ["Ada", "Grace", "Edsger"] }
}

// Once per virtual user, and per worker of `services`. `this` is its own state.
fn init(ctx) {
    this.sent = 0;
}

// Once per iteration. A failure of the system is data (`reply.ok`); `fail("why")` is an error.
fn iteration(ctx) {
    let name = ctx.random.choice(ctx.data.names);
    let text = `${global::GREETING}, ${name}`;

    let reply = bus::request("example.echo", #{ text: text }, #{ op: "echo", timeout: "1s" });
    check("answered", reply.ok) && check("echoed", reply.json.text == text);

    metric::add("letters", text.len());
    this.sent += 1;
}

// A handler of `services`: what it returns is the reply; nothing (`()`) is no reply.
fn echo(message) {
    #{ text: message.json.text }
}

// Once after the load, unless setup failed.
fn teardown(ctx) {
    log("done");
}
"#;
