"""A session's stream: every message is numbered, logged and sent once to each who should see it.

Who attaches with `since` first gets the log from there on, a portion whenever its outbox has room. Until it has
caught up nothing of the stream is sent to it by another way: so nothing is missed, and nothing comes twice or early.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from nrepl_py.server.context import Asker, Context
from nrepl_py.server.instructions import TOO_SLOW, Disconnect, Send
from nrepl_py.server.log import Log

PORTION_BYTES: Final = 512 << 10
"""Of a log's messages sent at once, or a quarter of an outbox where that is less: more than a worker says in
one turn of the server's loop, so that who reads fast enough does catch up."""

PORTION_COUNT: Final = 1000
"""Messages of it: some 10 ms of the server's time."""


class Stream:
    """Who sees a session's messages: all attached connections, and the one that asked."""

    __slots__ = ("_context", "attached", "log", "replays", "staller")

    def __init__(self, context: Context, bound: int) -> None:
        self._context = context
        self.log = Log(bound)
        self.attached: tuple[int, ...] = ()
        """Those that see everything as it is said."""
        self.replays: dict[int, Replay] = {}
        """Those that are on their way to that."""
        self.staller: int | None = None
        """The connection whose eval runs, or ran last: while it is full the worker waits, so it loses nothing."""

    @property
    def clients(self) -> list[int]:
        """All that have attached."""
        return [*self.attached, *self.replays]

    def attach(self, connection: int) -> None:
        """From now on this connection sees everything."""
        if connection not in self.attached:
            self.attached = (*self.attached, connection)

    def detach(self, connection: int) -> None:
        """From now on this connection sees only what it asks for; a replay ends as it is."""
        if connection in self.replays:
            self.replays[connection].end()
        if connection in self.attached:
            self.attached = tuple(number for number in self.attached if number != connection)

    def say(self, message: dict[str, Any], asker: int | None, size: int = 0) -> None:
        """Number, log and send it; `asker` is the connection that asked, `size` the payload's bytes."""
        packed = self.log.append(message, size)
        context, to = self._context, self.attached
        if asker is not None and asker not in to and asker in context.connections and asker not in self.replays:
            to = (*to, asker)
        if context.full and not context.full.isdisjoint(to):
            to = self._not_too_slow(message, asker, to)
        if to:
            context.out.append(Send(to, message, packed))

    def _not_too_slow(self, message: dict[str, Any], asker: int | None, to: tuple[int, ...]) -> tuple[int, ...]:
        """Those who have room for it, or whom the worker waits for; the others are dropped."""
        patient = {self.staller, None if "late" in message else asker}
        for number in to:
            if number in self._context.full and number not in patient:
                self._context.out.append(Disconnect(number, *TOO_SLOW))
        return tuple(number for number in to if number not in self._context.full or number in patient)


class Replay:
    """An `attach` on its way through the log, or at its end. `at` is the last number it has; `gap`: not all
    before that was there any more; `then`: who has asked meanwhile to stay, or not to stay, after it. `on_end` is
    told once, and whether it has caught up."""

    __slots__ = ("_context", "_on_end", "_stream", "asker", "at", "gap", "then")

    def __init__(
        self, context: Context, stream: Stream, asker: Asker, since: int, on_end: Callable[[Replay, bool], None]
    ) -> None:
        self._context = context
        self._stream = stream
        self._on_end = on_end
        self.asker = asker
        self.at = since
        self.gap = False
        self.then: list[tuple[Asker, bool]] = []
        stream.detach(asker.connection)
        stream.replays[asker.connection] = self
        asker.client.replays.append(self)
        context.ask_room(asker.client)

    def go_on(self) -> None:
        """Send the next portion; after the last one, end."""
        log = self._stream.log
        if self.at + 1 < log.first_seq:
            self.gap = True
        size = min(PORTION_BYTES, self._context.limits.outbox_bytes // 4)
        for message in log.since(self.at, size, PORTION_COUNT):
            self._context.out.append(Send((self.asker.connection,), message))
            self.at = message["seq"]
        if self.at == log.last_seq:
            self.end(caught_up=True)

    def end(self, caught_up: bool = False) -> None:
        """Send no more."""
        del self._stream.replays[self.asker.connection]
        self.asker.client.replays.remove(self)
        self._on_end(self, caught_up)
