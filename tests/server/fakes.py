"""An evaluator without workers, and raw requests: what the tests of the server's shell share."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from nrepl_py import codec, tokens
from nrepl_py.config import Settings
from nrepl_py.errors import StartFailed
from nrepl_py.evaluators.base import Exited, Ref, Run, Said, Sink, Spec, ToWorker
from nrepl_py.evaluators.frames import End, Finished, Output, Ready, Report, Value
from nrepl_py.limits import Limits
from nrepl_py.ops import Cause
from nrepl_py.server.app import Server


@dataclass
class FakeEvaluator:
    """A worker's value is the code it was given. `hang` does not end; `print N` writes N blocks of 64 KiB."""

    capabilities: frozenset[str] = frozenset({"interrupt"})
    told: list[ToWorker] = field(default_factory=list)
    held: dict[Ref, bool] = field(default_factory=dict)
    started: list[Spec] = field(default_factory=list)
    stopped: list[Ref] = field(default_factory=list)
    running: dict[Ref, int] = field(default_factory=dict)
    closed: bool = False
    fail: str | None = None

    def describe(self) -> dict[str, Any]:
        return {"tier": "none"}

    async def open(self) -> None:
        pass

    def watch(self, sink: Sink) -> None:
        self._sink = sink

    async def start(self, spec: Spec) -> Ready:
        await asyncio.sleep(0)
        if self.fail:
            raise StartFailed(self.fail)
        self.held[spec.ref] = False
        self.started.append(spec)
        return Ready(python="3.11", executable="/fake", pid=1)

    def send(self, ref: Ref, message: ToWorker) -> None:
        self.told.append(message)
        if not isinstance(message, Run):
            return
        self.running[ref] = message.serial
        if message.code.startswith("print "):
            self._print(ref, message.serial, int(message.code.split()[1]))
        elif message.code != "hang":
            self.say(ref, Value(serial=message.serial, text=message.code, end=End()))

    def say(self, ref: Ref, report: Report) -> None:
        asyncio.get_running_loop().call_soon(self._sink, Said(ref, report))

    def hold(self, ref: Ref, held: bool) -> None:
        self.held[ref] = held

    def interrupt(self, ref: Ref, serial: int) -> bool:
        if self.running.pop(ref, None) == serial:
            self.say(ref, Finished(serial=serial, end=End(status=("interrupted",))))
        return True

    def stages(self, ref: Ref, serial: int) -> tuple[str, ...]:
        return ("sigint",)

    def memory(self, ref: Ref) -> int | None:
        return None

    async def stop(self, ref: Ref, grace: float) -> bool:
        if ref not in self.held:
            return False
        del self.held[ref]
        self.stopped.append(ref)
        self._sink(Exited(ref, Cause(kind="killed")))
        return True

    async def aclose(self) -> None:
        self.closed = True
        for ref in list(self.held):
            await self.stop(ref, 0)

    def _print(self, ref: Ref, serial: int, left: int) -> None:
        """One block a turn of the loop, as long as nobody holds this worker."""
        loop = asyncio.get_running_loop()
        if ref not in self.held or self.running.get(ref) != serial:
            return
        if self.held[ref]:
            loop.call_later(0.005, self._print, ref, serial, left)
        elif left:
            self._sink(Said(ref, Output(serial=serial, text="x" * (64 << 10), blobs=(64 << 10,))))
            loop.call_soon(self._print, ref, serial, left - 1)
        else:
            self._sink(Said(ref, Finished(serial=serial)))


def make_server(
    evaluator: FakeEvaluator | None = None, *, limits: dict[str, Any] | None = None, **settings: Any
) -> Server:
    """A server that is not started yet."""
    return Server(Settings(limits=Limits(**limits or {}), **settings), evaluator or FakeEvaluator())


def dial(server: Server, codec_name: str | None = "json", *, token: str | None = "", **options: Any) -> connect:
    """websockets' own client, not connected yet. `token` None: shows none."""
    headers = {} if token is None else {"Authorization": f"Bearer {token or server.token}"}
    names = {"json": ["nrepl.v1.json"], "msgpack": ["nrepl.v1.msgpack"], None: None}[codec_name]
    options = {"additional_headers": headers, "subprotocols": names, "compression": None, "max_size": None} | options
    return connect(server.url, **options)


def add_token(path: Path, name: str, **fields: Any) -> str:
    """A new token in the tokens file, which is made where it is missing."""
    token = tokens.new_token()
    entry = {"name": name, "sha256": tokens.digest(token), "created": 1.0} | fields
    with tokens.editing(str(path)) as entries:
        entries.append(msgspec.convert(entry, tokens.Entry))
    return token


def drop_token(path: Path, name: str) -> None:
    """Revoke it, without telling anyone."""
    with tokens.editing(str(path)) as entries:
        entries[:] = [entry for entry in entries if entry.name != name]


async def ask(socket: ClientConnection, message: dict[str, Any], codec_name: str = "json") -> dict[str, Any]:
    """Send a request; its last reply."""
    await tell(socket, message, codec_name)
    return (await replies(socket, message["id"], codec_name))[-1]


async def tell(socket: ClientConnection, message: dict[str, Any], codec_name: str = "json") -> None:
    """Send a message."""
    data = codec.encode(message, codec_name)
    await socket.send(data, text=codec_name == "json")


async def replies(socket: ClientConnection, id: str, codec_name: str = "json") -> list[dict[str, Any]]:
    """The messages of this request, up to `done`."""
    found = []
    async for frame in socket:
        message = codec.decode(frame, codec_name)
        if message.get("id") == id:
            found.append(message)
            if "done" in message.get("status", ()):
                break
    return found


async def http(server: Server, text: str, *, unix: bool = False, limit: float = 20) -> bytes:
    """Everything the server answers to these bytes until it closes."""
    reader, writer = await (
        asyncio.open_unix_connection(server.unix) if unix else asyncio.open_connection("127.0.0.1", server.port)
    )
    try:
        writer.write(text.encode("latin-1"))
        async with asyncio.timeout(limit):
            return await reader.read()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def request(server: Server, target: str = "GET /", upgrade: bool = True, **headers: str | None) -> str:
    """A request's text, a right one unless told otherwise: a header of None is left out."""
    fields: dict[str, str | None] = {"Host": f"127.0.0.1:{server.port}", "Authorization": f"Bearer {server.token}"}
    if upgrade:
        fields |= {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{target} HTTP/1.1", *lines, "", ""])
