"""What a session's Python code writes, as its `sys.stdout` and `sys.stderr`.

Output is merged before it is sent: the first line of an eval leaves at once, sustained output every
10 ms or 8 KiB, the rest when the eval ends.
"""

from __future__ import annotations

import io
import threading
import time
from typing import Any, Dict, List, Optional, Tuple

from . import plain, wire
from .tags import TAG

_MERGE_SECONDS = 0.010  # a person sees no delay, and a flood becomes 100 messages a second
_MERGE_CHARS = 8192
_PIECE_CHARS = 1 << 20  # one frame's text at most; the router cuts it further


class Relay:
    """Merges output and hands it to the router, in the order it was written."""

    def __init__(self, channel: wire.Channel) -> None:
        self._channel = channel
        self.lock = threading.RLock()
        self._key: Tuple[str, Optional[int]] = ("out", None)
        self._parts: List[str] = []
        self._chars = 0
        self._sent_at = 0.0
        self._wake = threading.Lock()
        self._wake.acquire()
        self.timer: Optional[threading.Thread] = None
        self._closed = False
        self._files: Optional[Dict[str, Any]] = None
        self.running: Optional[int] = None

    def write(self, stream: str, serial: Optional[int], text: str) -> None:
        """`stream` is `out` or `err`."""
        if self._files is not None:
            self._files[stream].write(text)
            return
        with self.lock:
            if (stream, serial) != self._key:
                self._send()
                self._key = (stream, serial)
            waiting = bool(self._parts)
            self._parts.append(text)
            self._chars += len(text)
            late = time.monotonic() - self._sent_at >= _MERGE_SECONDS
            if self._chars >= _MERGE_CHARS or (late and text.endswith("\n")):
                self._send()
            elif not waiting:
                self._set_timer()

    def flush(self) -> None:
        if self._files is not None:
            for file in self._files.values():
                file.flush()
        elif self._parts:
            with self.lock:
                self._send()

    def begin(self, serial: int) -> None:
        """An eval begins: its first line will leave at once, and what has no tag is taken for its own."""
        self.running = serial
        self._sent_at = 0.0

    def end(self) -> None:
        if self._parts or self._files is not None:
            self.flush()
        self.running = None

    def close(self) -> None:
        """The session is over: end the thread that flushes late output."""
        with self.lock:
            self._closed = True
            if self._wake.locked():
                self._wake.release()
        if self.timer is not None:
            self.timer.join(1)  # second; it has at most one last text to flush, to a channel that is closed

    def become_plain(self) -> None:
        """In a forked child, whose parent keeps the channel: write to descriptors 1 and 2."""
        self.lock = threading.RLock()
        self._parts = []
        self._files = {"out": plain_file(1), "err": plain_file(2)}

    def become(self, channel: wire.Channel) -> None:
        """In a copy of this process, which has a channel of its own: no other thread is there."""
        self._channel = channel
        self._wake = threading.Lock()
        self._wake.acquire()
        self.timer = None

    def _send(self) -> None:
        if not self._parts:
            return
        with self._channel.shield:
            text = "".join(self._parts)
            self._parts = []
            self._chars = 0
            self._sent_at = time.monotonic()
            stream, serial = self._key
            for start in range(0, len(text), _PIECE_CHARS):
                header: Dict[str, Any] = {"say": "output", "stream": stream, "serial": serial}
                self._channel.send(header, plain.text(text[start : start + _PIECE_CHARS]))

    def _set_timer(self) -> None:
        if self.timer is None:
            self.timer = threading.Thread(target=self._flush_late, name="nrepl-py output", daemon=True)
            self.timer.start()
        if self._wake.locked():
            self._wake.release()

    def _flush_late(self) -> None:
        while True:
            self._wake.acquire()
            if self._closed:
                return
            time.sleep(_MERGE_SECONDS)
            try:
                self.flush()
            except OSError:
                return  # the router is gone, and this process with it


class Untagged:
    """Where output goes that has no tag: to the eval that runs, if one does."""

    def __init__(self, relay: Relay, stream: str) -> None:
        self._relay = relay
        self._stream = stream

    def write(self, text: str) -> None:
        self._relay.write(self._stream, self._relay.running, text)

    def flush(self) -> None:
        self._relay.flush()


class Output(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a session. Its descriptor, for children and C code, is a real one."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, stream: str, fd: Optional[int], fallback: Any) -> None:
        """`fallback` is the file for code that has no tag."""
        self._stream = stream
        self._fd = fd
        self._fallback = fallback
        self.buffer = _Bytes(self)

    @property
    def name(self) -> str:
        return "<stdout>" if self._stream == "out" else "<stderr>"

    mode = "w"

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not %s" % type(text).__name__)
        text = str.__str__(text)  # a subclass may have changed everything but what it holds
        tag = TAG.get()
        if tag is not None:
            tag.relay.write(self._stream, tag.serial, text)
        else:
            self._fallback.write(text)
        return len(text)

    def flush(self) -> None:
        tag = TAG.get()
        if tag is not None:
            tag.relay.flush()
        else:
            self._fallback.flush()

    def fileno(self) -> int:
        if self._fd is None:
            raise io.UnsupportedOperation("this session has no descriptor for its output")
        return self._fd

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def reconfigure(self, **options: Any) -> None:
        """Accepted and without effect: the text goes to the router as it is."""

    def close(self) -> None:
        """Without effect: the session's output outlives any one user of it."""


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, data: Any) -> int:
        view = bytes(data)
        self._output.write(view.decode("utf-8", "backslashreplace"))
        return len(view)

    def flush(self) -> None:
        self._output.flush()

    def fileno(self) -> int:
        return self._output.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Without effect, as for the text stream."""


def plain_file(fd: int) -> Any:
    """An ordinary line-buffered text file over a descriptor, which stays open."""
    raw = io.FileIO(fd, "wb", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)
