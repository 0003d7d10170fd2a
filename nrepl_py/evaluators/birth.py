"""How a live clone comes to be known: the first word of its life, and the kernel's as to whose word that is.

The worker that forks runs foreign code, and may say anything, or nothing. The one datagram read here is bounded and
checked, the process that sent it is named by the kernel (SO_PASSCRED), and whether that is a clone at all is for its
init to say (`sandbox/members.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from nrepl_py.errors import Busy, NreplError, StartFailed

_MESSAGE = 16 << 10  # bytes: some names of threads, some counts
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_Count = Annotated[int, Meta(ge=0, le=1 << 31)]
_Name = Annotated[str, Meta(max_length=400)]


class LeftBehind(Struct, frozen=True):
    """What the original has that does not come along, or is shared with it."""

    threads: Annotated[tuple[_Name, ...], Meta(max_length=20)] = ()
    children: _Count = 0
    sockets: _Count = 0
    files: _Count = 0


class _Said(LeftBehind, frozen=True):
    say: Literal["born", "refused"] = "refused"
    why: Literal["threads", "questions", "system"] = "system"
    error: Annotated[str, Meta(max_length=1000)] = ""


class Birth:
    """One clone's."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._loop = asyncio.get_running_loop()

    def give(self) -> int:
        """A descriptor for the worker that is to fork."""
        return self._theirs.detach()

    async def word(self) -> tuple[int, dict[str, Any]]:
        """A pidfd of whoever says that it is the clone, and for the reply's `info` what it left behind. Raises
        `Busy` where the worker refuses to fork now, and `StartFailed`."""
        readable = asyncio.Event()
        self._loop.add_reader(self._ours, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(self._ours)
        try:
            data, ancillary, _, _ = self._ours.recvmsg(_MESSAGE, socket.CMSG_SPACE(_CREDENTIALS.size))
            if not data:
                raise StartFailed("clone: the session ended, or its clone did, before there was one")
            said = msgspec.json.decode(data, type=_Said)
            (sender,) = [payload for _, kind, payload in ancillary if kind == socket.SCM_CREDENTIALS]
            if said.say == "refused":
                raise _refusal(said)
            return os.pidfd_open(_CREDENTIALS.unpack(sender)[0]), _kept(said)
        except (msgspec.MsgspecError, ValueError, OSError) as error:
            raise StartFailed(f"clone: the session did not fork as it should: {error}") from None

    def go(self) -> None:
        """It is known now, and may begin."""
        with contextlib.suppress(OSError):  # it has ended, which is told elsewhere
            self._ours.send(b"g")

    def close(self) -> None:
        """A clone that has not been told to begin ends."""
        self._ours.close()
        self._theirs.close()


def _refusal(said: _Said) -> NreplError:
    if said.why == "threads":
        names = ", ".join(said.threads)
        return Busy(
            f"clone: these threads run in the session, and would not come along: {names}. End them, or clone "
            "with 'force': what they hold locked stays locked in the clone"
        )
    if said.why == "questions":
        return Busy("clone: the session is looking something up; try again when that is answered")
    return StartFailed(f"clone: the session could not fork: {said.error}")


def _kept(said: _Said) -> dict[str, Any]:
    return {name: getattr(said, name) for name in LeftBehind.__struct_fields__}
