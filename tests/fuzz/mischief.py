"""A malicious worker against the router: any bytes on the channels and pipes of a real `Link`.

The bytes are a script: one byte chooses where the next ones go, one says how many they are. What the
link reports goes to a router in the world of `tests/server/world.py`, which asserts the promises: one
`done` for each request and nothing after it, no message that names another session, no hole in a
stream. Here is added that nothing escapes, that all of it can be sent in both codecs, and that the
link says at most once that the rules were broken.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

from nrepl_py import codec
from nrepl_py.evaluators import frames
from nrepl_py.evaluators.base import Lost, Said
from nrepl_py.evaluators.link import Link
from nrepl_py.limits import MIN_FRAME
from nrepl_py.ops import Cause
from nrepl_py.server.outbox import Encoded
from nrepl_py.server.router import Router
from tests.server.world import ANN, World

MAX_BYTES = 16 << 10  # of one script; a socket holds more, so writing never waits
LONG = 250  # a length from here on stands for all the rest of the script


def play(script: bytes) -> None:
    """Let a worker with two evals, a question and an interrupt open write that."""
    loop = asyncio.new_event_loop()
    problems: list[Any] = []
    loop.set_exception_handler(lambda loop, context: problems.append(context))
    try:
        loop.run_until_complete(_play(script[:MAX_BYTES], problems))
        assert not problems, problems
    except BaseException as error:
        for problem in problems:
            raise problem.get("exception") or error from error
        raise
    finally:
        loop.close()


async def _play(script: bytes, problems: list[Any]) -> None:
    worker = _Worker()
    try:
        for channel, data in _pieces(script):
            worker.write(channel, data)
            for _ in range(2 + len(data) // 1024):  # turns of the loop: enough to read it all
                await asyncio.sleep(0)
            if problems or worker.broken:
                break
        worker.end(script[-1] if script else 0)
    finally:
        worker.close()


class _Worker:
    """The worker, its link, and the world it is to be kept from harming."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.world = World(Router)
        self.world._connect(ANN)
        self.world._clone(0)
        self.world._worker_starts(0)
        ((self.ref, _),) = self.world._alive()
        session = self.ref.id
        connection = next(iter(self.world.connections))
        for _ in range(2):
            self.world._ask(connection, "eval", session=session)
        self.world._ask(connection, "completions", session=session, cursor=0)
        self.world._ask(connection, "lookup", session=session, sym="x")
        running = self.world.sessions[session].running.id
        self.world.aimed.add(running)
        self.world._ask(connection, "interrupt", session=session, target=running)
        self.link = Link(on_report=self._said, on_broken=self.broken.append)
        self.link.run(1, b"{}")
        control, side = self.link.worker_ends
        self._ends = (control, side, *self.link.worker_pipes)

    def write(self, channel: int, data: bytes) -> None:
        os.write(self._ends[channel], data)

    def end(self, how: int) -> None:
        """Whatever it said, every request is answered."""
        self.link.last_words()
        assert len(self.broken) <= 1, self.broken
        if self.broken:
            self._die()
        self.world._end(how)
        for _, message in self.world.sent:
            for name in ("json", "msgpack"):
                codec.encode(message, name)
                assert len(Encoded(message).payload(name, MIN_FRAME)) <= MIN_FRAME
        sessions = {message["session"] for _, message in self.world.sent if "session" in message}
        assert sessions <= {self.ref.id}

    def close(self) -> None:
        self.link.close()

    def _die(self) -> None:
        self.world.workers[self.ref].gone = True
        cause = Cause(kind="lost", by="router", trace=self.broken[0])
        self.world._carry_out(self.world.router.worker(Lost(self.ref, cause)))

    def _said(self, report: frames.Report) -> None:
        if isinstance(report, frames.Ready) or self.broken:
            return
        worker = self.world.workers[self.ref]
        if worker.running is not None and getattr(report, "serial", None) == worker.running:
            worker.waits |= isinstance(report, frames.NeedInput)
            if getattr(report, "end", None) is not None and not isinstance(report, frames.Output):
                self.world._ended(self.ref)
        self.world._carry_out(self.world.router.worker(Said(self.ref, report)))


def _pieces(script: bytes) -> Iterator[tuple[int, bytes]]:
    """Where to write, and what."""
    at = 0
    while at + 1 < len(script):
        channel, size = script[at] % 4, script[at + 1]
        end = len(script) if size >= LONG else at + 2 + size
        yield channel, script[at + 2 : end]
        at = end
