// Wavetank for C: what a plugin may use, over the bindings of the contract (bindings/contract.h), which
// have the rest. There is no standard library; what wavetank.c has of one is in include/.
//
// What the system under test does wrong is data: `outcome.ok` is false and says why, and the host has
// counted it. Misuse ends the iteration with its message, once the function returns.
//
// Memory that is taken in a call is given back when the call has ended; what `init` (or `start`) takes is
// kept. So nothing needs to be freed.
#pragma once
#include "bindings/contract.h"

typedef contract_string_t string;
typedef wavetank_workload_types_description_t description;
typedef wavetank_workload_types_context_t context;
typedef wavetank_workload_database_value_t value;

// A literal as a string; JSON as it is written, without quoting it: JSON({"vus": 1}).
#define TEXT(literal) ((string){(uint8_t *)(literal), sizeof(literal) - 1})
#define JSON(...) TEXT(#__VA_ARGS__)

// Text put together: %s a `const char *`, %t a `string`, %d an int64_t.
string print(const char *format, ...);
bool equal(string one, string other);

// A parameter: name, default as JSON, what it means.
void parameter(description *own, string name, string value, string doc);
// The value of a parameter, or of a field of a flat JSON object; misuse if it is not there.
int64_t json_integer(string object, const char *field);
string json_text(string object, const char *field);

// What a call came to.
typedef struct {
    bool ok;
    // Rows that a statement changed.
    uint64_t changed;
    // Why not, if not.
    string kind, message;
    // What a query found, what a request got.
    wavetank_workload_database_rows_t found;
    wavetank_workload_bus_message_t reply;
} outcome;

// The database. Placeholders are `?` on every backend; `op` may be NULL.
typedef struct {
    value *values;
    size_t count;
} values;
#define VALUES(...) ((values){(value[]){__VA_ARGS__}, sizeof((value[]){__VA_ARGS__}) / sizeof(value)})
#define NONE ((values){0, 0})
value integer_value(int64_t number);
value float_value(double number);
value text_value(string text);
outcome execute(const char *sql, values given, const char *op);
outcome query(const char *sql, values given, const char *op);

// The bus; `op` may be NULL, and a timeout of 0 is the run's own.
outcome publish(const char *subject, string payload, const char *op);
outcome request(const char *subject, string payload, const char *op, uint64_t timeout_ns);

// Random numbers of the iteration: the same for the same seed.
static inline int64_t random_integer(int64_t low, int64_t high) {
    return wavetank_workload_random_integer(low, high);
}

// Records a check and returns what it was given; it never ends the iteration.
bool check(const char *name, bool passed);
void sample(const char *metric, double value);
void say(string line);
