// What plugin.c must have: the service's functions. They return NULL, or what went wrong.
#pragma once
#include "wavetank.h"

typedef wavetank_workload_bus_message_t message;

void describe(description *own);
const char *start(const context *given);
// A reply whose `ptr` stays NULL is none.
const char *handle(string handler, const message *given, string *reply);
const char *stop(const context *given);
