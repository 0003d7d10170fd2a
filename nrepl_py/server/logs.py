"""Log lines: one line a record, readable or JSON, without secrets, and never in the way.

Records go through standard logging; fields are given as `extra`. Lines are written by a thread of
their own from a bounded queue: where stderr is a pipe that nobody reads, lines are dropped and
counted, and the server goes on.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Literal

ROOT: Final = "nrepl_py"
STDERR: Final = 2

QUEUE_LINES: Final = 10_000
"""Lines that may wait to be written: a burst of debugging fits, a blocked stderr costs a few MB at most."""

CLOSE_SECONDS: Final = 0.5
"""How long closing waits for lines to be written; a reader that never reads must not hold up the exit."""

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class Lines(logging.Formatter):
    """Formats a record as one line, with its extra fields and its traceback."""

    def __init__(self, style: Literal["text", "json"], secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._json = style == "json"
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        fields = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        level = record.levelname.lower()
        message = record.getMessage()
        if self._json:
            head = {"time": timestamp(record.created), "level": level, "logger": record.name, "message": message}
            line = json.dumps(head | fields, default=str)
        else:
            rest = "".join(f" {key}={_printable(str(value))}" for key, value in fields.items())
            line = f"{timestamp(record.created)} {level:<7} {record.name}: {_printable(message)}{rest}"
        # A backstop only: nothing should log a secret in the first place.
        for secret in self._secrets:
            line = line.replace(secret, "[redacted]")
        return line


def _lost_line(lost: int) -> str:
    return f"{lost} log lines were dropped: nobody read them"


class Writer(logging.Handler):
    """Writes lines to a descriptor or a file, from a thread; drops and counts what finds no room.

    `tell` makes the line that says how many were dropped, written when lines are taken again."""

    def __init__(self, target: int | str, bound: int = QUEUE_LINES, tell: Callable[[int], str] = _lost_line) -> None:
        # A bare descriptor: a thread stuck in a buffered stream holds its lock, and aborts the exit.
        self._descriptor = _open(target) if isinstance(target, str) else target
        super().__init__()
        self._tell = tell
        # Each is counted by one thread alone: by those who say lines, which hold a lock, and by the one who writes.
        self._unqueued = self._unwritten = self._told = 0
        self._torn = False
        self._path = target if isinstance(target, str) else None
        self._reopen = False
        self._lines: queue.Queue[str | None] = queue.Queue(bound)
        self._thread = threading.Thread(target=self._run, name="nrepl-py log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            line = f"a record of {record.name} could not be formatted"
        self.put(line)

    def put(self, line: str) -> None:
        """Have a line written; never waits."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._unqueued += 1

    @property
    def lost(self) -> int:
        """Lines dropped since the start."""
        return self._unqueued + self._unwritten

    @property
    def dropped(self) -> int:
        """Those of them of which no line tells yet."""
        return self.lost - self._told

    @property
    def is_file(self) -> bool:
        """Whether `reopen` means anything."""
        return self._path is not None

    def reopen(self) -> None:
        """Open the file anew before the next line: it was moved away."""
        self._reopen = self.is_file

    def close(self) -> None:
        """Write what waits, if that can be done at once."""
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            pass
        else:
            self._thread.join(CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            if not self._write(line):
                self._unwritten += 1
            elif self._lines.empty():
                self._tell_dropped()
        self._tell_dropped()
        if self._path is not None:
            os.close(self._descriptor)

    def _tell_dropped(self) -> None:
        dropped = self.dropped
        if dropped and self._write(self._tell(dropped)):
            self._told += dropped

    def _write(self, line: str) -> bool:
        """Whether it could be: the reader may be gone, or the disk full, and then there is nowhere to say so."""
        try:
            if self._reopen and self._path is not None:
                self._reopen = False
                opened = _open(self._path)
                os.close(self._descriptor)
                self._descriptor, self._torn = opened, False
            # A line that a full disk has torn must not swallow the next one.
            rest = ("\n" * self._torn + line + "\n").encode("utf-8", "backslashreplace")
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
                self._torn = bool(rest)
        except OSError:
            return False
        return True


def setup(level: str, style: Literal["text", "json"], file: str | None = None, secrets: tuple[str, ...] = ()) -> Writer:
    """Send the server's records to the file, or to stderr. Undo with `teardown`. Raises OSError."""
    writer = Writer(file or STDERR)
    writer.setFormatter(Lines(style, secrets))
    logger = logging.getLogger(ROOT)
    logger.addHandler(writer)
    logger.setLevel(level.upper())
    logger.propagate = False
    return writer


def teardown(writer: Writer) -> None:
    """Take the writer out and close it."""
    logger = logging.getLogger(ROOT)
    logger.removeHandler(writer)
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    writer.close()


def lost() -> int:
    """Log lines dropped since the start, in this process."""
    return sum(handler.lost for handler in logging.getLogger(ROOT).handlers if isinstance(handler, Writer))


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def _printable(text: Any) -> str:
    """The text on one line: a message must not be able to forge another."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
