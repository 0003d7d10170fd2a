"""What a worker reports, as fields of the protocol's messages. The only place that knows both."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET

from nrepl_py.evaluators.frames import Display, End, Failure, Output, Ready, Report, Value
from nrepl_py.ops import Cause, Record

PIECE: Final = 8192
"""Characters of one output message: a character takes at most six bytes of JSON, so that one piece
and its envelope fit the smallest frame a client may ask for (`limits.MIN_FRAME`)."""


def pieces(text: str) -> list[str]:
    """The text, cut so that each piece fits one message."""
    if len(text) <= PIECE:
        return [text]
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


def output(report: Output, text: str) -> dict[str, Any]:
    """Fields of one piece of output."""
    return {report.stream: text}


def value(report: Value) -> dict[str, Any]:
    """Fields of a value; without text where only `data: null` was asked for."""
    message: dict[str, Any] = {"line": report.line, "end-line": report.end_line}
    if report.text is not None:
        message["value"] = report.text
    if report.data is not UNSET:
        message["data"] = report.data
    if report.mime:
        message["mime"] = report.mime
    if report.truncated:
        message["status"] = ["truncated"]
    if report.not_plain:
        message.setdefault("status", []).append("not-plain")
    return message


def display(report: Display) -> dict[str, Any]:
    """Fields of a display."""
    bundle: dict[str, Any] = {"mime": report.mime}
    if report.metadata:
        bundle["metadata"] = report.metadata
    if report.display_id is not UNSET:
        bundle["display-id"] = report.display_id
    if report.update:
        bundle["update"] = True
    if report.clear:
        bundle["clear"] = True
    return {"display": bundle, "status": ["truncated"]} if report.truncated else {"display": bundle}


def failure(report: Failure) -> dict[str, Any]:
    """Fields of an error of user code: its structure, and the traceback as it would be printed."""
    message: dict[str, Any] = {} if report.error is None else {"error": to_map(report.error)}
    if report.traceback:
        message["err"] = report.traceback
    return message


def end(message: dict[str, Any], report: End, stopped_by: str | None) -> None:
    """Make this the eval's last message: what the worker says of the end goes before `done`."""
    status = message.setdefault("status", [])
    if stopped_by is not None:
        status.append(stopped_by)
        if "interrupted" not in report.status:
            status.append("interrupted")
    status.extend(report.status)
    status.append("done")
    if "exit" in report.status:
        message["exit-code"] = report.exit_code or 0


def died(cause: Cause) -> dict[str, Any]:
    """Fields of the last reply to what was open when the worker died."""
    named = {"oom": ["oom"], "limit": ["cpu-limit"]}.get(cause.kind, [])
    status = ["session-died", *named, "done"]
    return {"status": status, "cause": to_map(cause)}


def cause(cause: Cause) -> str:
    """Why a worker is gone, for a person: in words, and in its own."""
    told = [cause.kind, *map(str, filter(None, (cause.signal, cause.code, cause.by)))]
    return ": ".join(filter(None, (" ".join(told), cause.last_stderr)))


def to_map(record: Record) -> dict[str, Any]:
    """A record as the map that clients get."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    return fields


def info(ready: Ready) -> dict[str, Any]:
    """What `clone` says of the worker it started."""
    return {
        "python": ready.executable,
        "version": ready.python,
        "implementation": ready.implementation,
        "prefix": ready.prefix,
        "cwd": ready.cwd,
        "pid": ready.pid,
        "start": ready.start,
        "sandbox": ready.sandbox,
        **({"left-behind": ready.copied} if ready.copied else {}),
    }


def weight(report: Report) -> int:
    """Bytes of a report's payload. Measured where no wire has counted them."""
    if report.blobs:
        return sum(report.blobs)
    if isinstance(report, Value):
        return weigh(report.text) + weigh(report.mime) + (0 if report.data is UNSET else weigh(report.data))
    if isinstance(report, Display):
        return weigh(report.mime) + weigh(report.metadata)
    if isinstance(report, Output):
        return len(report.text)
    if isinstance(report, Failure):
        # The structure repeats the traceback's files, lines and source.
        return 2 * len(report.traceback)
    return 0


def weigh(data: Any) -> int:
    """About how many bytes plain data takes."""
    if isinstance(data, (str, bytes)):
        return len(data)
    if isinstance(data, dict):
        return 16 + sum(len(key) + weigh(item) for key, item in data.items())
    if isinstance(data, list):
        return 16 + sum(map(weigh, data))
    return 8
