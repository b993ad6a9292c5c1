// What the engine lacks, or would take from a system that is not there: run before the plugin itself.

import log from "wavetank:workload/log";
import random from "wavetank:workload/random";
import timing from "wavetank:workload/timing";

const told = (value) =>
    typeof value === "string" ? value : value instanceof Error ? `${value}\n${value.stack}` : (JSON.stringify(value) ?? String(value));
const line = (level) => (...values) => log.line(level, values.map(told).join(" "));
globalThis.console = {
    log: line("info"),
    info: line("info"),
    debug: line("info"),
    warn: line("warn"),
    error: line("error"),
};

// Seeded, as everything is that an iteration draws.
Math.random = () => random.float();

// The run's clock: milliseconds since it began.
const now = () => timing.now() / 1e6;
const Engine = Date;
globalThis.Date = class Date extends Engine {
    constructor(...given) {
        super(...(given.length > 0 ? given : [now()]));
    }
    static now() {
        return Math.floor(now());
    }
};
globalThis.performance = { timeOrigin: 0, now };

if (typeof globalThis.TextEncoder === "undefined") {
    globalThis.TextEncoder = class TextEncoder {
        encode(text = "") {
            const escaped = unescape(encodeURIComponent(String(text).toWellFormed()));
            return Uint8Array.from(escaped, (letter) => letter.charCodeAt(0));
        }
    };
    globalThis.TextDecoder = class TextDecoder {
        decode(bytes = new Uint8Array()) {
            return decoded(bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes.buffer ?? bytes));
        }
    };
}

// UTF-8, what is none of it as U+FFFD.
function decoded(bytes) {
    let text = "";
    for (let at = 0; at < bytes.length; ) {
        const first = bytes[at];
        const more = first < 0x80 ? 0 : first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : -1;
        let code = more < 0 ? -1 : more === 0 ? first : first & (0x3f >> more);
        let taken = 1;
        while (code >= 0 && taken <= more) {
            const next = bytes[at + taken];
            if (next === undefined || (next & 0xc0) !== 0x80) code = -1;
            else {
                code = (code << 6) | (next & 0x3f);
                taken += 1;
            }
        }
        const least = [0, 0x80, 0x800, 0x10000][more] ?? 0;
        const valid = code >= least && code <= 0x10ffff && !(code >= 0xd800 && code < 0xe000);
        text += valid ? String.fromCodePoint(code) : "\ufffd";
        at += taken;
    }
    return text;
}
