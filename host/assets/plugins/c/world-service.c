// The exports of a service, as the contract wants them: they call what plugin.c has.

#include "world.h"

bool wavetank_ended(const char *error, string *told, bool keeps);

void exports_contract_describe(description *own) {
    *own = (description){0};
    describe(own);
}

bool exports_contract_start(context *given, string *error) {
    return wavetank_ended(start(given), error, true);
}

bool exports_contract_handle(string *handler, message *given, contract_option_list_u8_t *answer, string *error) {
    string reply = {0, 0};
    const char *wrong = handle(*handler, given, &reply);
    answer->is_some = reply.ptr != NULL;
    answer->val.ptr = reply.ptr;
    answer->val.len = reply.len;
    return wavetank_ended(wrong, error, false);
}

bool exports_contract_stop(context *given, string *error) {
    return wavetank_ended(stop(given), error, false);
}
