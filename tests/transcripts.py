"""Replays the transcripts of `protocol.md` against a server.

A transcript is a fenced block `transcript [json] [no-token] [session]` of lines `> MESSAGE` (send) and
`< PATTERN` (the next message must match). In a pattern `"…"` matches anything, `…` inside a string any part
of it, a key `…` allows further keys, and `"$name"` captures a value, or repeats the one captured.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from nrepl_py import codec

PAGE = Path(__file__).resolve().parent.parent / "protocol.md"
PATIENCE = 60  # seconds for one message; none takes one
_FENCE = re.compile(r"^```transcript *([a-z -]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Transcript:
    """One block: where it starts, its options, and its lines."""

    line: int
    options: frozenset[str]
    lines: list[str]


def transcripts(page: str) -> list[Transcript]:
    """The transcripts of a page, in order."""
    return [
        Transcript(page.count("\n", 0, found.start()) + 1, frozenset(found[1].split()), found[2].splitlines())
        for found in _FENCE.finditer(page)
    ]


@dataclass
class Replay:
    """One run of one transcript, on a connection of its own."""

    url: str
    token: str
    codec: str
    names: dict[str, Any] = field(default_factory=dict)
    split: list[dict[str, Any]] = field(default_factory=list)
    asked: str = ""
    """The last request, as the page writes it."""

    def run(self, transcript: Transcript) -> None:
        """Raises AssertionError, naming the line, where the server answers otherwise than written."""
        self.names["$token"] = self.token
        try:
            with self.connect(authenticated="no-token" not in transcript.options) as socket:
                self._replay(socket, transcript)
        finally:
            self._close_sessions()

    def _replay(self, socket: ClientConnection, transcript: Transcript) -> None:
        if "session" in transcript.options:
            self._make_session(socket)
        for number, line in enumerate(transcript.lines, transcript.line + 1):
            try:
                self._step(socket, line)
            except Exception as error:
                raise AssertionError(f"protocol.md:{number}: {line}\n{type(error).__name__}: {error}") from error

    def connect(self, authenticated: bool = True) -> ClientConnection:
        """A connection with this replay's codec."""
        headers = {"Authorization": f"Bearer {self.token}"} if authenticated else {}
        return connect(self.url, subprotocols=[Subprotocol(f"nrepl.v1.{self.codec}")], additional_headers=headers)

    def _step(self, socket: ClientConnection, line: str) -> None:
        kind, text = line[:2], line[2:]
        if kind == "> ":
            self.asked = text
            self._send(socket, text)
        elif text.startswith("close "):
            with_code = self._closed(socket)
            assert with_code == int(text.removeprefix("close ")), f"closed with {with_code}"
        else:
            assert kind == "< ", "a line begins with '> ' or '< '"
            message = self._receive(socket)
            while "unavailable" in message.get("status", ()) and '"unavailable"' not in text:
                # A machine that is busy with other things loads an analysis too slowly for the first question.
                self._send(socket, self.asked)
                message = self._receive(socket)
            difference = self.mismatch(self._in_codec(json.loads(text)), message)
            assert difference is None, f"{difference}\ngot {message}"

    def _send(self, socket: ClientConnection, text: str) -> None:
        try:
            message = self.fill(json.loads(text))
        except ValueError:
            socket.send(text)  # a frame broken on purpose
        else:
            frame = codec.encode(message, self.codec)
            socket.send(frame.decode() if self.codec == "json" else frame)

    def _receive(self, socket: ClientConnection) -> dict[str, Any]:
        """The next message. A `started` that came with the eval's first words is given by itself, as the
        page writes it: whether both come together is a matter of 2 ms."""
        if self.split:
            return self.split.pop()
        message = codec.decode(socket.recv(PATIENCE), self.codec)
        if "started" not in message or message.keys() <= {"id", "session", "seq", "started"}:
            return message
        opening = {key: message[key] for key in ("id", "session", "seq", "started") if key in message}
        del message["started"]
        self.split.append(message)
        return opening

    def _closed(self, socket: ClientConnection) -> int | None:
        try:
            raise AssertionError(f"not closed, but: {socket.recv(PATIENCE)!r}")
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else None

    def _make_session(self, socket: ClientConnection) -> None:
        self._send(socket, '{"op": "clone", "id": "make"}')
        reply = self._receive(socket)
        assert reply["status"] == ["done"], reply
        self.names["$session"] = reply["new-session"]
        self._receive(socket)  # the session's first event

    def _close_sessions(self) -> None:
        with self.connect() as socket:
            self._send(socket, '{"op": "ls-sessions", "id": "ls"}')
            for entry in self._receive(socket)["sessions"]:
                self._send(socket, json.dumps({"op": "close", "id": "close", "session": entry["id"]}))
                while "done" not in (reply := self._receive(socket)).get("status", ()) or reply.get("id") != "close":
                    pass

    def fill(self, value: Any) -> Any:
        """The value with each `$name` replaced by what was captured."""
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        return self.names[value] if isinstance(value, str) and value.startswith("$") else value

    def mismatch(self, pattern: Any, value: Any, where: str = "message") -> str | None:
        """What differs first, or None; captures on the way."""
        if isinstance(pattern, str) and pattern.startswith("$"):
            return self.mismatch(self.names.setdefault(pattern, value), value, where)
        if pattern == "…":
            return None
        if isinstance(pattern, dict) and isinstance(value, dict):
            if "…" not in pattern and (extra := value.keys() - pattern.keys()):
                return f"{where} has {sorted(extra)} too"
            items = [(f"{where}.{key}", item, value.get(key, _ABSENT)) for key, item in pattern.items() if key != "…"]
        elif isinstance(pattern, list) and isinstance(value, list) and len(pattern) == len(value):
            items = [(f"{where}[{index}]", *pair) for index, pair in enumerate(zip(pattern, value, strict=True))]
        elif isinstance(pattern, str) and isinstance(value, str) and "…" in pattern:
            parts = map(re.escape, pattern.split("…"))
            return None if re.fullmatch(".*".join(parts), value, re.DOTALL) else f"{where} is {value!r}"
        else:
            same = pattern == value and isinstance(pattern, bool) == isinstance(value, bool)
            return None if same else f"{where} is {value!r} and not {pattern!r}"
        return next(filter(None, (self.mismatch(item, one, path) for path, item, one in items)), None)

    def _in_codec(self, pattern: Any) -> Any:
        """The pattern as this codec writes it: MessagePack has bytes of its own."""
        if isinstance(pattern, dict):
            if self.codec == "msgpack" and pattern.keys() == {"$bytes"}:
                return base64.b64decode(pattern["$bytes"])
            return {key: self._in_codec(item) for key, item in pattern.items()}
        return [self._in_codec(item) for item in pattern] if isinstance(pattern, list) else pattern


_ABSENT = type("Absent", (), {"__repr__": lambda self: "absent"})()
