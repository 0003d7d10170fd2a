"""What an eval came to: its stream, gathered into one record.

Texts cross the connection, objects do not: `value` is a text, `data` the value itself where plain
data was asked for.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from nrepl_py.errors import NreplError

FAILURES = ("session-died", "session-closed", "session-restarted", "oom", "cancelled", "timeout", "interrupted")
"""Outcomes that `raise_for_error` raises for beside errors of the code; the most telling first."""


class EvalError(NreplError):
    """The code raised, or was ended. `str(error)` is the printed traceback, or what ended it;
    `result` the whole `EvalResult`, `error` its structured error (None if it was ended from outside)."""

    code = "eval-error"

    def __init__(self, message: str, result: EvalResult) -> None:
        super().__init__(message)
        self.result = result
        self.error = result.error


@dataclass(kw_only=True)
class EvalResult:
    """All an eval said. Never false: look at `ok`, or call `raise_for_error()`."""

    id: str
    """The eval's request id."""
    session: str | None = None
    """The session's id."""
    values: list[str] = field(default_factory=list)
    """The text of each value sent, in order: with `values="all"` those of all expressions."""
    data: Any = None
    """The last value itself, where `data=True` was asked and it is plain (see `not-plain` in `status`)."""
    mime: dict[str, Any] = field(default_factory=dict)
    """The last value in the MIME types asked for."""
    displays: list[dict[str, Any]] = field(default_factory=list)
    """What `display()` sent: maps with `mime` and perhaps `metadata`, `display-id`, `update`, `clear`."""
    error: dict[str, Any] | None = None
    """The error raised: `type`, `module`, `message`, `traceback`, `cause`, `context`, `notes`, `exceptions`."""
    traceback: str | None = None
    """The printed traceback of `error`; part of `err` too."""
    status: frozenset[str] = frozenset()
    """Every status any message of the eval carried."""
    exit_code: int | None = None
    """What the code passed to `exit()`; None unless it raised SystemExit."""
    cause: dict[str, Any] | None = None
    """Why the worker is gone, if it died."""
    _out: list[str] = field(default_factory=list, repr=False)
    _err: list[str] = field(default_factory=list, repr=False)

    @property
    def value(self) -> str | None:
        """The text of the last value; None where there was none."""
        return self.values[-1] if self.values else None

    @property
    def out(self) -> str:
        """Everything written to standard output."""
        return "".join(self._out)

    @property
    def err(self) -> str:
        """Everything written to standard error, the printed traceback included."""
        return "".join(self._err)

    @property
    def ok(self) -> bool:
        """Whether the code ran to its end: no error, not ended from outside, no exit code but 0."""
        return self.error is None and not self.exit_code and self.status.isdisjoint({"eval-error", *FAILURES})

    def raise_for_error(self) -> EvalResult:
        """Raise `EvalError` unless `ok`; else return this result."""
        if not self.ok:
            raise EvalError(self._why(), self)
        return self

    def _why(self) -> str:
        if self.traceback:
            return self.traceback
        if self.error is not None:
            return f"{self.error.get('type')}: {self.error.get('message')}"
        if self.exit_code:
            return f"the code exited with code {self.exit_code}"
        ended = next((status for status in FAILURES if status in self.status), "eval-error")
        return f"{ended}: {describe_cause(self.cause)}" if self.cause else ended


def describe_cause(cause: dict[str, Any]) -> str:
    """Why a worker is gone, in words."""
    told = [str(cause[key]) for key in ("signal", "code", "by") if cause.get(key) is not None]
    return " ".join([str(cause.get("kind", "unknown")), *told])


def add(result: EvalResult, message: dict[str, Any], codec: str) -> None:
    """Gather one message of the eval's stream into its result."""
    result.session = message.get("session", result.session)
    result.status |= frozenset(message.get("status") or ())
    if "out" in message:
        result._out.append(message["out"])
    if "err" in message:
        result._err.append(message["err"])
    if "value" in message:
        result.values.append(message["value"])
    if "value" in message or "data" in message:
        result.data = _bytes(message.get("data")) if codec == "json" else message.get("data")
        result.mime = bundle(message.get("mime") or {}, codec)
    if "display" in message:
        shown = message["display"]
        result.displays.append(shown | {"mime": bundle(shown.get("mime") or {}, codec)})
    if "error" in message:
        result.error = message["error"]
        result.traceback = message.get("err")
    result.exit_code = message.get("exit-code", result.exit_code)
    result.cause = message.get("cause", result.cause)


def bundle(mime: dict[str, Any], codec: str) -> dict[str, Any]:
    """A MIME bundle with bytes as bytes, which JSON carries as base64."""
    if codec != "json":
        return mime
    return {kind: base64.b64decode(data) if _binary(kind, data) else data for kind, data in mime.items()}


def _binary(kind: str, data: Any) -> bool:
    """Strings of other types than these are bytes."""
    textual = kind.startswith("text/") or kind == "application/javascript" or kind.endswith(("+xml", "json"))
    return isinstance(data, str) and not textual


def _bytes(value: Any) -> Any:
    """Plain data with bytes as bytes, which JSON carries as a map of one key."""
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    if isinstance(value, dict):
        if value.keys() == {"$bytes"} and isinstance(value["$bytes"], str):
            return base64.b64decode(value["$bytes"])
        return {key: _bytes(item) for key, item in value.items()}
    return value
