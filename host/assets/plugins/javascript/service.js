// What answers messages. `wavetank plugin build` makes {file}.wasm of it, and
// `wavetank serve {file}.wasm --bus URL` serves it.

import { service } from "./wavetank.js";

export const { describe, start, handle, stop } = service({
    name: "{name}",
    version: "0.1.0",
    // `-p greeting=hi` changes it.
    parameters: { greeting: ["hello", "what is said before the name"] },

    // Once per instance, before its first message; what it returns is that instance's own.
    start(context) {
        return { greeting: context.parameters.greeting };
    },

    // One function for each subject. What it returns is the reply; nothing is no reply.
    services: {
        "example.greet": (own, message) => {
            const who = message.json?.name ?? "stranger";
            return { text: `${own.greeting}, ${who}` };
        },
    },
});
