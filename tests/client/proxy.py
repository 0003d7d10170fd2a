"""A way to a server that can be cut: at once, after so many bytes, or for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """One. `url` is where clients connect."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.refuses = False
        """Let nobody in."""
        self.after: list[int] = []
        """Bytes from the server after which the next connections, one after the other, are cut."""
        self.accepted = 0
        self.arrived = asyncio.Event()
        """Set with each connection."""

    def cut(self) -> None:
        """Cut all connections, without a word."""
        for writer in self._writers:
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        if self.refuses:
            writer.transport.abort()
            return
        self.accepted += 1
        self.arrived.set()
        left = self.after.pop(0) if self.after else None
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, back}
        try:
            own = int(self.url.rpartition(":")[2])
            with suppress(asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                # The server lets nobody in by another name than its own.
                back.write(head.replace(b"127.0.0.1:%d" % own, b"127.0.0.1:%d" % self._port))
            up = asyncio.create_task(self._copy(reader, back, None))
            await self._copy(there, writer, left)
            up.cancel()
            await asyncio.wait({up})
        finally:
            for one in (writer, back):
                one.transport.abort()
                self._writers.discard(one)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16 if left is None else min(left, 1 << 16)):
                writer.write(data)
                await writer.drain()
                if left is not None:
                    left -= len(data)
                    if not left:
                        return


@asynccontextmanager
async def proxy(url: str) -> AsyncIterator[Proxy]:
    """A way to the server at that URL."""
    running = Proxy(int(url.rpartition(":")[2]))
    listener = await asyncio.start_server(running.accept, "127.0.0.1", 0)
    running.url = f"ws://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        listener.close()
        running.cut()
        await listener.wait_closed()
