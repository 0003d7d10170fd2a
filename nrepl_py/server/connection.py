"""One client's connection: bytes in and out, frames, deadlines. Knows no op.

An asyncio protocol, which begins with a handshake (`handshake.py`), around websockets' sans-I/O `ServerProtocol`,
rather than `websockets.serve`, so that frames leave together in one write, and so that a slow reader stalls only who
it should. What a message means is its owner's affair.

Every wait has a deadline: a message begun, a ping sent, a close, a full outbox.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN

from nrepl_py import codec as codecs
from nrepl_py.errors import NreplError
from nrepl_py.server import auth, framing
from nrepl_py.server.handshake import HELLO_BYTES, Doorkeeper, Handshake
from nrepl_py.server.instructions import TOO_SLOW
from nrepl_py.server.outbox import Outbox
from nrepl_py.server.pace import Pace
from nrepl_py.server.principals import Principal

STRANGER_BYTES: Final = 2 * HELLO_BYTES
"""Bytes before a token was shown: small frames, pings above all, cost more time than memory."""

PAUSE_SECONDS: Final = 0.01
"""The shortest pause of a connection that sends too fast; messages are then taken many at a time."""

HARD_FACTOR: Final = 2
"""Times `outbox_bytes` at which a client that does not read is no longer heard. Between the two marks
its requests, an interrupt above all, still are."""


class Owner(Doorkeeper, Protocol):
    """Whom a connection reports to; all on the event loop's thread."""

    def opened(self, connection: Connection, principal: Principal | None) -> None:
        """A WebSocket is open; `closed` will follow."""

    def received(self, connection: Connection, message: dict[str, Any]) -> None:
        """A message came."""

    def unparseable(self, connection: Connection, error: NreplError) -> None:
        """A frame came that is no message."""

    def congested(self, connection: Connection, full: bool) -> None:
        """The outbox went over its bound, or under half of it."""

    def room(self, connection: Connection) -> None:
        """Less than half the outbox is full, as was asked by `when_room`."""

    def closed(self, connection: Connection) -> None:
        """No more messages are taken or sent."""


class Connection(Handshake):
    """One connection, from its first byte. `send`, `flush` and `close` may be called at any time."""

    _owner: Owner

    def __init__(self, owner: Owner, guard: auth.Guard, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(owner, guard, loop)
        self.open = False
        """Messages are taken and sent."""
        self.dirty = False
        """The owner will flush."""
        self.max_frame = owner.limits.max_frame_bytes
        self.max_value = 0
        """What the client takes; the owner's to know and to cut messages to."""
        self.principal: Principal | None = None
        """Who has shown a token here; the owner's to set."""
        self._stranger = True
        self._strange = 0
        self._inbox: deque[Frame] = deque()
        self._partial: bytearray | None = None
        self._boundary = framing.Boundary()
        self._heard = self._pinged = False
        self._half_full = self._full = self._awaited = False
        self._pace = Pace(owner.limits.max_messages_per_second, owner.limits.max_messages_burst)

    # -- for the owner --------------------------------------------------------------------------

    def trust(self) -> None:
        """A token was shown: take messages up to the full size."""
        self._stranger = False
        self._websocket.max_message_size = self._owner.limits.max_frame_bytes

    def send(self, payload: bytes) -> None:
        """Add a message to the outbox, to leave with the next `flush`."""
        if self.open:
            self._outbox.put(payload)

    def flush(self) -> None:
        """Write what waits."""
        if self.open:
            self._outbox.flush()
            if self._half_full and not self._full and self.waiting > self._owner.limits.outbox_bytes:
                self._full = True
                self._set("stall", self._owner.limits.stall_seconds, self._stalled)
                self._owner.congested(self, True)

    def when_room(self) -> None:
        """Tell the owner once, but not at once, that less than half the outbox is full."""
        self._awaited = True
        if not self._half_full:
            self._loop.call_soon(self._room)
        elif "stall" not in self._timers:
            self._set("stall", self._owner.limits.stall_seconds, self._stalled)

    def close(self, code: int, reason: str) -> None:
        """Send what waits and a close frame; cut the connection when its answer takes too long."""
        if not self.open:
            return
        self._outbox.flush()
        if self._websocket.state is OPEN:
            # A close frame's reason has 123 bytes.
            self._websocket.send_close(code, reason.encode()[:123].decode(errors="ignore"))
            self._write()
        self._end()

    @property
    def waiting(self) -> int:
        """Bytes written that the peer has not taken."""
        return self._transport.get_write_buffer_size()

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._heard = True
        # Nothing is half-read or waits: what comes now is the next frame, from its first byte.
        here = self.open and self._boundary.here and not (self._stranger or self._inbox) and self._partial is None
        if here and len(data) <= self._owner.limits.max_frame_bytes:
            payload = framing.whole(data, self._first)
            if payload is not None and not self._pace.take(self._loop.time()):
                self._message(payload)
                return
        if self._head is not None:
            data = self._shake_hands(self._head, data)
            if not data:
                return
        elif not self.number:
            return  # refused: what still comes is nobody's
        start = 0
        while self._stranger and self.open and start < len(data):
            # Frame by frame: what follows `hello` must not be judged by the bound before it.
            piece = data[start : start + self._boundary.ahead]
            self._take(piece)
            start += len(piece)
            self._strange += len(piece)
            if self._stranger and self._strange > STRANGER_BYTES:
                self.close(1008, "too much was said before a token was shown")
                self._transport.pause_reading()
                return
        if start < len(data):
            self._take(data[start:] if start else data)
        self._write()
        if self._inbox:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        self._work(paced=False)
        self._websocket.receive_eof()
        self._end()

    def pause_writing(self) -> None:
        self._half_full = True
        if self._awaited:
            self._set("stall", self._owner.limits.stall_seconds, self._stalled)

    def resume_writing(self) -> None:
        was_full, self._half_full, self._full = self._full, False, False
        self._cancel("stall")
        if self.open and was_full:
            self._owner.congested(self, False)
        self._room()
        self._go_on()

    def _room(self) -> None:
        if self.open and self._awaited and not self._half_full:
            self._awaited = False
            self._owner.room(self)

    def _accepted(self, principal: Principal | None) -> None:
        self._kind = Opcode.TEXT if self.codec == "json" else Opcode.BINARY
        self._first = framing.TEXT if self.codec == "json" else framing.BINARY
        self._outbox = Outbox(self._transport, self._first)
        half = self._owner.limits.outbox_bytes // 2
        self._transport.set_write_buffer_limits(high=half, low=half)
        self._set("wait", self._owner.limits.ping_seconds, self._tick)
        self.open = True
        self._owner.opened(self, principal)

    # -- frames ---------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        self._websocket.receive_data(data)
        self._boundary.pass_over(data)
        frames = self._websocket.events_received()
        self._inbox.extend(cast("list[Frame]", frames))
        # What was sent before a close is still heard: there is no more to come, so no need to slow it down.
        self._work(paced=self._websocket.close_rcvd is None)
        # A message once begun must be whole in time, or its bytes would be held for ever.
        if not frames or self._partial is not None or not self._boundary.here:
            if self.open and "message" not in self._timers:
                self._set("message", self._owner.limits.stall_seconds, self._unfinished)
        elif "message" in self._timers:
            self._cancel("message")

    def _work(self, paced: bool = True) -> None:
        """Take the frames that came, as long as there is room for what they are answered, and not too fast."""
        hard = HARD_FACTOR * self._owner.limits.outbox_bytes
        while self._inbox and not (self._full and self._transport.get_write_buffer_size() > hard):
            wait = self._pace.take(self._loop.time())
            if wait and paced:
                self._set("pace", max(wait, PAUSE_SECONDS), self._go_on)
                break
            self._frame(self._inbox.popleft())

    def _go_on(self) -> None:
        """Take what waits, then read on."""
        self._work()
        if not self._inbox:
            self._transport.resume_reading()

    def _frame(self, frame: Frame) -> None:
        if not self.open:
            return
        if frame.opcode is Opcode.CLOSE:
            self._outbox.flush()
            self._end()
        elif frame.opcode is Opcode.CONT:
            if self._partial is not None:
                # One growing buffer: a list of tiny fragments would cost far more than their bytes.
                self._partial += frame.data
                if frame.fin:
                    whole, self._partial = self._partial, None
                    self._message(whole)
        elif frame.opcode is self._kind:
            if frame.fin:
                self._message(frame.data)
            else:
                self._partial = bytearray(frame.data)
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            kind = self._kind.name.lower()
            self.close(1003, f"this connection speaks {self.codec}, in {kind} frames")

    def _message(self, data: Any) -> None:
        try:
            message = codecs.decode(data, self.codec, codecs.REQUEST_ITEMS)
        except NreplError as error:
            self._owner.unparseable(self, error)
        else:
            self._owner.received(self, message)

    # -- ends and deadlines ---------------------------------------------------------------------

    def _unfinished(self) -> None:
        self.close(1008, "a message begun was not finished in time")

    def _stalled(self) -> None:
        self.close(*TOO_SLOW)

    def _tick(self) -> None:
        """Every `ping_seconds`: ping a silent peer, and give up one that was silent since its ping."""
        if self._heard or "stall" in self._timers or self._inbox:
            self._pinged = False
        elif self._pinged:
            self._transport.abort()
            return
        else:
            self._pinged = True
            self._websocket.send_ping(b"")
            self._write()
        self._heard = False
        self._set("wait", self._owner.limits.ping_seconds, self._tick)

    def _end(self) -> None:
        super()._end()
        if self.open:
            self.open = False
            self._partial = None
            self._inbox.clear()
            self._outbox.clear()
            self._owner.closed(self)
