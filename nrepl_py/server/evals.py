"""One eval from its acceptance to its `done`: what to run, for whom, and the input it was given."""

from __future__ import annotations

from collections import deque
from typing import Any

from nrepl_py.codec import MAX_DEPTH
from nrepl_py.errors import Busy
from nrepl_py.evaluators.base import MAX_DATA, Run
from nrepl_py.ops import AnyEval, Eval
from nrepl_py.server import messages
from nrepl_py.server.context import Asker
from nrepl_py.server.ladder import Ladder


class OpenEval:
    """An eval that has been accepted and not yet answered with `done`."""

    __slots__ = (
        "_input",
        "_input_bytes",
        "asked",
        "asker",
        "client",
        "id",
        "kill_after",
        "ladder",
        "output_bytes",
        "run",
        "stopped_by",
        "timeout",
        "waits",
    )

    def __init__(self, request: AnyEval, serial: int, asked: Asker, most_seconds: float = 0) -> None:
        self.id = request.id
        self.asked = asked
        self.asker = asked.client.number
        self.client = asked.client.client
        self.timeout = request.timeout
        self.kill_after = request.kill_after
        if most_seconds and (self.timeout is None or self.timeout > most_seconds):
            self.timeout = most_seconds
        self.output_bytes = 0
        """Written so far."""
        self.stopped_by: str | None = None
        """The status that says which bound it went beyond, and was interrupted for."""
        self.waits = False
        """Whether the worker waits for input and clients were told."""
        self.ladder: Ladder | None = None
        self.run = to_run(request, serial, asked.client.max_data if request.data else MAX_DATA)
        self._input: deque[str] = deque()
        self._input_bytes = 0

    def opened_by(self, message: dict[str, Any], size: int) -> tuple[dict[str, Any], int]:
        """The eval's first message, which tells observers as well what code begins to run, or where that is long
        the head of it; and its payload's bytes, of which this message has `size`."""
        code, run = self.run.code, self.run
        if len(code) > messages.PIECE:
            code = code[: messages.PIECE]
            message = message | {"status": list(dict.fromkeys(["truncated", *message.get("status", ())]))}
        started = {"code": code, "file": run.file, "line": run.line, "client": self.client}
        return message | {"started": started}, size + len(code)

    def put(self, text: str, limit: int) -> None:
        """Keep input until the eval reads; "" is one end of file. Raises `Busy` past `limit` bytes."""
        size = len(text.encode()) + 1
        if self._input_bytes + size > limit:
            raise Busy(f"stdin: the eval has not read the input it was given; at most {limit} bytes can wait")
        self._input.append(text)
        self._input_bytes += size

    def take(self) -> str | None:
        """The next input that waits, or None."""
        if not self._input:
            return None
        text = self._input.popleft()
        self._input_bytes -= len(text.encode()) + 1
        return text


def to_run(request: AnyEval, serial: int, max_data: int) -> Run:
    """What the worker is told of the request; `load-file` starts at line 1."""
    if isinstance(request, Eval):
        line, column = request.line, request.column
    else:
        line, column = 1, 0
    return Run(
        serial, request.code, request.file, line, column, request.module, request.values, tuple(request.mime),
        request.data, max_data, MAX_DEPTH, request.allow_stdin, request.store_history, request.print_quota,
    )  # fmt: skip
