"""Errors of user code: as the interpreter would print them, and as data; our own frames removed."""

from __future__ import annotations

import json
import os
import sys
import traceback
from types import TracebackType
from typing import Any, Dict, List, Optional, Tuple

from . import plain

_MAX_FRAMES = 100  # of one error; a deep recursion shows both its ends
_MAX_NESTED = 16  # levels of cause, context and group
_MAX_TEXT = 64 << 10  # characters of one message, note or source line
_MAX_PRINTED = 1 << 20  # characters of the printed traceback


def describe(error: BaseException) -> Tuple[bytes, bytes]:
    """The error as JSON (the shape of `ErrorInfo` in ops.py) and as the printed traceback."""
    summary = traceback.TracebackException(type(error), error, _without_ours(error.__traceback__), lookup_lines=True)
    seen: Dict[int, Any] = {}
    info = _info(error, summary, seen, _MAX_NESTED)
    return json.dumps(info).encode(), plain.text("".join(summary.format())[:_MAX_PRINTED])


def bare(error: BaseException, why: str) -> Tuple[bytes, bytes]:
    """The same without running any more of the user's code: for an error that cannot be described."""
    name = type(error).__name__
    text = "%s: <%s>" % (name, why)
    info = {"type": name, "module": type(error).__module__, "message": "<%s>" % why}
    return json.dumps(info).encode(), plain.text(text + "\n")


def _without_ours(tb: Optional[TracebackType]) -> Optional[TracebackType]:
    """Skip the frames that led to the user's code: ours, and those of the loop that ran its `await`.
    Ours within it are removed from the summary."""
    while tb is not None and (_is_ours(_file(tb)) or (tb.tb_next is not None and _is_asyncios(_file(tb)))):
        tb = tb.tb_next
    return tb


def _file(tb: TracebackType) -> str:
    return tb.tb_frame.f_code.co_filename


def _is_asyncios(file: str) -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and os.path.dirname(file) == os.path.dirname(asyncio.__file__ or "")


def _is_ours(file: str) -> bool:
    return os.path.dirname(file) == _OURS


_OURS = os.path.dirname(_is_ours.__code__.co_filename)  # handed over as source, it is no real directory


def _info(
    error: BaseException, summary: traceback.TracebackException, seen: Dict[int, Any], depth: int
) -> Dict[str, Any]:
    seen[id(error)] = error
    summary.stack[:] = [frame for frame in summary.stack if not _is_ours(frame.filename)]
    entries = [_entry(frame) for frame in _ends(list(summary.stack))]
    if isinstance(error, SyntaxError):
        entries.append(_syntax_entry(error))

    def nested(other: Optional[BaseException], its: Optional[traceback.TracebackException]) -> Any:
        if other is None or its is None or id(other) in seen:
            return None
        if depth == 0:
            _strip(its)
            return None
        return _info(other, its, seen, depth - 1)

    cause = nested(error.__cause__, summary.__cause__)
    context = None if error.__suppress_context__ else nested(error.__context__, summary.__context__)
    members = zip(getattr(error, "exceptions", None) or (), getattr(summary, "exceptions", None) or ())
    return {
        "type": type(error).__qualname__,
        "module": str(type(error).__module__),
        "message": _message(error),
        "traceback": entries,
        "cause": cause,
        "context": context,
        "notes": [str(note)[:_MAX_TEXT] for note in _notes(error)],
        "exceptions": [info for info in (nested(*pair) for pair in members) if info is not None],
    }


def _strip(summary: traceback.TracebackException) -> None:
    summary.stack[:] = [frame for frame in summary.stack if not _is_ours(frame.filename)]


def _notes(error: BaseException) -> List[Any]:
    notes = getattr(error, "__notes__", None)
    return list(notes)[:100] if isinstance(notes, (list, tuple)) else []


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return str(error.msg)[:_MAX_TEXT]
    try:
        return plain.text(str(error)[:_MAX_TEXT]).decode()
    except Exception as failed:
        return "<str() of the %s raised %s>" % (type(error).__name__, type(failed).__name__)


def _ends(frames: List[traceback.FrameSummary]) -> List[traceback.FrameSummary]:
    half = _MAX_FRAMES // 2
    return frames if len(frames) <= _MAX_FRAMES else frames[:half] + frames[-half:]


def _entry(frame: traceback.FrameSummary) -> Dict[str, Any]:
    source = _source_line(frame)
    entry: Dict[str, Any] = {"file": frame.filename, "function": frame.name, "source": (frame.line or "")[:_MAX_TEXT]}
    if frame.lineno is not None:
        entry["line"] = frame.lineno
    for key, name in (("end-line", "end_lineno"), ("column", "colno"), ("end-column", "end_colno")):
        number = getattr(frame, name, None)  # Python 3.11 and later
        if number is not None:
            entry[key] = number
    if entry.get("end-line", entry.get("line")) == entry.get("line"):
        for key in ("column", "end-column"):
            if key in entry:  # the interpreter counts UTF-8 bytes, the protocol code points
                entry[key] = len(source.encode("utf-8", "replace")[: entry[key]].decode("utf-8", "ignore"))
    return entry


def _source_line(frame: traceback.FrameSummary) -> str:
    original = getattr(frame, "_original_line", None)  # 3.11 and 3.12: the line unstripped
    if isinstance(original, str):
        return original
    lines = getattr(frame, "_original_lines", None)  # 3.13: all its lines
    return lines.split("\n")[0] if isinstance(lines, str) else (frame.line or "")


def _syntax_entry(error: SyntaxError) -> Dict[str, Any]:
    entry: Dict[str, Any] = {
        "file": error.filename or "<unknown>",
        "function": None,
        "source": (error.text or "").rstrip("\n")[:_MAX_TEXT],
    }
    numbers = (
        ("line", error.lineno, 0),
        ("end-line", getattr(error, "end_lineno", None), 0),
        ("column", error.offset, 1),  # counted from 1 in SyntaxError, from 0 in the protocol
        ("end-column", getattr(error, "end_offset", None), 1),
    )
    for key, number, base in numbers:
        if isinstance(number, int) and number - base >= 0:
            entry[key] = number - base
    return entry
