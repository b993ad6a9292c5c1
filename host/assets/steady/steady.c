// Loaded into a language's tool by `wavetank plugin build`, so that what the tool bakes into a component
// (an interpreter that has started already, with its hash seeds and the moment at which it did) is the
// same each time: random bytes from a fixed sequence, and a clock that stands.
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/types.h>

struct moment {
    long seconds;
    long rest;
};

ssize_t getrandom(void *buffer, size_t length, unsigned flags) {
    unsigned char *bytes = buffer;
    (void)flags;
    for (size_t i = 0; i < length; i++) bytes[i] = (unsigned char)(i * 37 + 11);
    return (ssize_t)length;
}

int getentropy(void *buffer, size_t length) {
    getrandom(buffer, length, 0);
    return 0;
}

// 2001-09-09 for the calendar's clock (0), a thousand seconds after the start for every other.
int clock_gettime(int clock, struct moment *now) {
    now->seconds = clock == 0 ? 1000000000 : 1000;
    now->rest = 0;
    return 0;
}

int gettimeofday(struct moment *now, void *zone) {
    (void)zone;
    if (now != NULL) {
        now->seconds = 1000000000;
        now->rest = 0;
    }
    return 0;
}
