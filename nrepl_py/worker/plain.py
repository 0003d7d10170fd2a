"""Plain data: values that every language has, packed as MessagePack.

Plain are None, booleans, integers within 64 bits, finite floats, strings, bytes, lists, tuples (as
lists) and dicts with string keys, of exactly these types: a subclass may behave as it likes, so it
is not plain. The router checks what it gets; this module only has to be right, small and quick.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Callable, Dict, List


class NotPlain(Exception):
    """The value is, or holds, something that is not plain data, or nests too deep."""


class TooLarge(Exception):
    """The value is plain, but its encoding passes the limit."""


def pack(value: Any, max_bytes: int, max_depth: int) -> bytes:
    """The value as MessagePack. Raises `NotPlain` or `TooLarge`."""
    packer = _Packer(max_bytes)
    packer.pack(value, max_depth)
    return b"".join(packer.parts)


def text(value: str) -> bytes:
    """UTF-8, with lone surrogates as backslash escapes."""
    return value.encode("utf-8", "backslashreplace")


class _Packer:
    def __init__(self, max_bytes: int) -> None:
        self.parts: List[bytes] = []
        self._left = max_bytes

    def pack(self, value: Any, depth: int) -> None:
        kind = type(value)
        write = _SCALARS.get(kind)
        if write is not None:
            self._emit(*write(value))
        elif depth == 0:
            raise NotPlain("nested too deep")
        elif kind is list or kind is tuple:
            self._emit(_head(len(value), 0x90, 15, b"", b"\xdc", b"\xdd"))
            for item in value:
                self.pack(item, depth - 1)
        elif kind is dict:
            self._emit(_head(len(value), 0x80, 15, b"", b"\xde", b"\xdf"))
            for key, item in value.items():
                if type(key) is not str:
                    raise NotPlain("a key that is not a string")
                self._emit(*_string(key))
                self.pack(item, depth - 1)
        else:
            raise NotPlain(kind.__name__)

    def _emit(self, *parts: bytes) -> None:
        for part in parts:
            self._left -= len(part)
            self.parts.append(part)
        if self._left < 0:
            raise TooLarge


def _head(size: int, fix: int, fix_max: int, one: bytes, two: bytes, four: bytes) -> bytes:
    if size <= fix_max:
        return bytes((fix | size,))
    if one and size < 1 << 8:
        return one + bytes((size,))
    if size < 1 << 16:
        return two + struct.pack(">H", size)
    if size < 1 << 32:
        return four + struct.pack(">I", size)
    raise TooLarge


def _integer(value: int) -> List[bytes]:
    if 0 <= value < 128:
        return [bytes((value,))]
    if -(1 << 63) <= value < 1 << 63:
        return [struct.pack(">bq", -0x2D, value)]  # 0xd3: int 64
    if 0 <= value < 1 << 64:
        return [struct.pack(">bQ", -0x31, value)]  # 0xcf: uint 64
    raise NotPlain("an integer beyond 64 bits")


def _float(value: float) -> List[bytes]:
    if not math.isfinite(value):
        raise NotPlain("a float that is not finite")
    return [struct.pack(">bd", -0x35, value)]  # 0xcb: float 64


def _string(value: str) -> List[bytes]:
    data = text(value)
    return [_head(len(data), 0xA0, 31, b"\xd9", b"\xda", b"\xdb"), data]


def _binary(value: bytes) -> List[bytes]:
    return [_head(len(value), 0, -1, b"\xc4", b"\xc5", b"\xc6"), value]


_SCALARS: Dict[type, Callable[[Any], List[bytes]]] = {
    type(None): lambda value: [b"\xc0"],
    bool: lambda value: [b"\xc3" if value else b"\xc2"],
    int: _integer,
    float: _float,
    str: _string,
    bytes: _binary,
}
