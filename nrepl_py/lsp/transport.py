"""Bytes in and out: LSP's frames over standard input and output, or over the first connection to a port."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import threading
from typing import Final, Protocol

from nrepl_py.lsp.server import Server

MAX_BODY: Final = 64 << 20
"""Bytes of one message: a document is sent whole, and what is larger is no source code."""

READ_BYTES: Final = 65536
"""Bytes read at once; what a pipe holds."""

_LENGTH: Final = re.compile(rb"content-length:[ \t]*(\d{1,9})\s*", re.IGNORECASE)


class NotLsp(Exception):
    """What was read is not the beginning of a message of LSP."""


class Writer(Protocol):
    """Where bytes go."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


async def over_stdio(server: Server) -> None:
    """Serve until the editor says `exit`, or its end of the pipe is gone, or SIGTERM."""
    reader = asyncio.StreamReader()
    writer = _Output()
    thread = threading.Thread(target=_pump, args=(asyncio.get_running_loop(), reader), name="stdin", daemon=True)
    thread.start()
    await _serve(server, reader, writer)


async def over_tcp(server: Server, port: int) -> None:
    """Listen on that port of this machine, for the first to connect and for nobody else. Raises OSError."""
    first: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Future()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first.done():
            writer.close()
        else:
            first.set_result((reader, writer))

    listening = await asyncio.start_server(connected, "127.0.0.1", port)
    print(f"nrepl-py lsp: listening on port {listening.sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)
    try:
        reader, writer = await first
    finally:
        listening.close()
    try:
        await _serve(server, reader, writer)
    finally:
        writer.close()


async def read(reader: asyncio.StreamReader) -> bytes | None:
    """The body of the next message; None at the end. Raises `NotLsp`: a web page can make a browser send bytes to a
    port, but not without headers of its own."""
    length = None
    try:
        while line := await reader.readline():
            if found := _LENGTH.fullmatch(line):
                length = int(found[1])
            elif line.strip() and not line.lower().startswith(b"content-type:"):
                raise NotLsp("the client does not speak LSP: no message begins with Content-Length")
            elif not line.strip() and length is not None:
                if length > MAX_BODY:
                    raise NotLsp(f"the client sends {length} bytes at once, and {MAX_BODY} are taken at most")
                return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except ValueError:
        raise NotLsp("the client does not speak LSP: a header has no end") from None
    return None


async def _serve(server: Server, reader: asyncio.StreamReader, writer: Writer) -> None:
    protocol = server.protocol
    protocol.set_writer(writer)
    serving = asyncio.current_task()
    assert serving is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    try:
        while (body := await read(reader)) is not None:
            raw = None
            try:
                raw = json.loads(body)
                message = json.loads(body, object_hook=protocol.structure_message)
            except Exception as error:
                protocol.refuse(raw, error)  # type: ignore[attr-defined]
                continue
            if getattr(message, "method", None) == "exit":
                break
            try:
                protocol.handle_message(message)
            except Exception as error:
                server.report_server_error(error, type(error))
    except (asyncio.CancelledError, BrokenPipeError):
        pass  # SIGTERM, or the editor is gone: the end is the same
    finally:
        await server.aclose()


class _Output:
    """Standard output, which is the editor's alone from now on: what anything else prints goes to standard error."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _pump(loop: asyncio.AbstractEventLoop, reader: asyncio.StreamReader) -> None:
    """A thread of its own, since not all that standard input may be can be waited for; a daemon, since its read ends
    when the editor says so."""
    try:
        while data := os.read(0, READ_BYTES):
            loop.call_soon_threadsafe(reader.feed_data, data)
        loop.call_soon_threadsafe(reader.feed_eof)
    except (OSError, RuntimeError):
        pass  # closed, or the loop has ended meanwhile
