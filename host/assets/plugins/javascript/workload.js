// What each virtual user does. `wavetank plugin build` makes {file}.wasm of it, and
// `wavetank run {file}.wasm` runs that.

import { check, database, random, workload } from "./wavetank.js";

export const { describe, setup, init, iterate, teardown } = workload({
    name: "{name}",
    version: "0.1.0",
    // What is run, measured and judged, in the words of a script's `options`.
    options: {
        scenarios: {
            // One scenario: arrivals at a fixed rate, however slow the system is.
            steady: { executor: "constant-arrival-rate", rate: 50, duration: "5s" },
        },
        // Names for operations must be declared.
        ops: ["visit", "look"],
        // A threshold that is missed, or that has nothing to judge, fails the run.
        thresholds: {
            "db_query_duration{op:look}": ["p(95) < 100ms"],
            checks: ["rate > 0.99"],
        },
    },
    // `-p people=10` changes it.
    parameters: { people: [100, "how many people there are"] },

    // Once before the load; what it returns is `context.data` everywhere else.
    setup() {
        const made = database.execute("CREATE TABLE visits (name TEXT)");
        if (!made.ok) throw new Error(made.error.message);
    },

    // Once per virtual user, and again after a crash; what it returns is that user's own.
    init(context) {
        return { people: context.parameters.people };
    },

    // Once per iteration. A failure of the system is data; what is thrown ends the iteration.
    iterate(user) {
        const name = `user${random.integer(1, user.people)}`;
        const stored = database.execute("INSERT INTO visits (name) VALUES (?)", [name], { op: "visit" });
        check("stored", stored.ok);
        const found = database.query("SELECT name FROM visits WHERE name = ? LIMIT 1", [name], { op: "look" });
        check("found", found.ok && found.rows.length === 1);
    },
});
