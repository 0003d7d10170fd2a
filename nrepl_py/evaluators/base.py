"""The evaluator contract: how the router owns workers, wherever they live.

An evaluator starts workers, carries messages to them, interrupts and stops them, and reports all
that they say and how they end. The router knows nothing else of a worker: not that it is a
process, nor that it is on this machine. One contract suite (`tests/contract`) runs against every
implementation.

Promises every implementation keeps:

- after `start` returns, exactly one terminal event (`Exited` or `Lost`) comes for that ref, ever,
  and nothing after it; when `start` raises, no event comes at all;
- `Said` events of one worker come in the order in which the worker said them, and all output an
  eval wrote before its end comes before the message that carries its `end`;
- events are delivered on the event loop's thread, never from inside a call of the router's;
- what a worker says is validated and bounded before it becomes an event: a worker that breaks the
  rules of `worker/wire.py` is stopped and ends with cause `lost`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Struct

from nrepl_py.codec import MAX_DEPTH
from nrepl_py.evaluators.frames import Ready, Report
from nrepl_py.ops import Cause, Sandbox, SessionLimits


class Ref(NamedTuple):
    """One life of one session's worker. Each restart is a new epoch."""

    id: str
    epoch: int
    node: str = "local"


class Spec(Struct, frozen=True):
    """What to start. `python`, `cwd`: None for the evaluator's own; `preload` comes on top of its own; `owner`: whether
    it is for the owner of the server, who may name what is his.

    With `origin` a copy of that worker, by fork, between two of its evals: then nothing else is chosen, but with
    `force`, whether it may have threads, which do not come along.
    """

    ref: Ref
    origin: Ref | None = None
    force: bool = False
    python: str | None = None
    cwd: str | None = None
    env: dict[str, str] = {}
    inherit_env: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    sandbox: Sandbox = Sandbox()
    limits: SessionLimits = SessionLimits()
    owner: bool = True


MAX_DATA: Final = 1 << 22
"""Bytes of plain data in one value, where nothing else is said."""


class Run(Struct, frozen=True, rename="kebab", omit_defaults=True, tag_field="do", tag="run"):
    """Evaluate. `serial` counts the evals of a session from 1, across epochs; workers know no ids.

    As JSON it is the frame of `worker/wire.py`, whose `RUN` has the same defaults. `spin`: seconds to look for what
    comes next, before sleeping; the evaluator's to say (`streak.py`).
    """

    serial: int
    code: str
    file: str | None = None
    line: int = 1
    column: int = 0
    module: str | None = None
    values: str = "last"
    mime: tuple[str, ...] = ()
    data: bool = False
    max_data: int = MAX_DATA
    max_depth: int = MAX_DEPTH
    allow_stdin: bool = True
    store_history: bool = True
    print_quota: int = 1 << 20
    spin: float = 0.0


class Feed(Struct, frozen=True):
    """Input for the eval `serial`, which asked for it (`NeedInput`); "" is one end of file."""

    serial: int
    text: str


class Ask(Struct, frozen=True):
    """A question answered beside a running eval; the `Answer` repeats `number`.

    `what` is `completions`, `signature`, `lookup` or `is-complete`; `fields` the op's own; in `seconds` the
    answer comes too late.
    """

    number: int
    what: str
    fields: dict[str, Any]
    seconds: float


ToWorker = Run | Feed | Ask


class Said(Struct, frozen=True):
    ref: Ref
    report: Report


class Exited(Struct, frozen=True):
    """The worker ended and was reaped."""

    ref: Ref
    cause: Cause


class Lost(Struct, frozen=True):
    """The worker is out of reach, or was cut off for breaking the wire's rules."""

    ref: Ref
    cause: Cause


WorkerEvent = Said | Exited | Lost
Sink = Callable[[WorkerEvent], None]


class Evaluator(Protocol):
    """Owns workers. Errors (in `nrepl_py.errors`) are those that `start` names."""

    @property
    def capabilities(self) -> frozenset[str]:
        """Of `isolated`, `kill`, `interrupt`, `clone`, `multi-host`: what really works here."""

    def describe(self) -> dict[str, Any]:
        """The isolation really in force, for `describe` and `clone`'s `info`."""

    def watch(self, sink: Sink) -> None:
        """Where all events go. Called once, before the first `start`."""

    async def open(self) -> None:
        """Get ready, so that the first start is as quick as the next. Called once, after `watch`.
        Raises `StartFailed` where no session could ever start."""

    async def start(self, spec: Spec) -> Ready:
        """Return once evals are accepted. Raises `NoCapacity` or `StartFailed` (with the
        interpreter's own stderr) rather than queueing; for a copy (`clone` in `capabilities`, else `NotSupported`)
        also `Busy`, where it cannot be had just now, and `QuotaExceeded`. A copy outlives its origin."""

    def send(self, ref: Ref, message: ToWorker) -> None:
        """Hand over a message; never blocks. A ref that is gone is ignored: its end was told."""

    def hold(self, ref: Ref, held: bool) -> None:
        """Stop (True) or go on reading what the worker says: backpressure for its writer."""

    def interrupt(self, ref: Ref, serial: int) -> bool:
        """Softly interrupt that eval, and no other; state is kept. False when the ref is gone."""

    def stages(self, ref: Ref, serial: int) -> tuple[str, ...]:
        """What interrupting that eval has done so far: of `cancel`, `sigint`, in order. Can be asked as long as
        the worker's end was not told, and while it is being told."""

    def memory(self, ref: Ref) -> int | None:
        """Resident bytes of the worker, where they can be had."""

    async def stop(self, ref: Ref, grace: float) -> bool:
        """End the worker and all it started: ask, wait `grace` seconds, then kill (or, without the capability
        `kill`, cut it off). Idempotent; True for the call that ended it. Its end, and before it all it
        had said, is delivered before this returns, within a bounded time."""

    async def aclose(self) -> None:
        """Stop everything and free what the evaluator holds."""
