"""Evaluates inside the host program, each session in a thread: for embedding, and for tests.

No isolation, and no kill: code that ignores interrupts keeps its thread until it ends by itself.
Descriptor-level output is the program's own. All else is the evaluator contract.
"""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from nrepl_py import lent
from nrepl_py.errors import NoCapacity, NotSupported, StartFailed
from nrepl_py.evaluators import frames
from nrepl_py.evaluators.base import Exited, Lost, Ref, Run, Said, Sink, Spec, ToWorker, WorkerEvent
from nrepl_py.evaluators.link import Link
from nrepl_py.evaluators.speech import aim, new_word, stages_of, tell
from nrepl_py.ops import Cause
from nrepl_py.worker import hosted
from nrepl_py.worker.lend import Lender

_LEAST_GRACE_SECONDS = 0.5  # for an interrupted eval to end: cutting its thread off is no way to end it sooner

_RETURN_SECONDS = 0.5  # for a thread that has nothing left to do but to return, and would still be counted


@dataclass(eq=False)
class _Session:
    ref: Ref
    link: Link
    word: int
    ready: asyncio.Future[frames.Ready] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    thread: threading.Thread | None = None
    serial: int = 0
    stopping: bool = False


class InProcessEvaluator:
    """Sessions as threads of this process."""

    capabilities = frozenset({"interrupt"})

    def __init__(self, *, max_workers: int = 100) -> None:
        self._max_workers = max_workers
        self._sessions: dict[Ref, _Session] = {}
        self._streams: hosted.Streams | None = None
        self._lender = Lender(lent.directories())
        self._sink: Sink = lambda event: None

    def describe(self) -> dict[str, Any]:
        return {
            "tier": "none",
            "boundary": False,
            "effect": "a session is a thread of the program that serves it, and can do all that it can",
            "start": "inprocess",
        }

    def watch(self, sink: Sink) -> None:
        self._sink = sink

    async def open(self) -> None:
        """Nothing to get ready: the program runs already."""

    async def start(self, spec: Spec) -> frames.Ready:
        if spec.origin is not None:
            raise NotSupported("clone: sessions here are threads of a running program, which cannot be copied")
        if len(self._sessions) >= self._max_workers:
            raise NoCapacity(f"{len(self._sessions)} sessions run in this program, as many as it allows; close one")
        if spec.python or spec.cwd or spec.env or spec.inherit_env:
            raise StartFailed("this server evaluates inside a running program: python, cwd and env cannot be chosen")
        for name in spec.preload:
            try:
                __import__(name)
            except Exception as error:
                raise StartFailed(f"cannot import {name}: {error}") from None
        if self._streams is None:
            self._streams = hosted.Streams()
        link = Link(
            on_report=lambda report: self._report(session, report),
            on_broken=lambda why: self._end(session, Lost(spec.ref, Cause(kind="lost", by="router", trace=why))),
            pipes=False,
        )
        session = _Session(spec.ref, link, new_word())
        self._sessions[spec.ref] = session
        loop = asyncio.get_running_loop()
        session.thread = hosted.Thread(self._lender, self._streams).start(
            *link.give_ends(), session.word, lambda: _call(loop, self._left, session)
        )
        return await session.ready

    def send(self, ref: Ref, message: ToWorker) -> None:
        if session := self._sessions.get(ref):
            if isinstance(message, Run):
                session.serial = message.serial
            tell(session.link, message)

    def hold(self, ref: Ref, held: bool) -> None:
        if session := self._sessions.get(ref):
            session.link.hold(held)

    def interrupt(self, ref: Ref, serial: int) -> bool:
        session = self._sessions.get(ref)
        if session is None:
            return False
        aim(session.word, serial)
        session.link.tell_aside({"do": "interrupt", "serial": serial, "aimed": False})
        return True

    def stages(self, ref: Ref, serial: int) -> tuple[str, ...]:
        session = self._sessions.get(ref)
        return () if session is None else stages_of(session.word, serial)

    def memory(self, ref: Ref) -> int | None:
        return None

    async def stop(self, ref: Ref, grace: float) -> bool:
        session = self._sessions.get(ref)
        if session is None:
            return False
        first, session.stopping = not session.stopping, True
        session.link.hold(False)
        if session.serial:
            self.interrupt(ref, session.serial)
        session.link.hang_up()
        try:
            await asyncio.wait_for(session.gone.wait(), max(grace, _LEAST_GRACE_SECONDS))
        except TimeoutError:
            # A thread cannot be killed. It is cut off: what it still says reaches nobody.
            self._end(session, Exited(ref, Cause(kind="killed", by="router")))
        return first

    async def aclose(self) -> None:
        await asyncio.gather(*(self.stop(ref, 1.0) for ref in list(self._sessions)))
        if self._streams is not None:
            self._streams.restore()
            self._streams = None

    def _report(self, session: _Session, report: frames.Report) -> None:
        if isinstance(report, frames.Ready):
            session.ready.set_result(replace(report, sandbox=self.describe(), copied={}))
        else:
            self._sink(Said(session.ref, report))

    def _left(self, session: _Session) -> None:
        """Its thread said so, as the last thing it does."""
        if session.thread is not None:
            session.thread.join(_RETURN_SECONDS)
        self._end(session, Exited(session.ref, Cause(kind="exit")))

    def _end(self, session: _Session, event: WorkerEvent) -> None:
        if session.gone.is_set():
            return
        session.link.last_words()
        session.gone.set()
        self._sink(event)  # who may still ask what its interrupts have done
        del self._sessions[session.ref]
        session.link.close()
        os.close(session.word)


def _call(loop: asyncio.AbstractEventLoop, *what: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(*what)
