"""From a decoded message to a typed request. msgspec does the checking; what is wrong, `faults.py` says."""

from __future__ import annotations

from typing import Any

import msgspec

from nrepl_py.errors import InvalidMessage
from nrepl_py.ops import MAX_ID, OPS, Request
from nrepl_py.server.faults import fault, no_request


def to_request(message: dict[str, Any]) -> Request:
    """The request in a message. Raises `InvalidMessage` and `UnknownOp`."""
    op = message.get("op")
    kind = OPS.get(op) if isinstance(op, str) else None
    if kind is None:
        raise no_request(message, op)
    try:
        request = msgspec.convert(message, kind)
    except msgspec.ValidationError:
        if valid_id(message) is None:
            raise no_request(message, op) from None
        raise InvalidMessage(f"{op}: {fault(kind, message)}") from None
    for name, value in message.items():
        if type(value) is str and not value.isascii() and not is_text(value):
            raise InvalidMessage(f"{op}: {name!r} holds half of a surrogate pair, which is not a character")
    return request


def valid_id(message: dict[str, Any]) -> str | None:
    """The message's id, where a reply can repeat it."""
    id = message.get("id")
    return id if isinstance(id, str) and 1 <= len(id) <= MAX_ID and is_text(id) else None


def is_text(text: str) -> bool:
    """Whether it can be sent at all: JSON can smuggle in lone surrogates, which UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
