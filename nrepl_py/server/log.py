"""A session's stream as it was said: numbered from 1 without holes, kept up to a bound.

Numbers go on when old messages are dropped and when the worker is replaced; a message once logged
is never rewritten. While a message of an eval is kept, that eval's id is taken.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, Final

from nrepl_py import codec

PACKED: Final = 1024
"""Bytes of payload up to which a message is kept packed: a map of a few short texts takes three times the
memory (340 bytes and 120, measured with `tracemalloc`). A larger payload is held once, by whoever holds it."""

OVERHEAD: Final = 64
"""Bytes counted for a packed message beside its own: the object's head and its places here (measured: 50)."""

ID_BYTES: Final = 192
"""Bytes counted for an id beside the messages that have it: it is kept to be looked up (measured: 150 to 200)."""

MAP_BYTES: Final = 512
"""Bytes counted for a message that is not packed, beside its payload: the map and its keys."""


class Log:
    """The newest messages of a stream, of `bound` bytes or less, and always the newest one."""

    __slots__ = ("_bound", "_bytes", "_ids", "_kept", "_of", "last_seq")

    def __init__(self, bound: int) -> None:
        self.last_seq = 0
        self._bound = bound
        self._bytes = 0
        self._kept: deque[bytes | tuple[dict[str, Any], int]] = deque()
        self._of: deque[str | None] = deque()
        self._ids: dict[str, int] = {}

    @property
    def first_seq(self) -> int:
        """The `seq` of the oldest message kept; `last_seq` + 1 where there is none yet."""
        return self.last_seq - len(self._kept) + 1

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._bytes

    def append(self, message: dict[str, Any], size: int) -> bytes | None:
        """Number the message and keep it; `size` is its payload's bytes. Older ones may go. Returns it as
        MessagePack, where it is kept so."""
        self.last_seq = message["seq"] = self.last_seq + 1
        id = message.get("id")
        if id is not None:
            if id not in self._ids:
                self._bytes += ID_BYTES
            self._ids[id] = self.last_seq
        kept: bytes | tuple[dict[str, Any], int]
        try:
            kept = codec.encode(message, "msgpack") if size <= PACKED else (message, size)
        except Exception:
            kept = message, size  # the outbox says what is wrong with it, and sends what it can
        self._kept.append(kept)
        self._of.append(id)
        self._bytes += _weight(kept)
        while self._bytes > self._bound and len(self._kept) > 1:
            self._drop()
        return kept if type(kept) is bytes else None

    def holds(self, id: str) -> bool:
        """Whether a message of the eval `id` is still kept."""
        return id in self._ids

    def since(self, seq: int, size: int | None = None, count: int | None = None) -> list[dict[str, Any]]:
        """The messages kept whose number is above `seq`, oldest first: all, or up to `count` of them and as
        many as take `size` bytes, but one at least."""
        found: list[dict[str, Any]] = []
        start = max(0, seq - self.first_seq + 1)
        for kept in islice(self._kept, start, None if count is None else start + count):
            if size is not None:
                size -= _weight(kept)
                if size < 0 and found:
                    break
            found.append(codec.unpack(kept) if isinstance(kept, bytes) else kept[0])
        return found

    def _drop(self) -> None:
        seq, id = self.first_seq, self._of.popleft()
        self._bytes -= _weight(self._kept.popleft())
        if id is not None and self._ids[id] == seq:
            del self._ids[id]
            self._bytes -= ID_BYTES


def _weight(kept: bytes | tuple[dict[str, Any], int]) -> int:
    return len(kept) + OVERHEAD if isinstance(kept, bytes) else kept[1] + MAP_BYTES
