"""A session's worker, from its start to its end, and the one after it.

    starting ──ready──▶ ready ──replaced─┐    evals queue in every state but `dead`, where the next
     ▲ │                  │              ▼    one starts a new worker: `starting`, epoch + 1
     │ └──failed/died──▶ dead ┄┄▶     stopping
     └────────────────────────gone───────┘    `close` leads from each of them to `closed`, for good

A worker is replaced (by `restart`, and by the last rung of a ladder) one after the other: all that
the old one has said comes first, then the end of what was open in it, and only then the next one
starts. What is open in a worker never goes on in another one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final, Literal, TypeAlias

from msgspec.structs import replace

from nrepl_py.errors import NreplError, StartFailed
from nrepl_py.evaluators.base import Ref, Spec
from nrepl_py.evaluators.frames import Ready
from nrepl_py.ops import Cause
from nrepl_py.server import messages
from nrepl_py.server.context import Asker, Context
from nrepl_py.server.evals import OpenEval
from nrepl_py.server.instructions import Start, Stop
from nrepl_py.server.questions import Questions
from nrepl_py.server.stream import Stream
from nrepl_py.server.waiting import Waiting

State: TypeAlias = Literal["starting", "ready", "stopping", "dead", "closed"]
Fields: TypeAlias = dict[str, Any]

CLOSED: Final = {"status": ["session-closed", "done"]}
RESTARTED: Final = {"status": ["session-restarted", "done"]}
CANCELLED: Final = {"status": ["cancelled", "done"]}


class Life(ABC):
    """The half of a session that owns its worker; `Session` is the other one, with the evals."""

    def __init__(self, context: Context, spec: Spec, principal: str, name: str | None, transient: Asker | None) -> None:
        self._context = context
        self.spec = spec
        self.id = spec.ref.id
        self.principal = principal
        self.name = name
        self.transient = transient
        """The one eval it was made for; None for a session that clients can name."""
        self.life: State = "starting"
        self.info: Ready | None = None
        self.created = self.last_active = context.clock()
        self.waiting = Waiting(context, self.id)
        self.stream = Stream(context, 0 if transient else context.limits.log_bytes)
        self.questions = Questions(context, self.id)
        self.running: OpenEval | None = None
        self.queue: deque[OpenEval] = deque()
        self.evals: dict[str, OpenEval] = {}
        """The running and the queued evals, by id."""
        self._held = False
        self._end_with: tuple[Fields, Fields] = (RESTARTED, RESTARTED)
        """What the running eval and its interrupts are told when the worker that is stopping has gone."""
        context.out.append(Start(spec))

    @property
    def ref(self) -> Ref:
        return self.spec.ref

    @property
    def state(self) -> str:
        """As `ls-sessions` says it."""
        if self.running is not None:
            return "busy"
        return "starting" if self.life == "stopping" else self.life

    @property
    def orphan(self) -> bool:
        """Whether nobody can know of it: who cloned it left before it was told, and it has no name."""
        asker = self.waiting.clone
        return asker is not None and asker.connection not in self._context.connections and not (self.name or self.evals)

    # -- what becomes of the evals --------------------------------------------------------------

    @abstractmethod
    def _next(self) -> None:
        """Run what waits first, if anything does."""

    @abstractmethod
    def _end_running(self, last: Fields, told: Fields) -> None:
        """End the running eval, if there is one, with `last`, and its interrupts with `told`."""

    @abstractmethod
    def _end_queue(self, last: Fields) -> None:
        """End all that waits with `last`."""

    @abstractmethod
    def _refuse_queue(self, error: NreplError) -> None:
        """Take back that the evals that wait were accepted: none of them has said anything yet."""

    @abstractmethod
    def _say(self, message: Fields, asker: int | None, size: int = 0) -> None:
        """A message of the stream."""

    # -- the worker -----------------------------------------------------------------------------

    def ready(self, ready: Ready) -> None:
        """The worker accepts evals."""
        self.life = "ready"
        self.info = ready
        info = messages.info(ready)
        self.waiting.made(info)
        self._event("started" if self.ref.epoch == 1 else "restarted")
        if self.waiting.up(self.ref.epoch, info):
            self._replace(self._context.limits.stop_grace_seconds)
        else:
            self._next()

    def failed(self, error: NreplError) -> None:
        """The worker did not come up: refuse all that waited for it."""
        self.life = "closed" if self.ref.epoch == 1 else "dead"
        self.waiting.failed(error)
        self._refuse_queue(error)

    def died(self, cause: Cause) -> None:
        """The worker ended. Unless it was to be replaced, that was unasked: so does everything that was open."""
        if self.life == "stopping":
            self._gone()
            return
        self._context.watch.died(cause)
        if self.life == "starting":
            self.failed(StartFailed(f"the interpreter ended while it started: {cause.last_stderr or cause.kind}"))
            return
        self.life = "closed" if self.transient else "dead"
        self._end_all(messages.died(cause))
        self._event("died", cause)

    def close(self, by: str, grace: float) -> None:
        """End it all, now."""
        self.waiting.closed(CLOSED)
        if self.life == "ready":
            # A worker that is still starting is stopped when it has started: see `Router.started`.
            self._context.out.append(Stop(self.ref, grace))
        self.life = "closed"
        self._end_all(CLOSED)
        self._event("closed", Cause(kind="killed", by=by))

    def restart(self, asker: Asker) -> None:
        """Go on with a fresh worker, and answer `asker` when that is up. Raises `Busy`."""
        self.waiting.join(asker, later=self.life == "starting")
        self._end_queue(RESTARTED)
        if self.life == "ready":
            # One that evaluates does not hear that it is to end.
            self._replace(self._context.limits.stop_grace_seconds if self.running is None else 0)
        elif self.life == "dead":
            self._start_next()

    def _kill(self, eval: OpenEval) -> None:
        """The last rung of the running eval's ladder: its worker goes."""
        if self.life != "ready" or eval.ladder is None:
            return
        eval.ladder.kill()
        self._end_queue(CANCELLED)
        why = [] if eval.stopped_by is None else [eval.stopped_by]
        last = {"status": [*why, "interrupted", "session-closed" if self.transient else "session-restarted", "done"]}
        self._replace(0, last, {"status": ["done"]})

    def _replace(self, grace: float, last: Fields = RESTARTED, told: Fields = RESTARTED) -> None:
        """Stop the worker. What runs ends with `last`, and its interrupts with `told`, once it is gone."""
        self.life = "stopping"
        self._end_with = last, told
        self._context.out.append(Stop(self.ref, grace))

    def _gone(self) -> None:
        """The worker that was to be replaced has ended, and said all it had to say."""
        self._end_running(*self._end_with)
        self.questions.end(RESTARTED)
        if self.transient:
            self.life = "closed"
        else:
            self._start_next()

    def _start_next(self) -> None:
        self.life = "starting"
        self._held = False
        self.spec = replace(self.spec, ref=self.ref._replace(epoch=self.ref.epoch + 1))
        self._context.out.append(Start(self.spec))

    def _end_all(self, last: Fields) -> None:
        self._end_running(last, last)
        self._end_queue(last)
        self.questions.end(last)

    def _event(self, event: str, cause: Cause | None = None) -> None:
        if self.transient:
            return
        self._context.watch.session(event, self.id, self.principal, cause)
        self.tell(event, {} if cause is None else {"cause": messages.to_map(cause)})

    def tell(self, event: str, fields: Fields) -> None:
        """Say that something has happened to the session."""
        self._say({"session": self.id, "event": event, "epoch": self.ref.epoch} | fields, None)
