"""A bare websockets echo server, the floor of any round trip: prints its port, serves until killed.

With `--behind`, a second process does the echoing, over a socket pair: the floor of any server whose
sessions are processes of their own.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


class Behind:
    """Sends every message through a process that sends it back. One connection, one message at a time."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            self._ours.close()
            while message := theirs.recv(65536):
                theirs.send(message)
            os._exit(0)
        theirs.close()
        self._ours.setblocking(False)

    async def echo(self, connection: ServerConnection) -> None:
        loop = asyncio.get_running_loop()
        async for message in connection:
            self._ours.send(bytes(message))  # type: ignore[arg-type]  # the bench sends bytes
            answer: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._ours, answer.set_result, None)
            await answer
            loop.remove_reader(self._ours)
            await connection.send(self._ours.recv(65536))


async def main() -> None:
    handler = Behind().echo if "--behind" in sys.argv else echo
    async with serve(handler, "127.0.0.1", 0, compression=None, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


try:
    import uvloop
except ImportError:
    asyncio.run(main())
else:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
