"""What waits to be written to one connection: encoded once, cut to the client's limits, written together.

`fit` and `Encoded` are pure. An `Outbox` gathers frames and hands them to the transport in one write;
how much may wait there is bounded by the transport's own marks (`pause_writing` in `connection.py`).
"""

from __future__ import annotations

import logging
from asyncio import WriteTransport
from typing import Any, Final

from nrepl_py import codec as codecs
from nrepl_py.server.framing import header

log = logging.getLogger(__name__)

JOIN_BYTES: Final = 64 << 10
"""Payloads up to this size are copied to leave in one write; larger ones are handed over as they are."""

_ITEM_BYTES: Final = 64
"""Bytes of the cut that allow one item of a list: about the least a completion or a frame takes."""

_JOINT_BYTES: Final = 16
"""Bytes by which two halves of a map may grow when joined: a longer header, a comma."""

_ENVELOPE: Final = ("id", "session", "seq", "status", "event", "epoch", "late", "new-session", "exit-code")
"""What says whose message this is and what it means. Bounded by construction; never cut."""


class Encoded:
    """One message on its way to several connections: each codec's bytes are made once."""

    __slots__ = ("_message", "_whole")

    def __init__(self, message: dict[str, Any]) -> None:
        self._message = message
        self._whole: dict[str, bytes] = {}

    def payload(self, codec: str, max_frame: int, max_value: int = 0) -> bytes:
        """The frame's payload for a client with these limits. Never raises: what cannot be encoded
        is sent without what made it so, since a reply is promised."""
        whole = self._whole.get(codec)
        if whole is None:
            whole = self._whole[codec] = _encode(self._message, codec)
        if len(whole) <= max_frame:
            return whole
        return _encode(fit(self._message, max_frame, max_value, codec), codec)


def fit(message: dict[str, Any], limit: int, value_limit: int, codec: str) -> dict[str, Any]:
    """The message, cut so that it takes at most `limit` bytes in this codec, and `data` and `mime`
    at most `value_limit` more. What is cut is marked `truncated`; the message given is not changed."""
    whole = len(_encode(message, codec))
    if whole <= limit:
        return message
    rest, bulk = _split(message)
    size = len(_encode(rest, codec))
    if whole - size > value_limit:
        bulk = {}
        rest = _marked(rest)
    elif size <= limit:
        return message
    return _joined(_shrunk(rest, limit - _JOINT_BYTES if bulk else limit, codec), bulk)


class Outbox:
    """Frames waiting to be written to one connection."""

    __slots__ = ("_bytes", "_first", "_pending", "_transport")

    def __init__(self, transport: WriteTransport, first: int) -> None:
        self._transport = transport
        self._first = first
        self._pending: list[bytes] = []
        self._bytes = 0

    def put(self, payload: bytes) -> None:
        """Add one frame; it leaves with the next `flush`."""
        size = len(payload)
        self._pending += (header(self._first, size), payload)
        self._bytes += size

    def flush(self) -> None:
        """Write all that waits."""
        if not self._pending:
            return
        pending, size = self._pending, self._bytes
        self._pending, self._bytes = [], 0
        if size <= JOIN_BYTES:
            self._transport.write(b"".join(pending))
            return
        small: list[bytes] = []
        for part in pending:
            small.append(part)
            if len(part) > JOIN_BYTES:
                # Handed over whole, so that one value for many clients stays one object.
                self._transport.write(b"".join(small[:-1]))
                self._transport.write(part)
                small.clear()
        if small:
            self._transport.write(b"".join(small))

    def clear(self) -> None:
        """Forget all that waits: the connection is gone."""
        self._pending.clear()
        self._bytes = 0


def _encode(message: dict[str, Any], codec: str) -> bytes:
    try:
        return codecs.encode(message, codec)
    except Exception:
        log.exception("a message could not be encoded and was sent without its contents")
        return codecs.encode(_marked(_envelope(message)), codec)


def _split(message: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The message without its plain data and MIME bundles, and these alone."""
    bulk: dict[str, Any] = {key: message[key] for key in ("data", "mime") if key in message}
    rest = {key: value for key, value in message.items() if key not in bulk}
    if "display" in message:
        bulk["display"] = message["display"]["mime"]
        rest["display"] = message["display"] | {"mime": {}}
    return rest, bulk


def _joined(rest: dict[str, Any], bulk: dict[str, Any]) -> dict[str, Any]:
    if "display" in bulk:
        bulk = bulk | {"display": rest.get("display", {}) | {"mime": bulk["display"]}}
    return rest | bulk


def _shrunk(message: dict[str, Any], limit: int, codec: str) -> dict[str, Any]:
    """The message with its longest texts and lists cut further and further until it fits."""
    envelope = _envelope(message)
    rest = {key: value for key, value in message.items() if key not in envelope}
    cut = limit
    while len(_encode(message, codec)) > limit and cut:
        message = _marked(envelope | _cut(rest, cut))
        cut //= 2
    return message if cut else _marked(envelope)


def _cut(value: Any, cut: int) -> Any:
    if isinstance(value, (str, bytes)):
        return value[:cut]
    if isinstance(value, list):
        return [_cut(item, cut) for item in value[: cut // _ITEM_BYTES]]
    if isinstance(value, dict):
        return {key: _cut(item, cut) for key, item in value.items()}
    return value


def _envelope(message: dict[str, Any]) -> dict[str, Any]:
    return {key: message[key] for key in _ENVELOPE if key in message}


def _marked(message: dict[str, Any]) -> dict[str, Any]:
    """The message with `truncated` among its statuses, before `done`."""
    status = list(message.get("status", ()))
    if "truncated" not in status:
        status.insert(status.index("done") if "done" in status else len(status), "truncated")
    return message | {"status": status}
