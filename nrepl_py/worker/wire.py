"""The wire between router and worker: small JSON headers, opaque blobs.

Two stream sockets join them. On *control* the router says what to evaluate and the worker says
everything about evals; the worker's main thread reads it while idle, so an eval costs no thread
switch. On *side* go the questions answered beside a running eval, input, and interrupts where
signals cannot be aimed; a helper thread sleeps on it and wakes for nothing else.

A frame is 8 bytes (two big-endian u32: header length, body length), the header (a JSON object)
and the body, a run of blobs whose lengths are the header's `blobs`. Text is UTF-8.

Router → worker, control (key `do`):
  setup     first of all: cwd, python-path, preload, lent, rlimits, start; answered by `ready`   blobs: env (JSON)
  run       serial, code, and of `RUN` below what differs from it
  stdio     fresh descriptors for 1 and 2, attached to the frame's first byte by SCM_RIGHTS
  clone     force; fork a copy that takes the six descriptors that come along: see `clone.py`
Router → worker, side:
  feed      serial                                                         blobs: text ("" = EOF)
  ask       number, what                                                   blobs: fields (JSON)
  interrupt serial, and whether a signal that was `aimed` says so too
Worker → router (key `say`): see `evaluators/frames.py`, which checks every one of them.
  control: ready, output, value, display, need-input, failure, finished    side: answer
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from time import perf_counter
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

PREFIX = struct.Struct(">II")
RUN: Dict[str, Any] = {
    "file": None,
    "line": 1,
    "column": 0,
    "module": None,
    "values": "last",
    "mime": [],
    "data": False,
    "max-data": 1 << 22,
    "max-depth": 64,
    "allow-stdin": True,
    "store-history": True,
    "print-quota": 1 << 20,
    "spin": 0.0,
}
"""What a `run` is without further words, so that the commonest eval has the shortest header."""

_VALUE = {"say": "value"}
_JOIN_BELOW = 64 << 10  # bytes; up to here a copy is cheaper than a second write
_LOOK_SECONDS = 0.0002  # between two looks: an idle router reads within that
_READ = 64 << 10  # bytes asked of one read at least
_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
_let_others_run = getattr(os, "sched_yield", bool)


def pack(header: Dict[str, Any], *blobs: bytes) -> List[bytes]:
    """The frame, as pieces to write one after the other (large blobs are not copied)."""
    if blobs:
        header["blobs"] = [len(blob) for blob in blobs]
    return assemble(_encode(header).encode(), blobs)


def pack_last(serial: int, header: Dict[str, Any], blobs: Sequence[bytes], end: Dict[str, Any]) -> List[bytes]:
    """An eval's last frame, which says as well how it ended."""
    if header == _VALUE and not end and len(blobs[0]) < _JOIN_BELOW:
        # The commonest frame of all: a value's text, and no more to say of it. It needs no encoder.
        head = b'{"say":"value","serial":%d,"end":{},"blobs":[%d]}' % (serial, len(blobs[0]))
        return [PREFIX.pack(len(head), len(blobs[0])) + head + blobs[0]]
    return pack(dict(header, serial=serial, end=end), *blobs)


def assemble(head: bytes, blobs: Sequence[bytes]) -> List[bytes]:
    """The frame of an encoded header."""
    size = sum(map(len, blobs))
    first = PREFIX.pack(len(head), size) + head
    return [b"".join((first, *blobs))] if size < _JOIN_BELOW else [first, *blobs]


def split(header: Dict[str, Any], body: bytes) -> List[bytes]:
    """The body's blobs."""
    blobs = []
    start = 0
    for length in header.get("blobs", ()):
        blobs.append(body[start : start + length])
        start += length
    return blobs


def look(readable: select.poll, seconds: float) -> bool:
    """Wait until there is something to read, at most so long, and without sleeping; whether there is."""
    until = perf_counter() + seconds
    while not (found := readable.poll(0)) and perf_counter() < until:
        _let_others_run()
    return bool(found)


class Shield:
    """Keeps interrupts out of a stretch of code that must not be torn; this one keeps nothing out."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass

    def wait(self, block: Callable[[], object]) -> None:
        """Call `block`, letting interrupts through meanwhile."""
        block()


class Channel:
    """The worker's end of one socket: whole frames in, whole frames out, from any thread.

    A frame that is interrupted half-way stays queued and is finished by the next `send`, so an
    interrupt never tears the stream. EOFError and OSError mean that the router is gone.
    """

    def __init__(self, sock: socket.socket, shield: Optional[Shield] = None) -> None:
        sock.setblocking(True)
        self.sock = sock
        self.descriptors: List[int] = []
        self.shield = shield or Shield()
        self._lock = threading.Lock()
        self._unsent: Deque[Any] = deque()
        self._received = bytearray()
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)

    def send(self, header: Dict[str, Any], *blobs: bytes) -> None:
        frame = pack(header, *blobs)
        with self._lock, self.shield:
            self._write(frame)

    def send_last(self, frame: List[bytes]) -> None:
        """Send the frame of an eval that has ended: there is nobody any more whom an interrupt could hit."""
        with self._lock:
            self._write(frame)

    def _write(self, frame: List[bytes]) -> None:
        self._unsent.extend(frame)
        while self._unsent:
            self._send_some()

    def _send_some(self) -> None:
        piece = self._unsent[0]
        try:
            sent = self.sock.send(piece, socket.MSG_DONTWAIT)
        except BlockingIOError:
            poll = select.poll()
            poll.register(self.sock, select.POLLOUT)
            self.shield.wait(poll.poll)
            return
        if sent == len(piece):
            self._unsent.popleft()
        else:
            self._unsent[0] = memoryview(piece)[sent:]

    def let_read(self, seconds: float) -> None:
        """Wait until the router has read all that was sent, where the system can tell, and no longer than that."""
        try:
            import fcntl
            import termios

            until = time.monotonic() + seconds
            unread = bytearray(4)
            while not fcntl.ioctl(self.sock, termios.TIOCOUTQ, unread) and any(unread) and time.monotonic() < until:
                time.sleep(_LOOK_SECONDS)
        except (ImportError, OSError, AttributeError):
            pass

    def receive(self, spin: float = 0.0) -> Tuple[Dict[str, Any], List[bytes]]:
        """The next frame: header and blobs. Descriptors that came along are in `descriptors`. Looks so many seconds for
        it before it sleeps."""
        received = self._received
        self._gather(PREFIX.size, bool(spin) and not received and look(self._readable, spin))
        head_size, body_size = PREFIX.unpack_from(received)
        start = PREFIX.size + head_size
        end = start + body_size
        if len(received) < end:
            self._gather(end)
        header, _ = _decode(received[PREFIX.size : start].decode())
        body = bytes(received[start:end])
        del received[:end]
        return header, split(header, body) if "blobs" in header else []

    def _gather(self, size: int, readable: bool = False) -> None:
        """Wait until so many bytes are there; `readable`: some are."""
        received = self._received
        while len(received) < size:
            # Waiting in the read itself would be woken each time the router has read what we sent.
            if not readable:
                self._readable.poll()
            readable = False
            data, ancillary, _, _ = self.sock.recvmsg(max(_READ, size - len(received)), _ANCILLARY)
            if not data:
                raise EOFError("the router closed the channel")
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    self.descriptors += struct.unpack("%di" % (len(payload) // 4), payload)
            received += data

    def forget(self) -> None:
        """In a forked child: close our copy without a word to the router."""
        self._unsent.clear()
        os.close(self.sock.detach())


_ANCILLARY = socket.CMSG_SPACE(6 * struct.calcsize("i"))
