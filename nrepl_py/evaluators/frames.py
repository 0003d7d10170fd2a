"""What workers say: the one place where a worker's bytes become values the router may trust.

A frame (see `worker/wire.py`) is a bounded JSON header and opaque blobs. `parse` checks the
header against the records below, every text for UTF-8 and every size, and gives a `Report`.
Nothing here runs or unpickles anything, and a worker knows evals by serial only: it cannot name
another session, another request, nor speak in the router's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from nrepl_py import codec
from nrepl_py.ops import ErrorInfo

MAX_HEADER = 64 << 10  # bytes; a header holds numbers, flags and names, never a payload
MAX_BODY = (256 << 20) + (8 << 20)  # bytes; `limits.max-value` and the texts that go with it

Blob: TypeAlias = bytes | memoryview
Integer: TypeAlias = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""What MessagePack can carry on to a client: a longer one would leave an eval without its last message."""
Count: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class BadFrame(Exception):
    """The worker broke the rules of the wire; the text is for the server's log."""


class End(Struct, frozen=True, rename="kebab"):
    """How an eval ended. It rides on its last message."""

    status: tuple[Literal["eval-error", "interrupted", "exit"], ...] = ()
    exit_code: Integer | None = None
    children: bool = False


class _Said(Struct, rename="kebab", tag_field="say"):
    blobs: tuple[Count, ...] = ()


class Ready(_Said, tag="ready"):
    """The worker accepts evals."""

    python: str = ""
    implementation: str = ""
    executable: str = ""
    prefix: str = ""
    cwd: str = ""
    pid: Count = 0
    start: str = ""
    sandbox: dict[str, Any] = {}
    copied: dict[str, Any] = {}
    """Both are the evaluator's to say: whatever a worker says here is replaced."""


class Output(_Said, tag="output"):
    """Text written; `serial` None where no eval can be named."""

    stream: Literal["out", "err"] = "out"
    serial: Count | None = None
    text: str = ""


class Value(_Said, tag="value"):
    """A value. On the wire: text, then plain data (MessagePack) if `has_data`, then one blob a `types` entry."""

    serial: Count = 0
    line: Count = 1
    end_line: Count = 1
    has_text: bool = True
    has_data: bool = False
    not_plain: bool = False
    truncated: bool = False
    types: tuple[str, ...] = ()
    end: End | None = None
    text: str | None = None
    data: Any = UNSET
    """As `codec.Packed`, where the worker sent it."""
    mime: dict[str, Any] = {}


class Display(_Said, tag="display"):
    """A display. On the wire: metadata (JSON), then one blob a `types` entry."""

    serial: Count | None = None
    display_id: str | UnsetType = UNSET
    update: bool = False
    clear: bool = False
    truncated: bool = False
    types: tuple[str, ...] = ()
    end: End | None = None
    metadata: dict[str, Any] = {}
    mime: dict[str, Any] = {}


class NeedInput(_Said, tag="need-input"):
    """The eval waits for a `Feed`. On the wire: the prompt."""

    serial: Count = 0
    password: bool = False
    prompt: str = ""


class Failure(_Said, tag="failure"):
    """The code raised. On the wire: the error (JSON), then the printed traceback."""

    serial: Count = 0
    end: End | None = None
    error: ErrorInfo | None = None
    traceback: str = ""


class Finished(_Said, tag="finished"):
    """The eval ended with nothing further to say."""

    serial: Count = 0
    end: End = End()


class Answer(_Said, tag="answer"):
    """The reply to an `Ask`. On the wire: the body (JSON), null where nothing was found."""

    number: Count = 0
    body: Any = None


Report: TypeAlias = Ready | Output | Value | Display | NeedInput | Failure | Finished | Answer
"""Fields after those of the wire (`text`, `data`, `mime`, `body`, …) are filled from blobs."""


def parse(header: bytes, body: Blob, max_data: int = MAX_BODY) -> Report:
    """The report in one frame, whose plain data may have so many bytes. Raises `BadFrame`."""
    try:
        report: Report = _decode(header)
        if type(report) is Value and report.blobs == (len(body),) and _is_text_alone(report):
            report.text = str(body, "utf-8")  # as most values are
            return report
        if type(report) is Value and report.has_data and max(report.blobs[report.has_text :][:1], default=0) > max_data:
            raise ValueError(f"more than the {max_data} bytes of data it was asked for")
        _FILL[type(report)](report, _split(report, body))
        return report
    except (msgspec.MsgspecError, ValueError, RecursionError, StopIteration) as error:
        raise BadFrame(f"{type(error).__name__}: {error}") from None


def _is_text_alone(value: Value) -> bool:
    """Nothing else is to be filled in, and the worker has not filled in anything itself."""
    return value.has_text and not (value.has_data or value.types or value.mime) and value.data is UNSET


def _split(report: Report, body: Blob) -> Iterator[Blob]:
    blobs = report.blobs
    if sum(blobs) != len(body):
        raise ValueError("blob lengths do not add up to the body")
    if len(blobs) == 1:
        return iter((body,))
    ends = list(accumulate(blobs))
    return (body[end - length : end] for end, length in zip(ends, blobs, strict=True))


def _text(blobs: Iterator[Blob]) -> str:
    return str(next(blobs), "utf-8")


def _fill_nothing(report: Report, blobs: Iterator[Blob]) -> None:
    pass


def _fill_output(output: Output, blobs: Iterator[Blob]) -> None:
    output.text = _text(blobs)


def _fill_value(value: Value, blobs: Iterator[Blob]) -> None:
    value.text = _text(blobs) if value.has_text else None
    value.data = codec.packed(next(blobs)) if value.has_data else UNSET
    value.mime = _bundle(value.types, blobs) if value.types else {}


def _fill_display(display: Display, blobs: Iterator[Blob]) -> None:
    metadata = codec.from_json(next(blobs))
    if not isinstance(metadata, dict):
        raise ValueError("metadata is not a map")
    display.metadata = metadata
    display.mime = _bundle(display.types, blobs)


def _fill_need_input(asked: NeedInput, blobs: Iterator[Blob]) -> None:
    asked.prompt = _text(blobs)


def _fill_failure(failure: Failure, blobs: Iterator[Blob]) -> None:
    failure.error = msgspec.convert(codec.from_json(next(blobs)), ErrorInfo)
    failure.traceback = _text(blobs)


def _fill_answer(answer: Answer, blobs: Iterator[Blob]) -> None:
    answer.body = codec.from_json(next(blobs))


def _bundle(types: tuple[str, ...], blobs: Iterator[Blob]) -> dict[str, Any]:
    return {kind: _mime_value(kind, next(blobs)) for kind in types}


def _mime_value(kind: str, blob: Blob) -> Any:
    if kind.startswith("text/") or kind == "application/javascript" or kind.endswith("+xml"):
        return str(blob, "utf-8")
    if kind == "application/json" or kind.endswith("+json"):
        return codec.from_json(blob)
    return bytes(blob)


_decode = msgspec.json.Decoder(Report).decode
_FILL: dict[type, Callable[[Any, Iterator[Blob]], None]] = {
    Ready: _fill_nothing,
    Output: _fill_output,
    Value: _fill_value,
    Display: _fill_display,
    NeedInput: _fill_need_input,
    Failure: _fill_failure,
    Finished: _fill_nothing,
    Answer: _fill_answer,
}
