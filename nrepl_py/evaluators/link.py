"""The router's end of one worker: its two channels and its output pipes, as reports in order.

What is read here was written by code nobody trusts. Headers, bodies and pipe reads are bounded,
everything read is checked (`frames.parse`), and no descriptor is read whose open description the
worker shares, so none of these reads can be made to block.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from nrepl_py import codec
from nrepl_py.evaluators import frames
from nrepl_py.worker import wire

_READ = 64 << 10  # bytes asked of one read; from 128 KiB on, every read would cost a mapping of fresh memory
_DRAIN = 1 << 20  # bytes; the largest a pipe can be made without privilege, so draining ends
_MAX_RETIRED = 16  # pipes kept for late output of one session's children, 2 descriptors each
_LAST_READS = 256  # of `_READ` bytes: far more than a socket's buffer holds
_END_SECONDS = 1.0  # for a worker that closed a channel to end: a process that ends closes all of them just before
_STDERR_TAIL = 16 << 10  # bytes kept of what the worker wrote to descriptor 2, to explain a death


class Inbox:
    """Cuts one channel's bytes into frames. Sans-I/O."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._large = bytearray()
        self._head = 0
        self.room: memoryview | None = None
        """Where the next bytes are to be put, while the rest of a large body is waited for: told by
        `filled`. Gathered like others it would be copied again and again."""

    def feed(self, data: bytes) -> list[tuple[bytes, bytes | memoryview]]:
        """Whole frames (header, body). Raises `BadFrame` where one claims to be too large."""
        if not self._data and self.room is None and len(data) >= wire.PREFIX.size:
            head, body = wire.PREFIX.unpack_from(data)
            start = wire.PREFIX.size + head
            if head <= frames.MAX_HEADER and len(data) == start + body:  # as it nearly always is
                return [(data[wire.PREFIX.size : start], data[start:])]
        found: list[tuple[bytes, bytes | memoryview]] = []
        if self.room is not None:
            taken = min(len(data), len(self.room))
            self.room[:taken], data = data[:taken], data[taken:]
            found = self.filled(taken)
        self._data += data
        while len(self._data) >= wire.PREFIX.size:
            head, body = wire.PREFIX.unpack_from(self._data)
            if head > frames.MAX_HEADER or body > frames.MAX_BODY:
                raise frames.BadFrame(f"a frame of {head} + {body} bytes")
            start = wire.PREFIX.size + head
            if len(self._data) < start + body:
                if body > _READ:
                    self._make_room(start, body)
                break
            found.append((bytes(self._data[wire.PREFIX.size : start]), bytes(self._data[start : start + body])))
            del self._data[: start + body]
        return found

    def _make_room(self, start: int, body: int) -> None:
        self._head, self._large = start, bytearray(start + body)
        self._large[: len(self._data)] = self._data
        self.room = memoryview(self._large)[len(self._data) :]
        self._data.clear()

    def filled(self, size: int) -> list[tuple[bytes, bytes | memoryview]]:
        """So many bytes were put into `room`; as `feed`."""
        assert self.room is not None
        if size < len(self.room):
            self.room = self.room[size:]
            return []
        self.room, whole, self._large = None, self._large, bytearray()
        return [(bytes(whole[wire.PREFIX.size : self._head]), memoryview(whole)[self._head :])]


class Outbox:
    """Writes to one channel without ever blocking the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._loop = loop
        self._sock = sock
        self._unsent = bytearray()
        self._rights: dict[int, list[int]] = {}
        self._written = 0

    def send(self, data: bytes, descriptors: list[int] | None = None) -> None:
        """`descriptors` go along with the first byte, and are closed here once sent."""
        if descriptors:
            self._rights[self._written + len(self._unsent)] = descriptors
        if not self._unsent and not self._rights:
            try:
                sent = self._sock.send(data)
            except OSError:  # full: wait until it is writable; or gone, which the next write finds out
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent:
                self._written += (sent := self._send_some())
                del self._unsent[:sent]
        except BlockingIOError:
            self._loop.add_writer(self._sock, self._flush)
            return
        except OSError:
            self._unsent.clear()  # the worker is gone; its end is told elsewhere
        self.close()

    def _send_some(self) -> int:
        rights = self._rights.get(self._written)
        # A read never spans descriptors that were sent with a later byte: stop before the next.
        until = min((at - self._written for at in self._rights if at > self._written), default=len(self._unsent))
        piece = memoryview(self._unsent)[:until]
        try:
            if rights is None:
                return self._sock.send(piece)
            packed = struct.pack(f"{len(rights)}i", *rights)
            sent = self._sock.sendmsg([piece], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed)])
        finally:
            piece.release()
        del self._rights[self._written]
        _close_all(rights)
        return sent

    def close(self) -> None:
        self._loop.remove_writer(self._sock)
        for rights in self._rights.values():
            _close_all(rights)
        self._rights.clear()


@dataclass(slots=True)
class _Pipe:
    """One output pipe. `serial`: the eval its bytes belong to."""

    fd: int
    stream: str
    serial: int | None = None
    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("backslashreplace")
    )


class Link:
    """One worker's channels and pipes on the event loop.

    `on_report` gets every report in order; `on_broken` a sentence, once, when the worker broke the
    rules of the wire. Without `pipes`, descriptors 1 and 2 are somebody else's.
    """

    def __init__(
        self, on_report: Callable[[frames.Report], None], on_broken: Callable[[str], None], pipes: bool = True
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_report = on_report
        self._on_broken = on_broken
        self._control, self._worker_control = _pair()
        self._side, self._worker_side = _pair()
        self._ends_are_ours = True
        self._inboxes = {self._control: Inbox(), self._side: Inbox()}
        self._to_control = Outbox(self._loop, self._control)
        self._to_side = Outbox(self._loop, self._side)
        self._answer = select.poll()
        self._answer.register(self._control, select.POLLIN)
        self._pipes: list[_Pipe] = []
        self._poll = select.poll()
        self._retired: list[_Pipe] = []
        self.worker_pipes: list[int] = self._fresh_pipes() if pipes else []
        self._stale_pipes = False
        self._held = False
        self._max_data = 0
        self._ending: asyncio.TimerHandle | None = None
        self._hung_up = False
        self._tail = bytearray()
        self._readers: set[int] = set()
        self._listen()

    # -- to the worker

    def tell(self, header: dict[str, object], *blobs: bytes) -> None:
        self._to_control.send(_frame(header, blobs))

    def tell_with(self, descriptors: list[int], header: dict[str, object]) -> None:
        """These go along, and are closed here once they are on their way, or will never be."""
        self._to_control.send(_frame(header), descriptors)

    def tell_aside(self, header: dict[str, object], *blobs: bytes) -> None:
        self._to_side.send(_frame(header, blobs))

    def run(self, serial: int, header: bytes, max_data: int = 0) -> None:
        """Send an eval: from here on, what comes through the pipes is its output, and so many bytes of
        plain data may come. Decoded they take many times as much, so nobody gives us what we did not ask for."""
        self._max_data = max_data
        if self._stale_pipes and len(self._retired) < 2 * _MAX_RETIRED:
            self._retire()
        if self._poll.poll(0):
            self._drain()
        for pipe in self._pipes:
            pipe.serial = serial
        self._to_control.send(wire.PREFIX.pack(len(header), 0) + header)

    def look(self, seconds: float) -> None:
        """Look for the answer so long, before the event loop sleeps, and read it: its reports come from within."""
        if not self._held and wire.look(self._answer, seconds):
            self._read_channel(self._control)

    def _retire(self) -> None:
        """Children of older evals keep their pipe, and with it their eval's name."""
        self._stale_pipes = False
        self._drain()
        self._retired += self._pipes
        fresh = self._fresh_pipes()
        self._listen()
        self._to_control.send(_frame({"do": "stdio"}), fresh)

    def hold(self, held: bool) -> None:
        """Stop or go on reading: what the worker writes then waits in the kernel."""
        self._held = held
        self._listen()

    def hang_up(self) -> None:
        """Tell an idle worker to end."""
        self._hung_up = True
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    # -- from the worker

    def _listen(self) -> None:
        wanted: dict[int, Callable[[], object]] = {self._side.fileno(): lambda: self._read_channel(self._side)}
        if not self._held:
            wanted[self._control.fileno()] = lambda: self._read_channel(self._control)
            for pipe in self._pipes + self._retired:
                wanted[pipe.fd] = lambda pipe=pipe: self._read_pipe(pipe)  # type: ignore[misc]
        for fd in self._readers - wanted.keys():
            self._loop.remove_reader(fd)
        for fd in wanted.keys() - self._readers:
            self._loop.add_reader(fd, wanted[fd])
        self._readers = set(wanted)

    def _read_channel(self, sock: socket.socket) -> bool:
        """Whether there was something to read."""
        inbox = self._inboxes[sock]
        data, size = b"", 0
        try:
            if inbox.room is None:
                data = sock.recv(_READ)
            size = len(data) if inbox.room is None else sock.recv_into(inbox.room)
        except BlockingIOError:
            return False
        except OSError:
            pass
        if not size:
            self._ignore(sock.fileno())
            self._closed()
            return False
        try:
            for header, body in inbox.feed(data) if data else inbox.filled(size):
                self._report(frames.parse(header, body, self._max_data))
        except frames.BadFrame as error:
            self._ignore(sock.fileno())
            self._hung_up = True  # what it does to its channels from here on says nothing new
            self._on_broken(str(error))
            return False
        return True

    def _closed(self) -> None:
        """The worker closed a channel: it ends, or is cut off, since nothing it does now can be told."""
        if self._ending is None and not self._hung_up:
            self._ending = self._loop.call_later(_END_SECONDS, self._on_broken, "it closed a channel and went on")

    def _report(self, report: frames.Report) -> None:
        # What was written to the pipes before this was said comes first.
        if self._poll.poll(0):
            self._drain()
        end = getattr(report, "end", None)
        if end is not None and end.children:
            self._stale_pipes = True
        self._on_report(report)

    def _drain(self) -> None:
        # One look at both, and none here where that finds nothing: this is done twice an eval, and most write nothing.
        for fd, _ in self._poll.poll(0):
            pipe = next(pipe for pipe in self._pipes if pipe.fd == fd)
            left = _DRAIN
            while left > 0 and (size := self._read_pipe(pipe)):
                left -= size

    def _read_pipe(self, pipe: _Pipe) -> int:
        try:
            data = os.read(pipe.fd, _READ)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if pipe.stream == "err":
            self._tail = (self._tail + data)[-_STDERR_TAIL:]
        text = pipe.decoder.decode(data, not data)
        if text:
            stream = "out" if pipe.stream == "out" else "err"
            self._on_report(frames.Output(stream=stream, serial=pipe.serial, text=text))  # type: ignore[arg-type]
        if not data:
            self._close_pipe(pipe)
        return len(data)

    def _close_pipe(self, pipe: _Pipe) -> None:
        self._ignore(pipe.fd)
        for pipes in (self._pipes, self._retired):
            if pipe in pipes:
                pipes.remove(pipe)
                if pipes is self._pipes:
                    self._poll.unregister(pipe.fd)
                os.close(pipe.fd)

    def _ignore(self, fd: int) -> None:
        if fd in self._readers:
            self._loop.remove_reader(fd)
            self._readers.discard(fd)

    def _fresh_pipes(self) -> list[int]:
        """The write ends, for descriptors 1 and 2."""
        ends = []
        self._pipes = []
        self._poll = select.poll()
        for stream in ("out", "err"):
            read, write = os.pipe()
            os.set_blocking(read, False)
            self._pipes.append(_Pipe(read, stream))
            self._poll.register(read, select.POLLIN)
            ends.append(write)
        return ends

    # -- the end

    @property
    def worker_ends(self) -> tuple[int, int]:
        """Descriptors of the worker's control and side, to pass to its process."""
        return self._worker_control.fileno(), self._worker_side.fileno()

    def handed_over(self) -> None:
        """The worker's process has its ends; close ours of them."""
        if self._ends_are_ours:
            self._worker_control.close()
            self._worker_side.close()
        _close_all(self.worker_pipes)
        self.worker_pipes = []

    def give_ends(self) -> tuple[socket.socket, socket.socket]:
        """The worker's control and side, for a worker in this process, which closes them itself."""
        self._ends_are_ours = False
        return self._worker_control, self._worker_side

    def last_words(self) -> str:
        """Read what is left after the worker's end; gives the tail of its descriptor 2."""
        # Bounded: a stray child of the worker's may still hold its ends, and write.
        for _ in range(_LAST_READS):
            if not self._read_channel(self._control):
                break
        self._drain()
        return self._tail.decode("utf-8", "backslashreplace")

    def close(self) -> None:
        self.handed_over()
        if self._ending is not None:
            self._ending.cancel()
        for fd in list(self._readers):
            self._ignore(fd)
        for pipe in self._pipes + self._retired:
            os.close(pipe.fd)
        self._pipes, self._retired = [], []
        self._to_control.close()
        self._to_side.close()
        self._control.close()
        self._side.close()


def _frame(header: dict[str, object], blobs: tuple[bytes, ...] = ()) -> bytes:
    if blobs:
        header["blobs"] = [len(blob) for blob in blobs]
    return b"".join(wire.assemble(codec.to_json(header), blobs))


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


def _close_all(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
