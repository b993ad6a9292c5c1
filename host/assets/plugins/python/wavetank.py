"""Wavetank for Python: a workload or a service as one class, and what it may use.

What the system under test does wrong is data: calls return a `Result` whose `ok` is false, and the host has
counted it. Only misuse is raised; it becomes the iteration's error.
"""

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from componentize_py_types import Err
from wit_world.imports import bus as raw_bus
from wit_world.imports import database as raw_database
from wit_world.imports import log as raw_log
from wit_world.imports import metrics as raw_metrics
from wit_world.imports import random as raw_random
from wit_world.imports import target as raw_target
from wit_world.imports import timing as raw_timing
from wit_world.imports import types

_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


class Misuse(Exception):
    """The host was used wrongly: it did nothing and measured nothing."""


@dataclass
class Result:
    """What a call of the host came to."""

    ok: bool
    value: Any = None
    """What was asked for."""
    error: types.Failure | None = None
    """What the system under test said: `kind` and `message`."""


@dataclass
class Message:
    """A message that was received."""

    subject: str = ""
    payload: bytes = b""
    headers: list = field(default_factory=list)
    reply_to: str | None = None
    acknowledge: int | None = None
    ok: bool = True
    error: types.Failure | None = None

    @property
    def text(self) -> str:
        return self.payload.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """What the payload says; None if it is no JSON."""
        try:
            return json.loads(self.payload)
        except ValueError:
            return None


@dataclass
class Context:
    """What is known outside of iterations."""

    vu: int
    seed: int
    parameters: dict
    data: Any
    secrets: dict


Iteration = types.Iteration


def _nanoseconds(duration):
    """Of `"500ms"`, `"1.5s"` and the like."""
    if duration is None:
        return None
    number = str(duration).rstrip("hmnsu")
    unit = _UNITS.get(str(duration)[len(number) :])
    try:
        return round(float(number) * unit)
    except (TypeError, ValueError):
        raise Misuse(f'`{duration}` is no duration: write "500ms" or "1.5s"') from None


def _used(call, *given):
    try:
        return call(*given)
    except Err as error:
        raise Misuse(getattr(error.value, "value", error.value)) from None


def _measured(call, *given):
    try:
        return Result(True, call(*given))
    except Err as error:
        if isinstance(error.value, types.Error_Failure):
            return Result(False, error=error.value.value)
        raise Misuse(getattr(error.value, "value", error.value)) from None


def _bytes(payload):
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    return (payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))).encode()


def _outgoing(subject, payload, op, headers, reply_to):
    return raw_bus.Outgoing(subject, _bytes(payload), list((headers or {}).items()), op, reply_to)


def _received(message):
    return Message(message.subject, message.payload, message.headers, message.reply_to, message.acknowledge)


class _Subscription:
    """A subscription; live from the start."""

    ok = True

    def __init__(self, raw):
        self.raw = raw

    def next(self, timeout=None):
        """A message, or None if none came in time."""
        got = _measured(self.raw.next, _nanoseconds(timeout))
        if not got.ok:
            return Message(ok=False, error=got.error)
        return _received(got.value) if got.value else None

    def close(self):
        self.raw.__exit__(None, None, None)


class _Bus:
    """The message bus. Every operation is timed by the host."""

    raw = raw_bus
    """The interface as it is in `wit/bus.wit`, for what is not here."""

    def publish(self, subject, payload, *, op=None, headers=None, reply_to=None) -> Result:
        """Publishes: text, bytes, or anything else as JSON."""
        return _measured(raw_bus.publish, _outgoing(subject, payload, op, headers, reply_to))

    def request(self, subject, payload, *, op=None, timeout=None, headers=None) -> Message:
        """Sends a request and waits for its reply."""
        sent = _outgoing(subject, payload, op, headers, None)
        got = _measured(raw_bus.request, sent, _nanoseconds(timeout))
        return _received(got.value) if got.ok else Message(ok=False, error=got.error)

    def subscribe(self, pattern, queue=None):
        """Subscribes; `next("1s")` is a message, or None."""
        got = _measured(raw_bus.subscribe, pattern, queue)
        return _Subscription(got.value) if got.ok else got

    def flush(self) -> Result:
        """Waits until the server has everything that was published."""
        return _measured(raw_bus.flush)


def _to_value(value):
    if value is None:
        return raw_database.Value_Null()
    # A boolean is a whole number, too, in this language.
    for kind, made in (
        (bool, raw_database.Value_Boolean),
        (int, raw_database.Value_Integer),
        (float, raw_database.Value_Float),
        (str, raw_database.Value_Text),
        (bytes, raw_database.Value_Bytes),
    ):
        if isinstance(value, kind):
            return made(value)
    return raw_database.Value_Json(json.dumps(value))


def _from_value(value):
    if isinstance(value, raw_database.Value_Null):
        return None
    return json.loads(value.value) if isinstance(value, raw_database.Value_Json) else value.value


def _statement(sql, values=(), op=None, timeout=None):
    return raw_database.Statement(sql, [_to_value(it) for it in values], op, _nanoseconds(timeout))


class _Database:
    """The database. Placeholders are `?` on every backend."""

    def query(self, sql, values=(), *, op=None, timeout=None) -> Result:
        """A statement that returns rows: its value is a list of dictionaries."""
        got = _measured(raw_database.query, _statement(sql, values, op, timeout))
        if got.ok:
            columns = got.value.columns
            got.value = [dict(zip(columns, map(_from_value, row))) for row in got.value.rows]
        return got

    def execute(self, sql, values=(), *, op=None, timeout=None) -> Result:
        """A statement that changes rows: its value is how many."""
        return _measured(raw_database.execute, _statement(sql, values, op, timeout))

    def batch(self, statements) -> Result:
        """`(sql, values)` one after the other in one transaction: its value is the rows changed by each."""
        return _measured(raw_database.batch, [_statement(*it) for it in statements])

    @contextmanager
    def transaction(self):
        """`with database.transaction():` rolls back if something is raised in it."""

        def sure(done):
            if not done.ok:
                raise RuntimeError(f"{done.error.kind}: {done.error.message}")

        sure(_measured(raw_database.begin))
        try:
            yield
        except BaseException:
            _measured(raw_database.rollback)
            raise
        sure(_measured(raw_database.commit))

    def dialect(self) -> str:
        """Which SQL to write: `"sqlite"` or `"postgres"`."""
        return raw_database.speaks().name.lower()


class _Random:
    """Random numbers of the iteration: the same for the same seed. So are those of Python's `random`."""

    integer = staticmethod(raw_random.integer)
    float = staticmethod(raw_random.float)
    boolean = staticmethod(raw_random.boolean)
    text = staticmethod(raw_random.text)
    exponential = staticmethod(raw_random.exponential)
    normal = staticmethod(raw_random.normal)
    zipf = staticmethod(raw_random.zipf)

    def choice(self, items):
        """One of them; None if there are none."""
        at = raw_random.choice(len(items))
        return None if at is None else items[at]

    def shuffle(self, items):
        """A new list of them in another order."""
        return [items[at] for at in raw_random.shuffle(len(items))]


class _Time:
    """The run's time, in nanoseconds."""

    now = staticmethod(raw_timing.now)
    due = staticmethod(raw_timing.due)

    def sleep(self, duration):
        raw_timing.sleep(_nanoseconds(duration))


def _on_target(name):
    return lambda of: _measured(getattr(raw_target, name), of)


bus = _Bus()
database = _Database()
random = _Random()
time = _Time()
target = SimpleNamespace(
    **{name: _on_target(name) for name in ("start", "stop", "kill", "restart", "pause", "resume")}
)
"""Targets that the run started or attached to."""


def check(name: str, passed) -> bool:
    """Records a check; returns what it was given. It never ends the iteration."""
    return _used(raw_metrics.check, name, bool(passed))


def metric(name: str, value: float) -> None:
    """Adds a sample to a metric that `options["metrics"]` declares."""
    _used(raw_metrics.add, name, float(value))


@contextmanager
def group(name: str):
    """`with group("login"):` what is measured in it bears the tag `group`."""
    _used(raw_metrics.enter_group, name)
    try:
        yield
    finally:
        raw_metrics.leave_group()


def abort(reason: str) -> None:
    """Ends the run: exit code 108."""
    raw_metrics.abort(reason)


def mark_failed(reason: str) -> None:
    """Lets the run go on and fail: exit code 110."""
    raw_metrics.mark_failed(reason)


def log(text) -> None:
    """A line in the run's log; `print` does the same."""
    raw_log.line(raw_log.Level.INFO, str(text))


def warn(text) -> None:
    """A warning in the run's log."""
    raw_log.line(raw_log.Level.WARN, str(text))


class _Plugin:
    name = ""
    version = "0.1.0"
    options: dict = {}
    parameters: dict = {}
    """Names with `(default, what it means)`."""


class Workload(_Plugin):
    """What each virtual user does. A scenario's `exec` names a method beside `iterate`."""

    def setup(self, context: Context):
        """Once before the load; what it returns is `context.data` everywhere else."""

    def init(self, context: Context) -> None:
        """Once per virtual user, and again after a crash."""

    def iterate(self, iteration: Iteration) -> None:
        """Once per iteration."""
        raise NotImplementedError("the workload has no `iterate`")

    def teardown(self, context: Context) -> None:
        """Once at the end."""


class Service(_Plugin):
    """What answers messages, by methods that `handles` marks."""

    def start(self, context: Context) -> None:
        """Once per instance, before its first message."""

    def stop(self, context: Context) -> None:
        """Once per instance, at the end."""


def handles(subject: str):
    """Marks the method that answers a subject. What it returns is the reply; nothing is no reply."""

    def marked(method):
        method.handles = subject
        return method

    return marked


def _guarded(work):
    """What is raised becomes the error's text, with its places."""
    try:
        return work()
    except Exception as error:
        lines, at = [f"{type(error).__name__}: {error}"], error.__traceback__
        while at is not None:
            code = at.tb_frame.f_code
            if not code.co_filename.endswith(("wavetank.py", "entry.py")):
                lines.append(f"    at {code.co_name} ({code.co_filename.rsplit('/', 1)[-1]}:{at.tb_lineno})")
            at = at.tb_next
        raised = "\n".join(lines)
    raise Err(raised)


def _context(given):
    return Context(
        given.vu, given.seed, json.loads(given.parameters), json.loads(given.data), dict(given.secrets)
    )


class _World:
    def __init__(self, plugin):
        self.plugin = plugin

    def described(self, options):
        plugin = self.plugin
        parameters = [
            types.Parameter(name, json.dumps(default), doc)
            for name, (default, doc) in plugin.parameters.items()
        ]
        return types.Description(plugin.name, plugin.version, json.dumps(options), parameters)


class WorkloadWorld(_World):
    """The exports of a workload."""

    def describe(self):
        known = [name for name in vars(type(self.plugin)) if not name.startswith("_")]
        own = [name for name in known if callable(getattr(self.plugin, name)) and not hasattr(Workload, name)]
        return self.described({**self.plugin.options, "functions": ["iteration", *own]})

    def setup(self, context):
        return _guarded(lambda: json.dumps(self.plugin.setup(_context(context))))

    def init(self, context):
        _guarded(lambda: self.plugin.init(_context(context)))

    def iterate(self, iteration):
        name = "iterate" if iteration.exec == "iteration" else iteration.exec
        _guarded(lambda: getattr(self.plugin, name)(iteration))

    def teardown(self, context):
        _guarded(lambda: self.plugin.teardown(_context(context)))


class ServiceWorld(_World):
    """The exports of a service."""

    def __init__(self, plugin):
        super().__init__(plugin)
        methods = [getattr(plugin, name) for name in dir(plugin)]
        self.handlers = {it.handles: it for it in methods if hasattr(it, "handles")}

    def describe(self):
        services = {subject: subject for subject in self.handlers}
        return self.described({**self.plugin.options, "services": services})

    def start(self, context):
        _guarded(lambda: self.plugin.start(_context(context)))

    def handle(self, handler, message):
        reply = _guarded(lambda: self.handlers[handler](_received(message)))
        return None if reply is None else _bytes(reply)

    def stop(self, context):
        _guarded(lambda: self.plugin.stop(_context(context)))
