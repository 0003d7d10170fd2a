"""One session: its evals one after the other, and all that is promised of them.

Every eval accepted gets exactly one `done`, as its last message: `_finish` is the only place that
says it. At most one runs, in order of arrival; what the worker says names evals by serial, and only
the running one can say more than late output. A transient session has no name, no events and no
second eval: it ends with its only one, and its messages carry no `session`. The worker's own life,
and with it the states of a session, is in `life.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from nrepl_py.errors import Busy, DuplicateId, NreplError, Unavailable, reply
from nrepl_py.evaluators.base import Feed, Spec
from nrepl_py.evaluators.frames import (
    Answer,
    Display,
    End,
    Failure,
    Finished,
    NeedInput,
    Output,
    Ready,
    Report,
    Value,
)
from nrepl_py.ops import AnyEval, Introspection
from nrepl_py.server import messages
from nrepl_py.server.context import Asker, Connection, Context
from nrepl_py.server.evals import OpenEval
from nrepl_py.server.instructions import CancelTimer, Hold, SetTimer, Stop, Tell
from nrepl_py.server.ladder import Ladder
from nrepl_py.server.life import CANCELLED, Life

MAX_RECENT: Final = 1000
"""Ended evals whose late output still gets their id; a program that leaves more threads behind has
bigger problems."""


class Session(Life):
    """One session's state; what it decides goes to `context.out`."""

    def __init__(
        self,
        context: Context,
        spec: Spec,
        principal: str,
        *,
        name: str | None = None,
        transient: Asker | None = None,
        idle: float | None = None,
    ) -> None:
        super().__init__(context, spec, principal, name, transient, idle)
        self._opening: OpenEval | None = None
        """The running eval, while nothing was said of it yet."""
        self._ticking = False
        self._seen: OpenEval | None = None
        """The same, at the last tick."""
        self._serial = 0
        self._recent: dict[int, tuple[str, int]] = {}
        self.named: dict[str, Any] = {} if transient else {"session": self.id}
        """What of a message says whose it is."""
        self._most_output = _least(spec.limits.output_bytes, context.limits.session_output_bytes)
        """Bytes an eval may write to its streams, or 0."""
        self._most_seconds = _least(spec.limits.eval_seconds, context.limits.session_eval_seconds)
        """An eval may run, or 0."""

    # -- evals ----------------------------------------------------------------------------------

    def submit(self, request: AnyEval, connection: Connection) -> None:
        """Accept an eval: it runs now, or when those before it have ended.

        Raises `DuplicateId`, `Busy` and `StartFailed`; then it was not accepted and nothing has changed.
        """
        if request.id in self.evals or self.stream.log.holds(request.id):
            raise DuplicateId(f"eval {request.id!r} is known to this session; choose a new id to run it again")
        if len(self.queue) >= self._context.limits.max_queue_evals:
            raise Busy(f"{len(self.queue)} evals wait in this session already; send more when some have ended")
        if self.life == "dead":
            self.crashes.check()
        self._serial += 1
        eval = OpenEval(request, self._serial, self._context.asker(connection, request), self._most_seconds)
        self.evals[eval.id] = eval
        self.last_active = self._context.clock()
        self.queue.append(eval)
        self._next()
        if self.life == "dead":
            self._start_next()

    def feed(self, text: str, eval_id: str | None) -> bool:
        """Input for that eval, else for the running one; False where there is none. Raises `Busy`."""
        eval = self.running if eval_id is None else self.evals.get(eval_id)
        if eval is None:
            return False
        if eval.waits and self.life == "ready":
            eval.waits = False
            self._context.out.append(Tell(self.ref, Feed(eval.run.serial, text)))
            self._say(self._head(eval.id) | {"status": ["input-done"]}, eval.asker)
        else:
            eval.put(text, self._context.limits.max_stdin_bytes)
        return True

    def interrupt(
        self, asker: Asker, eval_id: str | None, all: bool, kill_after: float | None = None
    ) -> list[str] | None:
        """Stop that eval, else the running one, and with `all` the queue. None: `asker` is answered
        when the eval has ended; else the statuses to answer with now."""
        eval = self.running if eval_id is None else self.evals.get(eval_id)
        if eval is None and eval_id is not None:
            return ["interrupt-id-mismatch"]
        queued = self._drop_queue() if all else []
        if eval is not None and eval is not self.running and not all:
            self.queue.remove(eval)
            queued = [eval]
        for waiting in queued:
            self._finish(waiting, CANCELLED)
        if self.transient and not self.evals:
            self.life = "closed"
        if eval is None:
            return [] if queued else ["session-idle"]
        if eval is not self.running:
            return []
        self._ladder(eval).join(asker, kill_after)
        return None

    def introspect(self, request: Introspection, asker: Asker) -> None:
        """Ask the worker, beside what runs. Raises `Unavailable` where there is none, and `Busy`."""
        self._check_worker()
        self.questions.ask(self.ref, request, asker)

    def check_copy(self, op: str) -> None:
        """Raises `Unavailable` where there is no worker to copy, `Busy` where it is in the middle of something."""
        self._check_worker()
        if self.evals:
            raise Busy(
                f"{op}: {len(self.evals)} evals run or wait in {self.name or self.id!r}, which can be copied only "
                "between two, with 'force' too: wait for the last 'done', or interrupt them"
            )

    def counts_from(self, origin: Life) -> None:
        """What it evaluates is counted on from that session, of which its worker is a copy."""
        if isinstance(origin, Session):
            self._serial = max(self._serial, origin._serial)
        for eval in self.queue:
            self._serial += 1
            eval.run = replace(eval.run, serial=self._serial)

    def _check_worker(self) -> None:
        if self.life != "ready":
            why = "is gone; the next eval starts a new one" if self.life == "dead" else "is starting; ask again"
            raise Unavailable(f"the session's worker {why}")

    def _next(self) -> None:
        if self.life == "ready" and self.running is None and self.queue and not self._copies:
            self._run(self.queue.popleft())

    def _run(self, eval: OpenEval) -> None:
        self.running = eval
        self.stream.staller = eval.asker
        self._context.watch.running(eval.asked)
        self._context.out.append(Tell(self.spec.ref, eval.run))
        # That it has started is told with the first thing it says, or soon: a short eval is one message.
        self._opening = eval
        if not self._ticking:
            self._set_tick()
        self.hold()
        if eval.timeout is not None:
            self._context.out.append(SetTimer(("timeout", self.id, eval.run.serial), eval.timeout))

    def _set_tick(self) -> None:
        """Two ticks are the time an opening may wait. One timer for each eval would cost more than all else here."""
        self._ticking, self._seen = True, self._opening
        self._context.out.append(SetTimer(("tick", self.id), self._context.limits.coalesce_seconds / 2))

    def _tick(self) -> None:
        self._ticking = False
        if self._opening is None:
            return
        if self._opening is self._seen:
            self._open()
        else:
            self._set_tick()

    def _ladder(self, eval: OpenEval) -> Ladder:
        if eval.ladder is None:
            eval.ladder = Ladder(self._context, self.ref, eval.run.serial, self.named.get("session"))
        return eval.ladder

    def _finish(self, eval: OpenEval, fields: dict[str, Any], size: int = 0) -> None:
        """Say an eval's last message, `done` included."""
        del self.evals[eval.id]
        message = self._head(eval.id) | fields
        self._context.watch.answered(eval.asked, message)
        self._say(message, eval.asker, size)

    def _finish_running(self, fields: dict[str, Any], size: int, last: dict[str, Any]) -> None:
        """The same for the running one, with all that hangs on it; `last` answers its interrupts."""
        eval = self.running
        assert eval is not None
        self.running = None
        self.last_active = self._context.clock()
        self.idle.touch()
        self._finish(eval, fields, size)
        self._recent[eval.run.serial] = (eval.id, eval.asker)
        if len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        if eval.timeout is not None and eval.stopped_by != "timeout":
            self._context.out.append(CancelTimer(("timeout", self.id, eval.run.serial)))
        if eval.ladder is not None:
            eval.ladder.end(last)

    def _end_running(self, last: dict[str, Any], told: dict[str, Any]) -> None:
        if self.running is not None:
            self._finish_running(last, 0, told)

    def _end_queue(self, last: dict[str, Any]) -> None:
        for eval in self._drop_queue():
            self._finish(eval, last)

    def _refuse_queue(self, error: NreplError) -> None:
        for eval in self._drop_queue():
            # The eval never began: a refusal, so not part of the stream, and its id stays free.
            del self.evals[eval.id]
            self._context.reply(eval.asked, reply(error, eval.id, None if self.transient else self.id))

    def _drop_queue(self) -> list[OpenEval]:
        queued = list(self.queue)
        self.queue.clear()
        return queued

    def _say(self, message: dict[str, Any], asker: int | None, size: int = 0) -> None:
        """A message of the stream; an opening that waits goes with it, or before it."""
        eval = self._opening
        if eval is not None and message.get("id") == eval.id:
            self._opening = None
            message, size = eval.opened_by(message, size)
        else:
            self._open()
        self.stream.say(message, asker, size)

    def _open(self) -> None:
        """Say that the running eval has started, where nothing was said of it yet."""
        eval, self._opening = self._opening, None
        if eval is not None:
            message, size = eval.opened_by(self._head(eval.id), 0)
            self.stream.say(message, eval.asker, size)

    def _head(self, id: str) -> dict[str, Any]:
        return {"id": id, **self.named}

    # -- what the worker says -------------------------------------------------------------------

    def said(self, report: Report) -> None:
        """One report of the current worker's. What does not fit the state is dropped: the worker
        runs foreign code and may say anything."""
        if self.life == "ready" or (self.life == "stopping" and type(report) in _LAST_WORDS):
            _REPORTS[type(report)](self, report)

    def _output(self, report: Output) -> None:
        head, asker = self._whose(report.serial)
        self._context.output_bytes += messages.weight(report)
        if self._most_output and self._is_running(report.serial) and self._overflows(messages.weight(report)):
            return
        for text in messages.pieces(report.text):
            self._say(head | messages.output(report, text), asker, len(text))

    def _overflows(self, size: int) -> bool:
        """Whether the running eval writes more than it may: then it is interrupted, and the rest is dropped."""
        eval = self.running
        assert eval is not None
        eval.output_bytes += size
        if eval.output_bytes <= self._most_output:
            return False
        if eval.stopped_by is None:
            self._stop_by("output-limit", eval)
        return True

    def _stop_by(self, status: str, eval: OpenEval) -> None:
        eval.stopped_by = eval.stopped_by or status
        self._ladder(eval).climb(eval.kill_after)

    def _display(self, report: Display) -> None:
        if self._is_running(report.serial):
            self._relay(messages.display(report), report, report.end)
        else:
            head, asker = self._whose(report.serial)
            self._say(head | messages.display(report), asker, messages.weight(report))

    def _value(self, report: Value) -> None:
        if self._is_running(report.serial):
            self._relay(messages.value(report), report, report.end)

    def _failure(self, report: Failure) -> None:
        if self._is_running(report.serial):
            self._relay(messages.failure(report), report, report.end)

    def _finished(self, report: Finished) -> None:
        if self._is_running(report.serial):
            self._relay({}, report, report.end)

    def _need_input(self, report: NeedInput) -> None:
        eval = self.running
        if eval is None or eval.run.serial != report.serial:
            # A thread left behind reads: nobody would know whom to ask.
            self._context.out.append(Tell(self.ref, Feed(report.serial, "")))
            return
        text = eval.take()
        if text is not None:
            self._context.out.append(Tell(self.ref, Feed(report.serial, text)))
            return
        eval.waits = True
        fields = {"prompt": report.prompt, "password": report.password, "status": ["need-input"]}
        self._say(self._head(eval.id) | fields, eval.asker, len(report.prompt))

    def _answer(self, report: Answer) -> None:
        self.questions.answer(report)

    def _is_running(self, serial: int | None) -> bool:
        return self.running is not None and self.running.run.serial == serial

    def _relay(self, fields: dict[str, Any], report: Report, end: End | None) -> None:
        eval = self.running
        assert eval is not None
        size = messages.weight(report)
        if end is None or self.life == "stopping":
            self._say(self._head(eval.id) | fields, eval.asker, size)
            return
        self.crashes.proved()
        messages.end(fields, end, eval.stopped_by)
        self._finish_running(fields, size, {"status": ["done"]})
        if self.transient:
            self.life = "closed"
            self._context.out.append(Stop(self.ref, self._context.limits.stop_grace_seconds))
        else:
            self._next()

    def _whose(self, serial: int | None) -> tuple[dict[str, Any], int | None]:
        """The head of a message about output of that serial, and who asked for it."""
        eval = self.running
        if eval is not None and (eval.run.serial == serial or self.transient):
            return self._head(eval.id), eval.asker
        late = self._recent.get(serial) if serial is not None else None
        if late is None:
            return dict(self.named), None
        return self._head(late[0]) | {"late": True}, late[1]

    # -- timers and clients ---------------------------------------------------------------------

    def timer(self, kind: str, serial: int = 0, number: int = 0) -> None:
        """A timer of this session's fired; one whose eval has ended means nothing."""
        eval = self.running
        if kind == "tick":
            self._tick()
        elif kind == "idle":
            self.cull()
        elif kind == "answer":
            self.questions.expire(serial)
        elif eval is None or eval.run.serial != serial:
            return
        elif kind == "timeout":
            self._stop_by("timeout", eval)
        elif eval.ladder is not None:
            if kind == "grace":
                eval.ladder.repeat()
            elif kind == "kill":
                self._kill(eval)
            else:
                eval.ladder.give_up(number)

    def take_over(self, connection: int) -> None:
        """The evals of connections that are gone are this one's from now on, and the worker waits for it."""
        here, stream = self._context.connections, self.stream
        for eval in self.evals.values():
            if eval.asker not in here:
                eval.asker = connection
        if stream.staller is not None and stream.staller not in here:
            stream.staller = connection

    def hold(self) -> None:
        """Stop reading the worker while the connection whose eval runs, or ran last, has not enough room for
        more, or has yet to be sent what was said before it came."""
        staller = self.stream.staller
        held = staller in self._context.full or staller in self.stream.replays
        if held != self._held and self.life == "ready":
            self._held = held
            self._context.out.append(Hold(self.ref, held))


def _least(*bounds: float | None) -> float:
    """The lowest of what is bounded at all, or 0."""
    return min((bound for bound in bounds if bound), default=0)


_REPORTS: Final[dict[type, Callable[[Session, Any], None]]] = {
    Output: Session._output,
    Value: Session._value,
    Display: Session._display,
    NeedInput: Session._need_input,
    Failure: Session._failure,
    Finished: Session._finished,
    Answer: Session._answer,
    Ready: lambda session, report: None,
}

_LAST_WORDS: Final = frozenset({Output, Value, Display, Failure})
"""What is still heard of a worker that is being replaced."""
