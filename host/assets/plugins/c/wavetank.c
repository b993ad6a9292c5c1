// What wavetank.h promises, and as much of a standard library as it takes.

#include "wavetank.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

// Memory: one heap that grows, and shrinks to what is kept when a call has ended.

extern unsigned char __heap_base;
static size_t top, kept;
static bool ended;
static const size_t PAGE = 65536;

void *malloc(size_t size) {
    if (top == 0) top = kept = (size_t)&__heap_base;
    // The first of the next call: the answer of the last one has been read.
    if (ended) {
        top = kept;
        ended = false;
    }
    size_t start = (top + 15) & ~(size_t)15;
    size_t end = start + size;
    size_t have = __builtin_wasm_memory_size(0) * PAGE;
    if (end < start || (end > have && __builtin_wasm_memory_grow(0, (end - have + PAGE - 1) / PAGE) == (size_t)-1)) abort();
    top = end;
    return (void *)start;
}

void *realloc(void *old, size_t size) {
    void *moved = malloc(size);
    // More than the old one had may be read, which is memory all the same, and never used.
    size_t readable = (size_t)moved - (size_t)old;
    if (old != NULL) memmove(moved, old, size < readable ? size : readable);
    return moved;
}

void free(void *old) {
    (void)old;
}

_Noreturn void abort(void) {
    __builtin_trap();
}

void *memmove(void *to, const void *from, size_t size) {
    unsigned char *target = to;
    const unsigned char *source = from;
    if (target < source) {
        for (size_t i = 0; i < size; i++) target[i] = source[i];
    } else {
        for (size_t i = size; i > 0; i--) target[i - 1] = source[i - 1];
    }
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    return memmove(to, from, size);
}

void *memset(void *to, int byte, size_t size) {
    unsigned char *target = to;
    for (size_t i = 0; i < size; i++) target[i] = (unsigned char)byte;
    return to;
}

int memcmp(const void *one, const void *other, size_t size) {
    const unsigned char *first = one, *second = other;
    for (size_t i = 0; i < size; i++) {
        if (first[i] != second[i]) return first[i] < second[i] ? -1 : 1;
    }
    return 0;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != 0) length++;
    return length;
}

int strcmp(const char *one, const char *other) {
    while (*one != 0 && *one == *other) one++, other++;
    return (unsigned char)*one - (unsigned char)*other;
}

// Text.

static string text_of(const char *text) {
    return (string){(uint8_t *)text, text == NULL ? 0 : strlen(text)};
}

bool equal(string one, string other) {
    return one.len == other.len && memcmp(one.ptr, other.ptr, one.len) == 0;
}

static string joined(string one, string other) {
    uint8_t *whole = malloc(one.len + other.len);
    memcpy(whole, one.ptr, one.len);
    memcpy(whole + one.len, other.ptr, other.len);
    return (string){whole, one.len + other.len};
}

static string decimal(int64_t number) {
    uint8_t *digits = malloc(20);
    size_t at = 20;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do digits[--at] = (uint8_t)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (number < 0) digits[--at] = '-';
    return (string){digits + at, 20 - at};
}

string print(const char *format, ...) {
    va_list given;
    va_start(given, format);
    string whole = {0, 0};
    while (*format != 0) {
        const char *end = format;
        while (*end != 0 && *end != '%') end++;
        whole = joined(whole, (string){(uint8_t *)format, (size_t)(end - format)});
        if (*end == 0) break;
        switch (end[1]) {
            case 's': whole = joined(whole, text_of(va_arg(given, const char *))); break;
            case 't': whole = joined(whole, va_arg(given, string)); break;
            case 'd': whole = joined(whole, decimal(va_arg(given, int64_t))); break;
            default: whole = joined(whole, (string){(uint8_t *)end, 1}); end--;
        }
        format = end + 2;
    }
    va_end(given);
    return whole;
}

// Misuse: told when the call ends.

static string misuse;

static void misused(string message) {
    if (misuse.ptr == NULL) misuse = message;
}

// JSON, as flat as parameters are.

static string field_of(string object, const char *field) {
    string name = print("\"%s\":", field);
    for (size_t at = 0; at + name.len <= object.len; at++) {
        if (memcmp(object.ptr + at, name.ptr, name.len) == 0) {
            at += name.len;
            while (at < object.len && object.ptr[at] == ' ') at++;
            return (string){object.ptr + at, object.len - at};
        }
    }
    misused(print("there is no `%s` in %t", field, object));
    return (string){0, 0};
}

int64_t json_integer(string object, const char *field) {
    string rest = field_of(object, field);
    bool negative = rest.len > 0 && rest.ptr[0] == '-';
    uint64_t number = 0;
    for (size_t at = negative; at < rest.len && rest.ptr[at] >= '0' && rest.ptr[at] <= '9'; at++) {
        number = number * 10 + (rest.ptr[at] - '0');
    }
    return negative ? -(int64_t)number : (int64_t)number;
}

string json_text(string object, const char *field) {
    string rest = field_of(object, field);
    if (rest.len == 0 || rest.ptr[0] != '"') return (string){0, 0};
    uint8_t *text = malloc(rest.len);
    size_t length = 0;
    for (size_t at = 1; at < rest.len && rest.ptr[at] != '"'; at++) {
        // An escaped quote or backslash stands for itself; what else is escaped stays as it is written.
        if (rest.ptr[at] == '\\' && at + 1 < rest.len && (rest.ptr[at + 1] == '"' || rest.ptr[at + 1] == '\\')) at++;
        text[length++] = rest.ptr[at];
    }
    return (string){text, length};
}

void parameter(description *own, string name, string value, string doc) {
    size_t count = own->parameters.len;
    own->parameters.ptr = realloc(own->parameters.ptr, (count + 1) * sizeof *own->parameters.ptr);
    own->parameters.ptr[count] = (wavetank_workload_types_parameter_t){name, value, doc};
    own->parameters.len = count + 1;
}

// Calls of the host.

static void failed(outcome *came, wavetank_workload_types_error_t *error) {
    if (error->tag == WAVETANK_WORKLOAD_TYPES_ERROR_MISUSE) {
        misused(error->val.misuse);
        came->kind = TEXT("misuse");
        came->message = error->val.misuse;
    } else {
        came->kind = error->val.failure.kind;
        came->message = error->val.failure.message;
    }
}

value integer_value(int64_t number) {
    return (value){.tag = WAVETANK_WORKLOAD_DATABASE_VALUE_INTEGER, .val.integer = number};
}

value float_value(double number) {
    return (value){.tag = WAVETANK_WORKLOAD_DATABASE_VALUE_FLOAT, .val.float_ = number};
}

value text_value(string text) {
    return (value){.tag = WAVETANK_WORKLOAD_DATABASE_VALUE_TEXT, .val.text = text};
}

static wavetank_workload_database_statement_t statement(const char *sql, values given, const char *op) {
    return (wavetank_workload_database_statement_t){
        .sql = text_of(sql),
        .values = {given.values, given.count},
        .op = {op != NULL, text_of(op)},
    };
}

outcome execute(const char *sql, values given, const char *op) {
    outcome came = {0};
    wavetank_workload_types_error_t error;
    wavetank_workload_database_statement_t asked = statement(sql, given, op);
    came.ok = wavetank_workload_database_execute(&asked, &came.changed, &error);
    if (!came.ok) failed(&came, &error);
    return came;
}

outcome query(const char *sql, values given, const char *op) {
    outcome came = {0};
    wavetank_workload_types_error_t error;
    wavetank_workload_database_statement_t asked = statement(sql, given, op);
    came.ok = wavetank_workload_database_query(&asked, &came.found, &error);
    if (!came.ok) failed(&came, &error);
    return came;
}

static wavetank_workload_bus_outgoing_t outgoing(const char *subject, string payload, const char *op) {
    return (wavetank_workload_bus_outgoing_t){
        .subject = text_of(subject),
        .payload = {payload.ptr, payload.len},
        .op = {op != NULL, text_of(op)},
    };
}

outcome publish(const char *subject, string payload, const char *op) {
    outcome came = {0};
    wavetank_workload_types_error_t error;
    wavetank_workload_bus_outgoing_t sent = outgoing(subject, payload, op);
    came.ok = wavetank_workload_bus_publish(&sent, &error);
    if (!came.ok) failed(&came, &error);
    return came;
}

outcome request(const char *subject, string payload, const char *op, uint64_t timeout_ns) {
    outcome came = {0};
    wavetank_workload_types_error_t error;
    wavetank_workload_bus_outgoing_t sent = outgoing(subject, payload, op);
    uint64_t *timeout = timeout_ns == 0 ? NULL : &timeout_ns;
    came.ok = wavetank_workload_bus_request(&sent, timeout, &came.reply, &error);
    if (!came.ok) failed(&came, &error);
    return came;
}

bool check(const char *name, bool passed) {
    string named = text_of(name), wrong;
    bool given = passed;
    if (!wavetank_workload_metrics_check(&named, passed, &given, &wrong)) misused(wrong);
    return passed;
}

void sample(const char *metric, double value) {
    string named = text_of(metric), wrong;
    if (!wavetank_workload_metrics_add(&named, value, &wrong)) misused(wrong);
}

void say(string line) {
    wavetank_workload_log_line(WAVETANK_WORKLOAD_LOG_LEVEL_INFO, &line);
}

// How a call ends: with what the plugin said, else with the misuse that it met.

bool wavetank_ended(const char *error, string *told, bool keeps) {
    string why = error != NULL ? text_of(error) : misuse;
    misuse = (string){0, 0};
    if (keeps) kept = top;
    ended = true;
    *told = why;
    return why.ptr == NULL;
}

// The bindings ask for the contract's types as an object file; `wavetank plugin build` adds them itself.
void __component_type_object_force_link_contract(void);
void __component_type_object_force_link_contract(void) {}
