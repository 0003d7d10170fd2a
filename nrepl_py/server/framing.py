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
_LONGER: Final = 126
_LONGEST: Final = 127
"""In place of a length: it follows in two bytes, or in eight."""


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
    if length == _LONGEST:
        return None
    if length == _LONGER:
        length, start = int.from_bytes(data[2:4]), 8
    if len(data) != start + length:
        return None
    return bytes(apply_mask(data[start:], data[start - 4 : start]))
