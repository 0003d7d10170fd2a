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

from nrepl_py.errors import Busy, NreplError, StartFailed
from nrepl_py.evaluators.base import Ref, Spec
from nrepl_py.evaluators.frames import Ready
from nrepl_py.ops import Cause
from nrepl_py.server import messages
from nrepl_py.server.context import Asker, Context
from nrepl_py.server.crashes import Crashes
from nrepl_py.server.evals import OpenEval
from nrepl_py.server.idle import Idle
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

    def __init__(
        self,
        context: Context,
        spec: Spec,
        principal: str,
        name: str | None,
        transient: Asker | None,
        idle: float | None,
    ) -> None:
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
        self.crashes = Crashes(context)
        self.idle = Idle(context, self.id, 0 if transient else idle)
        self.stream = Stream(context, 0 if transient else context.limits.log_bytes)
        self.questions = Questions(context, self.id)
        self.running: OpenEval | None = None
        self.queue: deque[OpenEval] = deque()
        self.evals: dict[str, OpenEval] = {}
        """The running and the queued evals, by id."""
        self._held = False
        self._origin: Life | None = None
        """Of whose worker the next one is to be a copy; None: a fresh one."""
        self._later_origin: Life | None = None
        """And the one after it, where somebody waits for that."""
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
    def counts_from(self, origin: Life) -> None:
        """The worker is, or will be, a copy of that session's."""

    @abstractmethod
    def _say(self, message: Fields, asker: int | None, size: int = 0) -> None:
        """A message of the stream."""

    # -- the worker -----------------------------------------------------------------------------

    def ready(self, ready: Ready) -> None:
        """The worker accepts evals."""
        self.life = "ready"
        self.info = ready
        self.crashes.up()
        info = messages.info(ready)
        self.waiting.made(info)
        self._event("started" if self.ref.epoch == 1 else "restarted")
        if self.waiting.up(self.ref.epoch, info):
            self._origin, self._later_origin = self._later_origin, None
            self._replace(self._context.limits.stop_grace_seconds)
        else:
            self._next()

    def failed(self, error: NreplError) -> None:
        """The worker did not come up: refuse all that waited for it."""
        self.life = "closed" if self.ref.epoch == 1 else "dead"
        if isinstance(error, StartFailed):
            self.crashes.failed(error.message)
        self.waiting.failed(error)
        self._later_origin = None
        self._refuse_queue(error)
        if self.life == "dead":
            self._died(Cause(kind="lost", by="start", last_stderr=error.message))

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
        self.crashes.died(messages.cause(cause))
        self._died(cause)

    def _died(self, cause: Cause) -> None:
        self._event("died", cause, **{"crash-loop": True} if self.crashes.looping else {})

    def close(self, cause: Cause, grace: float) -> None:
        """End it all, now."""
        self.waiting.closed(CLOSED)
        if self.life == "ready":
            # A worker that is still starting is stopped when it has started: see `Router.started`.
            self._context.out.append(Stop(self.ref, grace))
        self.life = "closed"
        self._end_all(CLOSED)
        self._event("closed", cause)

    def copied(self, ref: Ref, force: bool) -> Spec:
        """A copy of this session's worker, as the worker of that ref."""
        return replace(self.spec, ref=ref, origin=self.ref, force=force)

    def restart(self, asker: Asker, origin: Life | None = None) -> None:
        """Go on with a fresh worker, or a copy of `origin`'s, and answer `asker` when that is up. Raises `Busy`."""
        later = self.life == "starting" or (self.life == "stopping" and origin is not self._origin)
        if later and self.waiting.later and origin is not self._later_origin:
            raise Busy("restart: others have asked to restart this session from elsewhere; wait for their answers")
        self.waiting.join(asker, later)
        if later:
            self._later_origin = origin
        else:
            self._origin = origin
        self.crashes.forgive()
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
        ref, origin = self.ref._replace(epoch=self.ref.epoch + 1), self._origin
        self._origin = None
        if origin is None:
            self.spec = replace(self.spec, ref=ref, origin=None, force=False)
        else:
            # What it leaves behind is told; to refuse now would leave nothing at all.
            self.spec = origin.copied(ref, force=True)
            self.counts_from(origin)
        self._context.out.append(Start(self.spec))

    def _end_all(self, last: Fields) -> None:
        self._end_running(last, last)
        self._end_queue(last)
        self.questions.end(last)

    def cull(self) -> None:
        """It may be that nobody has used the session for long: say so, or end it."""
        at_work = bool(self.evals) or self.life in ("starting", "stopping")
        left = self.idle.look(at_work or (bool(self.stream.clients) and not self.idle.whoever))
        if left:
            self._event("culling", seconds=left)
        elif left is not None:
            self.close(Cause(kind="idle"), self._context.limits.stop_grace_seconds)

    def _event(self, event: str, cause: Cause | None = None, **fields: Any) -> None:
        if self.transient:
            return
        self._context.watch.session(event, self.id, self.principal, cause)
        self.tell(event, fields if cause is None else {"cause": messages.to_map(cause), **fields})

    def tell(self, event: str, fields: Fields) -> None:
        """Say that something has happened to the session."""
        self._say({"session": self.id, "event": event, "epoch": self.ref.epoch, **fields}, None)
