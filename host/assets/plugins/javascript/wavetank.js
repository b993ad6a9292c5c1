// Wavetank for JavaScript: a workload or a service as one object, and what it may use.
//
// What the system under test does wrong is data: calls return `{ ok: false, error: { kind, message } }`,
// and the host has counted it. Only misuse is thrown; it becomes the iteration's error. Whole numbers
// beyond 2^53 are not exact in this language.

import rawBus from "wavetank:workload/bus";
import rawDatabase from "wavetank:workload/database";
import rawLog from "wavetank:workload/log";
import metrics from "wavetank:workload/metrics";
import rawRandom from "wavetank:workload/random";
import rawTarget from "wavetank:workload/target";
import timing from "wavetank:workload/timing";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const UNITS = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

/** Nanoseconds of `"500ms"`, `"1.5s"` and the like. */
function nanoseconds(duration) {
    if (duration === undefined || duration === null) return null;
    const [, number, unit] = /^([0-9.]+)(ns|us|ms|s|m|h)$/.exec(duration) ?? [];
    if (unit === undefined) throw new Error(`\`${duration}\` is no duration: write "500ms" or "1.5s"`);
    return Math.round(Number(number) * UNITS[unit]);
}

/** What a call of the host came to; misuse is thrown. */
function measured(call) {
    try {
        return { ok: true, value: call() };
    } catch (error) {
        if (error?.tag === "failure") return { ok: false, error: error.val };
        throw new Error(error?.tag === "misuse" ? error.val : String(error?.message ?? error));
    }
}

/** A call that can only be misused. */
function used(call) {
    try {
        return call();
    } catch (error) {
        throw new Error(String(error?.message ?? error));
    }
}

function bytes(payload) {
    if (payload instanceof Uint8Array) return payload;
    return encoder.encode(typeof payload === "string" ? payload : JSON.stringify(payload ?? null));
}

function outgoing(subject, payload, { op, headers = {}, replyTo } = {}) {
    return { subject, payload: bytes(payload), headers: Object.entries(headers), op: op ?? null, replyTo: replyTo ?? null };
}

/** A message as it was received: `subject`, `payload`, `headers`, `text`, `json` (undefined if it is none). */
function received(message) {
    return {
        ...message,
        get text() {
            return decoder.decode(Uint8Array.from(message.payload));
        },
        get json() {
            try {
                return JSON.parse(this.text);
            } catch {
                return undefined;
            }
        },
    };
}

/** The message bus. Every operation is timed by the host. Options: `op`, `timeout`, `headers`, `replyTo`. */
export const bus = {
    /** Publishes: text, bytes, or anything else as JSON. */
    publish(subject, payload, options) {
        return measured(() => rawBus.publish(outgoing(subject, payload, options)));
    },
    /** Sends a request and waits: `{ ok, text, json, headers … }`. */
    request(subject, payload, options) {
        const sent = outgoing(subject, payload, options);
        const reply = measured(() => rawBus.request(sent, nanoseconds(options?.timeout)));
        return reply.ok ? Object.assign(received(reply.value), { ok: true }) : reply;
    },
    /** Subscribes; live when this returns. `next("1s")` is a message, or null if none came in time. */
    subscribe(pattern, queue) {
        const subscribed = measured(() => rawBus.subscribe(pattern, queue ?? null));
        if (!subscribed.ok) return subscribed;
        return {
            ok: true,
            next(timeout) {
                const next = measured(() => subscribed.value.next(nanoseconds(timeout)));
                if (!next.ok) return next;
                return next.value ? Object.assign(received(next.value), { ok: true }) : null;
            },
            close() {
                subscribed.value[Symbol.dispose]();
            },
        };
    },
    /** Waits until the server has everything that was published. */
    flush: () => measured(() => rawBus.flush()),
    /** The interface as it is in `wit/bus.wit`, for what is not here. */
    raw: rawBus,
};

function toValue(value) {
    if (value === null || value === undefined) return { tag: "null" };
    if (typeof value === "boolean") return { tag: "boolean", val: value };
    if (typeof value === "number") return { tag: Number.isInteger(value) ? "integer" : "float", val: value };
    if (typeof value === "string") return { tag: "text", val: value };
    if (value instanceof Uint8Array) return { tag: "bytes", val: value };
    return { tag: "json", val: JSON.stringify(value) };
}

function fromValue(value) {
    return value.tag === "null" ? null : value.tag === "json" ? JSON.parse(value.val) : value.val;
}

function statement(sql, values = [], { op, timeout } = {}) {
    return { sql, values: values.map(toValue), op: op ?? null, timeout: nanoseconds(timeout) };
}

/** The database. Placeholders are `?` on every backend. Options: `op`, `timeout`. */
export const database = {
    /** A statement that returns rows, as objects: `{ ok, rows }`. */
    query(sql, values, options) {
        const found = measured(() => rawDatabase.query(statement(sql, values, options)));
        if (!found.ok) return found;
        const { columns, rows } = found.value;
        const named = (row) => Object.fromEntries(columns.map((name, at) => [name, fromValue(row[at])]));
        return { ok: true, rows: rows.map(named) };
    },
    /** A statement that changes rows: `{ ok, value }`, how many. */
    execute: (sql, values, options) => measured(() => rawDatabase.execute(statement(sql, values, options))),
    /** `[sql, values]` one after the other in one transaction: `{ ok, value }`, rows changed by each. */
    batch: (statements) => measured(() => rawDatabase.batch(statements.map((it) => statement(...it)))),
    /** Runs `work` in a transaction: rolled back if it throws. */
    transaction(work) {
        const sure = (done) => {
            if (!done.ok) throw new Error(`${done.error.kind}: ${done.error.message}`);
        };
        sure(measured(() => rawDatabase.begin()));
        try {
            const value = work();
            sure(measured(() => rawDatabase.commit()));
            return value;
        } catch (error) {
            measured(() => rawDatabase.rollback());
            throw error;
        }
    },
    /** Which SQL to write: `"sqlite"` or `"postgres"`. */
    dialect: () => rawDatabase.speaks(),
};

/** Random numbers of the iteration: the same for the same seed. */
export const random = {
    integer: (low, high) => rawRandom.integer(low, high),
    float: () => rawRandom.float(),
    boolean: (probability) => rawRandom.boolean(probability),
    choice: (items) => items[rawRandom.choice(items.length) ?? -1],
    shuffle: (items) => Array.from(rawRandom.shuffle(items.length), (at) => items[at]),
    text: (length) => rawRandom.text(length),
    exponential: (mean) => rawRandom.exponential(mean),
    normal: (mean, stddev) => rawRandom.normal(mean, stddev),
    zipf: (n, exponent) => rawRandom.zipf(n, exponent),
};

/** The run's time, in nanoseconds. */
export const time = {
    now: () => timing.now(),
    due: () => timing.due(),
    sleep: (duration) => timing.sleep(nanoseconds(duration)),
};

/** Targets that the run started or attached to. */
export const target = Object.fromEntries(
    ["start", "stop", "kill", "restart", "pause", "resume"].map((name) => [name, (of) => measured(() => rawTarget[name](of))]),
);

/** Records a check; returns what it was given. It never ends the iteration. */
export const check = (name, passed) => used(() => metrics.check(name, Boolean(passed)));
/** Adds a sample to a metric that `options.metrics` declares. */
export const metric = (name, value) => used(() => metrics.add(name, value));
/** Ends the run: exit code 108. */
export const abort = (reason) => metrics.abort(reason);
/** Lets the run go on and fail: exit code 110. */
export const markFailed = (reason) => metrics.markFailed(reason);
/** Lines in the run's log; `console.log` does the same. */
export const log = (text) => rawLog.line("info", String(text));
export const warn = (text) => rawLog.line("warn", String(text));

/** Runs `work` in a group: what is measured in it bears the tag `group`. */
export function group(name, work) {
    used(() => metrics.enterGroup(name));
    try {
        return work();
    } finally {
        metrics.leaveGroup();
    }
}

/** What is thrown becomes the error's text, with its place. */
function guarded(work) {
    return (...given) => {
        let thrown;
        try {
            return work(...given);
        } catch (error) {
            thrown = error instanceof Error ? `${error.message}\n${error.stack ?? ""}`.trim() : String(error);
        }
        throw thrown;
    };
}

function context({ parameters, data, secrets, ...rest }) {
    return { ...rest, parameters: JSON.parse(parameters), data: JSON.parse(data), secrets: Object.fromEntries(secrets) };
}

function description({ name, version, parameters = {} }, options) {
    const described = Object.entries(parameters).map(([known, [value, doc]]) => ({
        name: known,
        default: JSON.stringify(value),
        doc,
    }));
    return { name, version, options: JSON.stringify(options), parameters: described };
}

/** The exports of a workload. Scenarios with `exec` name functions beside `iterate`. */
export function workload(own) {
    const { setup = () => null, init = () => ({}), teardown = () => {}, options = {} } = own;
    const description_ = description(own, options);
    let user;
    return {
        describe: () => description_,
        setup: guarded((given) => JSON.stringify(setup(context(given)) ?? null)),
        init: guarded((given) => {
            user = init(context(given));
        }),
        iterate: guarded((given) => {
            const work = own[given.exec] ?? own.iterate;
            work(user, { ...given, env: Object.fromEntries(given.env) });
        }),
        teardown: guarded((given) => {
            teardown(context(given));
        }),
    };
}

/** The exports of a service: `services` has a function for each subject. */
export function service(own) {
    const { start = () => ({}), stop = () => {}, services = {}, options = {} } = own;
    const subjects = Object.fromEntries(Object.keys(services).map((subject) => [subject, subject]));
    const description_ = description(own, { ...options, services: subjects });
    let instance;
    return {
        describe: () => description_,
        start: guarded((given) => {
            instance = start(context(given));
        }),
        handle: guarded((handler, message) => {
            const reply = services[handler](instance, received(message));
            return reply === undefined || reply === null ? null : bytes(reply);
        }),
        stop: guarded((given) => {
            stop(context(given));
        }),
    };
}
