"""A client written from `protocol.md` alone: raw messages over a real socket, and nothing of ours."""

from __future__ import annotations

import itertools
import json
import socket
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

import msgpack
from websockets.sync.client import ClientConnection, connect, unix_connect

Message = dict[str, Any]
PATIENCE = 60  # seconds before a silent server fails a test; never how long something should take


class Run:
    """The replies to one request, and what they add up to."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages

    def all(self, key: str) -> list[Any]:
        return [message[key] for message in self.messages if key in message]

    def text(self, key: str) -> str:
        return "".join(self.all(key))

    @property
    def out(self) -> str:
        return self.text("out")

    @property
    def err(self) -> str:
        return self.text("err")

    @property
    def values(self) -> list[str]:
        return self.all("value")

    @property
    def value(self) -> str | None:
        return self.values[-1] if self.values else None

    @property
    def last(self) -> Message:
        return self.messages[-1]

    @property
    def status(self) -> set[str]:
        return {status for message in self.messages for status in message.get("status", ())}

    @property
    def error(self) -> Message:
        (error,) = self.all("error")
        return dict(error)


class Peer:
    """One connection."""

    _numbers = itertools.count(1)

    def __init__(self, opened: AbstractContextManager[ClientConnection], codec: str) -> None:
        self._opened = opened
        self.socket = opened.__enter__()
        self.codec = codec
        self.backlog: list[Message] = []

    @classmethod
    def open(
        cls,
        *,
        url: str = "",
        unix: str | None = None,
        token: str,
        codec: str = "json",
        receive_bytes: int | None = None,
    ) -> Peer:
        """`receive_bytes`: what the system may take in for it, over TCP."""
        options: dict[str, Any] = {
            "subprotocols": [f"nrepl.v1.{codec}"],
            "additional_headers": {"Authorization": f"Bearer {token}"},
            "max_size": None,
            "compression": None,
            "ping_interval": None,  # the server asks whether we are there
            "open_timeout": PATIENCE,
        }
        if unix is not None:
            return cls(unix_connect(unix, uri="ws://localhost/", **options), codec)
        if receive_bytes is not None:
            sock = options["sock"] = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            where = urlsplit(url)
            sock.connect((where.hostname, where.port))
        return cls(connect(url, **options), codec)

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    def send(self, op: str, **fields: Any) -> str:
        """Send a request; `_` in field names stands for `-`. Gives its id."""
        message: Message = {"op": op, "id": f"t{next(self._numbers)}"}
        message |= {name.rstrip("_").replace("_", "-"): value for name, value in fields.items()}
        self.socket.send(json.dumps(message) if self.codec == "json" else msgpack.packb(message))
        return str(message["id"])

    def receive(self) -> Message:
        if self.backlog:
            return self.backlog.pop(0)
        frame = self.socket.recv(timeout=PATIENCE)
        message = json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)
        assert isinstance(message, dict)
        return message

    def until(self, id: str, *, key: str | None = None, status: str = "done") -> Run:
        """The replies to `id` up to the one with that key, or that status; the rest stays for later."""
        mine: list[Message] = []
        others: list[Message] = []
        while True:
            message = self.receive()
            if message.get("id") != id or message.get("late"):
                others.append(message)
                continue
            mine.append(message)
            if (key in message) if key else (status in message.get("status", ())):
                break
            assert "done" not in message.get("status", ()), f"{id} ended before {key or status}: {message}"
        self.backlog = others + self.backlog
        return Run(mine)

    def wait_for(self, **fields: Any) -> Message:
        """The first message, past or to come, that has these fields."""
        kept: list[Message] = []
        while True:
            message = self.receive()
            if all(message.get(name.replace("_", "-")) == value for name, value in fields.items()):
                self.backlog = kept + self.backlog
                return message
            kept.append(message)

    def request(self, op: str, **fields: Any) -> Run:
        return self.until(self.send(op, **fields))

    def ask(self, op: str, **fields: Any) -> Run:
        """As `request`, and again where a busy machine could not look into a session in time, as the page says to do."""
        for _ in range(PATIENCE):
            run = self.request(op, **fields)
            if "unavailable" not in run.status:
                break
        return run


class Session:
    """One session of a peer's."""

    def __init__(self, peer: Peer, **options: Any) -> None:
        self.peer = peer
        self.reply = peer.request("clone", **options).last
        assert "error" not in self.reply.get("status", ()), self.reply
        self.id = self.reply["new-session"]

    def send(self, op: str, **fields: Any) -> str:
        return self.peer.send(op, session=self.id, **fields)

    def request(self, op: str, **fields: Any) -> Run:
        return self.peer.request(op, session=self.id, **fields)

    def ask(self, op: str, **fields: Any) -> Run:
        return self.peer.ask(op, session=self.id, **fields)

    def start(self, code: str, **options: Any) -> str:
        return self.send("eval", code=code, **options)

    def eval(self, code: str, **options: Any) -> Run:
        return self.peer.until(self.start(code, **options))

    def ok(self, code: str, **options: Any) -> Run:
        """Evaluate code that must not fail."""
        run = self.eval(code, **options)
        assert not run.status & {"error", "eval-error", "session-died"}, run.messages
        return run

    def close(self) -> None:
        self.request("close")
