"""The WebSocket frames of the commonest messages, read and written without the protocol's machinery (RFC 6455, 5.2).

A server's frame is a header and the payload. Of a client's frames the one that arrives alone and whole, which
is nearly every request, is read here; all others, and all that is wrong, are websockets' own to judge.
"""

from __future__ import annotations

import struct
from typing import Final

from websockets.frames import apply_mask  # type: ignore[attr-defined]  # compiled where that can be had

TEXT: Final = 0x81
BINARY: Final = 0x82
"""First byte of an unfragmented frame."""

_MASKED: Final = 0x80
_LONGEST: Final = _MASKED | 127  # 8 bytes of length follow


def header(first: int, length: int) -> bytes:
    """The header of a server's frame."""
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


def whole(data: bytes, first: int) -> bytes | None:
    """The payload, where the data is one client's frame of that first byte and nothing else."""
    if len(data) < 6 or data[0] != first:
        return None
    length, start = data[1] - _MASKED, 6
    if length == 126:
        length, start = int.from_bytes(data[2:4]), 8
    if data[1] == _LONGEST or len(data) != start + length:
        return None
    return bytes(apply_mask(data[start:], data[start - 4 : start]))


class Boundary:
    """Whether what was read ends between two frames. websockets does not tell: it may hold half a header."""

    __slots__ = ("_head", "_left", "here")

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        self.here = True
        """The next byte is the first of a frame."""

    @property
    def ahead(self) -> int:
        """Bytes until the header, as far as it is known, or the payload that is read now is whole; never 0."""
        return self._left or _size(self._head) - len(self._head)

    def pass_over(self, data: bytes) -> None:
        """These bytes were read."""
        at = 0
        while at < len(data):
            step = min(self.ahead, len(data) - at)
            if self._left:
                self._left -= step
            else:
                self._head += data[at : at + step]
                if len(self._head) == _size(self._head):
                    self._left = _length(self._head)
                    self._head.clear()
            at += step
        self.here = not self._head and not self._left


def _size(head: bytes | bytearray) -> int:
    """Bytes of a frame's header, or, while it is too short to tell, of as much as tells."""
    if len(head) < 2:
        return 2
    return 2 + {126: 2, 127: 8}.get(head[1] & 0x7F, 0) + (4 if head[1] & _MASKED else 0)


def _length(head: bytes | bytearray) -> int:
    """Bytes of the payload after this header."""
    short = head[1] & 0x7F
    return int.from_bytes(head[2 : 2 + {126: 2, 127: 8}[short]]) if short >= 126 else short
