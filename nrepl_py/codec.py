"""Messages and frames: a text frame is JSON, a binary frame is MessagePack.

The only module that knows either format. A decoded message is a dict with string keys and only
null, booleans, numbers, strings, bytes, lists and such dicts below it; everything else (extension
types, NaN, duplicate keys, invalid UTF-8, too deep) is refused before it reaches anyone. In JSON,
bytes inside `data` are `{"$bytes": BASE64}`, elsewhere (MIME bundles) plain base64 strings.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from typing import Any, Final

import msgpack
import msgspec

from nrepl_py.errors import InvalidMessage, Unparseable

MAX_DEPTH: Final = 64
"""Levels of nesting in a message or in plain data; deep enough for hand-made values, far below the
interpreter's recursion limit."""

REQUEST_ITEMS: Final = 4096
"""Lists and maps in a message from a client, which has a handful of them. Each costs some 70 bytes and may
take one byte of the frame, so that without a bound a frame of 4 MiB would make hundreds out of them."""


class Packed:
    """Plain data as a worker sent it: MessagePack, looked at once (`packed`), that goes on to clients as it is."""

    __slots__ = ("wire",)

    def __init__(self, wire: bytes | memoryview) -> None:
        self.wire = wire

    @property
    def value(self) -> Any:
        """What it stands for."""
        return msgpack.unpackb(self.wire, raw=False)


def packed(data: bytes | memoryview) -> Packed:
    """One MessagePack value, to be relayed. Raises as `unpack`."""
    unpack(data)
    return Packed(data)


def encode(message: dict[str, Any], codec: str) -> bytes:
    """The message as one frame's payload; `codec` is `json` or `msgpack`. Lone surrogates, which
    a client's own text may hold, become backslash escapes."""
    try:
        data = message.get("data")
        if codec == "msgpack":
            return _spliced(message, data) if type(data) is Packed else _pack(message)
        if data is not None:
            message = message | {"data": _json_bytes(data.value if type(data) is Packed else data)}
        return to_json(message)
    except UnicodeEncodeError:
        return encode(_escape_surrogates(message), codec)


def decode(frame: bytes | str, codec: str, items: int | None = None) -> dict[str, Any]:
    """The message in a frame, of at most `items` lists and maps. Raises `Unparseable`, or `InvalidMessage`
    where it is no map."""
    if codec == "msgpack" and (flat := _flat(frame)) is not None and (items is None or len(flat) <= items):
        return flat
    try:
        message = from_json(frame, items) if codec == "json" else unpack(frame, items)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise Unparseable(f"this frame is not {_NAMES[codec]}: {str(error) or type(error).__name__}") from None
    if not isinstance(message, dict):
        raise InvalidMessage("a message must be a map with 'op' and 'id'")
    return message


def _flat(frame: bytes | str) -> dict[str, Any] | None:
    """The commonest message, a small map of texts, integers and the like, read without a look at each; None for
    what has to be looked at more closely, be it right or wrong."""
    try:
        message = _decode_flat(frame)
    except (msgspec.MsgspecError, ValueError):
        return None
    # A small map says in its first byte how many pairs follow: where fewer came of them, a key was there twice.
    return message if len(message) | _SMALL_MAP == frame[0] else None


def pack_data(value: Any) -> bytes:
    """Plain data as MessagePack."""
    return _pack(value)


def unpack(data: bytes | str | memoryview, items: int | None = None) -> Any:
    """One MessagePack value, within `MAX_DEPTH`, of at most `items` lists and maps with as many items each.
    Raises ValueError or msgpack's own errors."""
    hooks: dict[str, Any] = {"object_pairs_hook": _no_duplicates}
    if items is not None and len(data) > items:  # each takes a byte at least
        hooks = _bounds(items)
    value = msgpack.unpackb(data, ext_hook=_no_extension, strict_map_key=True, raw=False, timestamp=0, **hooks)
    _check(value, MAX_DEPTH)
    return value


def from_json(data: bytes | str | memoryview, items: int | None = None) -> Any:
    """One JSON value, within `MAX_DEPTH`, of at most `items` lists and maps. Raises ValueError."""
    text = data if isinstance(data, str) else str(data, "utf-8")
    if items is not None and _brackets(text) > items and _brackets(_STRING.sub("", text)) > items:
        raise ValueError(f"it has more than {items} lists and maps")
    value = _decode_json(text)
    _check(value, MAX_DEPTH)
    return value


_SMALL_MAP: Final = 0x80
_SMALL_MAP_PAIRS: Final = 15
_decode_flat: Callable[[Any], dict[str, Any]] = msgspec.msgpack.Decoder(dict[str, str | int | bool | None]).decode
_NAMES: Final = {"json": "valid JSON", "msgpack": "valid MessagePack"}
_pack: Callable[[Any], bytes] = msgpack.Packer(autoreset=True, use_bin_type=True).pack
_DATA_KEY: Final = _pack("data")
to_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def _spliced(message: dict[str, Any], data: Packed) -> bytes:
    """The message as MessagePack, whose `data` is that already."""
    if len(message) > _SMALL_MAP_PAIRS:
        return _pack(message | {"data": data.value})
    rest = _pack({key: value for key, value in message.items() if key != "data"})
    return b"".join((bytes((_SMALL_MAP | len(message),)), rest[1:], _DATA_KEY, data.wire))


def _no_duplicates(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a map has the same key twice")
    return result


def _bounds(items: int) -> dict[str, Any]:
    """msgpack's options for that. A list's room is taken as its header is read: that is why each is bounded too."""
    left = items

    def count(container: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"it has more than {items} lists and maps")
        return container

    def pairs(found: list[tuple[Any, Any]]) -> dict[str, Any]:
        return _no_duplicates(count(found))

    return {"max_array_len": items, "max_map_len": items, "list_hook": count, "object_pairs_hook": pairs}


_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # never tries twice, also where it has no end


def _brackets(text: str) -> int:
    return text.count("[") + text.count("{")


def _no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code} is not part of the protocol")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _bounded_int(digits: str) -> int:
    # A 64-bit integer has at most 20 characters; longer ones cost quadratic time to read.
    if len(digits) > 20:
        raise ValueError("an integer does not fit 64 bits")
    return int(digits)


_decode_json: Callable[[str], Any] = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_int=_bounded_int
).decode


def _check(value: Any, depth: int) -> None:
    """Refuse what the protocol does not have. Of every message: the commonest type comes first."""
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is bytes:
        return
    if kind is dict or kind is list:
        if depth == 0:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if kind is dict:
            for key in value:
                if type(key) is not str:
                    raise ValueError("a map has a key that is not a string")
            value = value.values()
        for item in value:
            if type(item) is not str:
                _check(item, depth - 1)
    elif kind is float:
        if not math.isfinite(value):
            raise ValueError("a number is not finite")
    elif kind is not int:
        raise ValueError(f"{kind.__name__} is not part of the protocol")  # MessagePack's timestamp
    elif not -(1 << 63) <= value < 1 << 64:
        raise ValueError("an integer does not fit 64 bits")


def _escape_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_escape_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_escape_surrogates(key): _escape_surrogates(item) for key, item in value.items()}
    return value


def _json_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, list):
        return [_json_bytes(item) for item in value]
    if isinstance(value, dict):
        return {key: _json_bytes(item) for key, item in value.items()}
    return value
