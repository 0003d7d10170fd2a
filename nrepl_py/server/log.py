"""A session's stream as it was said: numbered from 1 without holes, kept up to a bound.

Numbers go on when old messages are dropped and when the worker is replaced; a message once logged
is never rewritten. While a message of an eval is kept, that eval's id is taken.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, Final

OVERHEAD: Final = 512
"""Bytes counted for a message beside its payload: the map, its keys and the ids (measured with
`tracemalloc`: 380 to 600)."""


class Log:
    """The newest messages of a stream, of `bound` bytes or less, and always the newest one."""

    __slots__ = ("_bound", "_bytes", "_ids", "_messages", "last_seq")

    def __init__(self, bound: int) -> None:
        self.last_seq = 0
        self._bound = bound
        self._bytes = 0
        self._messages: deque[tuple[dict[str, Any], int]] = deque()
        self._ids: dict[str, int] = {}

    @property
    def first_seq(self) -> int:
        """The `seq` of the oldest message kept; `last_seq` + 1 where there is none yet."""
        return self.last_seq - len(self._messages) + 1

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._bytes

    def append(self, message: dict[str, Any], size: int) -> None:
        """Number the message and keep it; `size` is its payload's bytes. Older ones may go."""
        self.last_seq = message["seq"] = self.last_seq + 1
        id = message.get("id")
        if id is not None:
            self._ids[id] = self.last_seq
        self._messages.append((message, size))
        self._bytes += size + OVERHEAD
        while self._bytes > self._bound and len(self._messages) > 1:
            self._drop()

    def holds(self, id: str) -> bool:
        """Whether a message of the eval `id` is still kept."""
        return id in self._ids

    def since(self, seq: int) -> list[dict[str, Any]]:
        """The messages kept whose number is above `seq`, oldest first."""
        return [message for message, _ in islice(self._messages, max(0, seq - self.first_seq + 1), None)]

    def _drop(self) -> None:
        message, size = self._messages.popleft()
        self._bytes -= size + OVERHEAD
        id = message.get("id")
        if id is not None and self._ids[id] == message["seq"]:
            del self._ids[id]
