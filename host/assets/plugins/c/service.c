// What answers messages. `wavetank plugin build` makes {file}.wasm of it, and
// `wavetank serve {file}.wasm --bus URL` serves it.

#include "world.h"

static string greeting;

void describe(description *own) {
    own->name = TEXT("{name}");
    own->version = TEXT("0.1.0");
    // Which subject goes to which handler.
    own->options = JSON({ "services": { "example.greet": "greet" } });
    // `-p greeting=hi` changes it.
    parameter(own, TEXT("greeting"), TEXT("\"hello\""), TEXT("what is said before the name"));
}

// Once per instance, before its first message.
const char *start(const context *given) {
    greeting = json_text(given->parameters, "greeting");
    return NULL;
}

// One message, by the handler that its subject names.
const char *handle(string handler, const message *given, string *reply) {
    string asked = {given->payload.ptr, given->payload.len};
    string name = json_text(asked, "name");
    *reply = print("{\"text\": \"%t, %t\"}", greeting, name);
    return NULL;
}

const char *stop(const context *given) {
    return NULL;
}
