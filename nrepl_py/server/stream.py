"""A session's stream: every message is numbered, logged and sent once to each who should see it."""

from __future__ import annotations

from typing import Any

from nrepl_py.server.context import Context
from nrepl_py.server.instructions import Send
from nrepl_py.server.log import Log


class Stream:
    """Who sees a session's messages: all attached connections, and the one that asked."""

    __slots__ = ("_context", "attached", "log")

    def __init__(self, context: Context, bound: int) -> None:
        self._context = context
        self.log = Log(bound)
        self.attached: tuple[int, ...] = ()

    def attach(self, connection: int) -> None:
        """From now on this connection sees everything."""
        if connection not in self.attached:
            self.attached = (*self.attached, connection)

    def detach(self, connection: int) -> None:
        """From now on this connection sees only what it asks for."""
        if connection in self.attached:
            self.attached = tuple(number for number in self.attached if number != connection)

    def say(self, message: dict[str, Any], asker: int | None, size: int = 0) -> None:
        """Number, log and send it; `asker` is the connection that asked, `size` the payload's bytes."""
        self.log.append(message, size)
        to = self.attached
        if asker is not None and asker not in to and asker in self._context.connections:
            to = (*to, asker)
        if to:
            self._context.out.append(Send(to, message))
