// The exports of a workload, as the contract wants them: they call what plugin.c has.

#include "world.h"

bool wavetank_ended(const char *error, string *told, bool keeps);

void exports_contract_describe(description *own) {
    *own = (description){0};
    describe(own);
}

bool exports_contract_setup(context *given, string *data, string *error) {
    *data = TEXT("null");
    const char *wrong = setup(given, data);
    return wavetank_ended(wrong, error, false);
}

bool exports_contract_init(context *given, string *error) {
    return wavetank_ended(init(given), error, true);
}

bool exports_contract_iterate(iteration *given, string *error) {
    return wavetank_ended(iterate(given), error, false);
}

bool exports_contract_teardown(context *given, string *error) {
    return wavetank_ended(teardown(given), error, false);
}
