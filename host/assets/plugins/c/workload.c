// What each virtual user does. `wavetank plugin build` makes {file}.wasm of it, and
// `wavetank run {file}.wasm` runs that.

#include "world.h"

static int64_t people;

void describe(description *own) {
    own->name = TEXT("{name}");
    own->version = TEXT("0.1.0");
    // What is run, measured and judged, in the words of a script's `options`: one scenario, arrivals at a
    // fixed rate, however slow the system is; names for operations, which must be declared; thresholds,
    // which fail the run where they are missed, or have nothing to judge.
    own->options = JSON({
        "scenarios": {
            "steady": { "executor": "constant-arrival-rate", "rate": 50, "duration": "5s" }
        },
        "ops": ["visit", "look"],
        "thresholds": {
            "db_query_duration{op:look}": ["p(95) < 100ms"],
            "checks": ["rate > 0.99"]
        }
    });
    // `-p people=10` changes it.
    parameter(own, TEXT("people"), TEXT("100"), TEXT("how many people there are"));
}

// Once before the load; what it leaves in `data`, as JSON, is `given->data` everywhere else.
const char *setup(const context *given, string *data) {
    outcome made = execute("CREATE TABLE visits (name TEXT)", NONE, NULL);
    return made.ok ? NULL : "the table cannot be made";
}

// Once per virtual user, and again after a crash.
const char *init(const context *given) {
    people = json_integer(given->parameters, "people");
    return NULL;
}

// Once per iteration. A failure of the system is data; what is returned ends the iteration.
const char *iterate(const iteration *given) {
    string name = print("user%d", random_integer(1, people));
    outcome stored = execute("INSERT INTO visits (name) VALUES (?)", VALUES(text_value(name)), "visit");
    check("stored", stored.ok);
    outcome found = query("SELECT name FROM visits WHERE name = ? LIMIT 1", VALUES(text_value(name)), "look");
    check("found", found.ok && found.found.rows.len == 1);
    return NULL;
}

const char *teardown(const context *given) {
    return NULL;
}
