// What plugin.c must have: the workload's functions. They return NULL, or what went wrong.
#pragma once
#include "wavetank.h"

typedef wavetank_workload_types_iteration_t iteration;

void describe(description *own);
const char *setup(const context *given, string *data);
const char *init(const context *given);
const char *iterate(const iteration *given);
const char *teardown(const context *given);
