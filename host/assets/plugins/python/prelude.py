"""What would ask a system that is not there: run before the plugin itself.

A component has no files, no clock and no chance but the run's. What of Python would reach for them asks the
host, or says what to do instead.
"""

import datetime
import os
import random
import sys
import time

from wit_world.imports import log, random as chance, timing

# The run's clock: seconds since it began.
time.time_ns = time.monotonic_ns = time.perf_counter_ns = timing.now
time.time = time.monotonic = time.perf_counter = lambda: timing.now() / 1e9
time.sleep = lambda seconds: timing.sleep(round(seconds * 1e9))


class _Moment(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)

    @classmethod
    def today(cls):
        return cls.now()


datetime.datetime = _Moment


def _bytes(count):
    words = -(-count // 8)
    return b"".join(chance.bits().to_bytes(8, "little") for _ in range(words))[:count]


class _Chance(random.Random):
    """Seeded, as everything is that an iteration draws."""

    def random(self):
        return chance.float()

    def getrandbits(self, k):
        return int.from_bytes(_bytes(-(-k // 8)), "little") >> (-k % 8)

    def seed(self, *_given, **_more):
        pass


os.urandom = random._urandom = _bytes
_drawn = _Chance()
for _name in random.__all__:
    if getattr(getattr(random, _name), "__self__", None) is random._inst:
        setattr(random, _name, getattr(_drawn, _name))
random._inst = _drawn


class _Lines:
    """Text that is printed: lines in the run's log."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, level):
        self.level, self.begun = level, ""

    def write(self, text):
        *whole, self.begun = (self.begun + text).split("\n")
        for line in whole:
            log.line(self.level, line)
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False


class _Late:
    """What is imported when the component is long made."""

    def find_spec(self, module, *_given):
        raise ImportError(f"`{module}` is imported too late: import it at the top of plugin.py")


def made():
    """Ends the making: from here on there are no files, and what is printed is the run's."""
    sys.stdout, sys.stderr = _Lines(log.Level.INFO), _Lines(log.Level.ERROR)
    sys.meta_path[:] = [_Late()]
