"""What a session's Python code writes and reads: every piece of output carries its eval's tag.

A tag says which eval (serial) of which worker (relay) some code belongs to. It travels in a context
variable: the main thread's is set when an eval starts, tasks inherit it, and `carry_tags` makes
threads and thread pools inherit it too. So the output of a thread that an eval left behind still
has that eval's serial.

Output is merged before it is sent: the first line of an eval leaves at once, sustained output every
10 ms or 8 KiB, the rest when the eval ends.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from contextvars import ContextVar, copy_context
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from . import plain, wire

_MERGE_SECONDS = 0.010  # a person sees no delay, and a flood becomes 100 messages a second
_MERGE_CHARS = 8192
_PIECE_CHARS = 1 << 20  # one frame's text at most; the router cuts it further


class Tag(NamedTuple):
    """Whose output this is; `serial` None where no eval can be named."""

    relay: Relay
    serial: Optional[int]


TAG: ContextVar[Optional[Tag]] = ContextVar("nrepl_py.tag", default=None)


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


class Input(io.TextIOBase):
    """`sys.stdin` of a session: asks the client, one line at a time.

    What is fed belongs to the eval that asked; what it leaves unread dies with it.
    """

    encoding = "utf-8"
    errors = "strict"
    name = "<stdin>"
    mode = "r"

    def __init__(self, ask: Callable[[int, str, bool], None]) -> None:
        """`ask(serial, prompt, password)` tells the router that input is wanted."""
        self._ask = ask
        self._condition = threading.Condition()
        self._serial = 0
        self._allowed = False
        self._text = ""
        self._ends = 0
        self._waiting = 0
        self.buffer = _InputBytes(self)

    def begin(self, serial: int, allowed: bool) -> None:
        self._serial, self._allowed = serial, allowed
        if self._waiting or self._text or self._ends:
            with self._condition:
                self._text, self._ends = "", 0
                self._condition.notify_all()

    def become(self) -> None:
        """In a copy of this process, where nobody waits."""
        self._condition = threading.Condition()
        self._text, self._ends, self._waiting = "", 0, 0

    def end(self) -> None:
        """The eval ended: whoever still waits gets end of file."""
        self.begin(0, False)

    def wake(self) -> None:
        """Let who waits look around: an exception may have been set for it."""
        with self._condition:
            self._condition.notify_all()

    def feed(self, serial: int, text: str) -> None:
        """Input came; an empty text is one end of file."""
        with self._condition:
            if serial == self._serial:
                self._text += text
                self._ends += not text
                self._waiting = 0
                self._condition.notify_all()

    def readline(  # type: ignore[override]
        self, size: Optional[int] = -1, prompt: str = "", password: bool = False
    ) -> str:
        """One line with its newline; "" at end of file. `prompt` is shown where the user types."""
        with self._condition:
            while "\n" not in self._text and not self._ends:
                if not self._more(prompt, password):
                    break
                prompt = ""
            end = self._text.find("\n") + 1 or len(self._text)
            if size is not None and 0 <= size < end:
                end = size
            line, self._text = self._text[:end], self._text[end:]
            if not line and self._ends:
                self._ends -= 1
            return line

    def _more(self, prompt: str, password: bool) -> bool:
        """Wait until something comes; False where nothing can: that is end of file."""
        if not self._allowed:
            return False
        serial = self._serial
        if self._waiting != serial:
            self._waiting = serial
            self._ask(serial, prompt, password)
        try:
            while self._waiting == serial == self._serial:
                self._condition.wait()
        except BaseException:
            self._waiting = 0
            raise
        return serial == self._serial

    def read(self, size: Optional[int] = -1) -> str:
        parts = []
        wanted = -1 if size is None else size
        while wanted != 0:
            line = self.readline(wanted)
            parts.append(line)
            if not line:
                break
            if wanted > 0:
                wanted -= len(line)
        return "".join(parts)

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.readline, "")

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        raise io.UnsupportedOperation("this session's input comes from the client, not from a descriptor")

    def close(self) -> None:
        """Without effect: `exit()` closes sys.stdin, and the session lives on."""


class _InputBytes(io.RawIOBase):
    """`sys.stdin.buffer`."""

    def __init__(self, source: Input) -> None:
        self._source = source

    def readline(self, size: Optional[int] = -1) -> bytes:
        return self._source.readline(size).encode("utf-8", "surrogateescape")

    def read(self, size: int = -1) -> bytes:
        return self._source.read(size).encode("utf-8", "surrogateescape")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """Without effect, as for the text stream."""


def ask_line(source: Input, prompt: str, password: bool) -> str:
    """One line without its newline. Raises EOFError at end of file."""
    sys.stdout.flush()
    line = source.readline(prompt=prompt, password=password)
    if not line:
        raise EOFError("EOF when reading a line")
    return line[:-1] if line.endswith("\n") else line


def plain_file(fd: int) -> Any:
    """An ordinary line-buffered text file over a descriptor, which stays open."""
    raw = io.FileIO(fd, "wb", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True)


def carry_tags() -> Callable[[], None]:
    """Make threads inherit the tag of those who start them; gives a function that undoes it."""
    start, bootstrap = threading.Thread.start, threading.Thread._bootstrap  # type: ignore[attr-defined]

    def tagged_start(self: Any) -> None:
        self._nrepl_py_tag = TAG.get()
        start(self)

    def tagged_bootstrap(self: Any) -> None:
        TAG.set(getattr(self, "_nrepl_py_tag", None))
        bootstrap(self)

    threading.Thread.start = tagged_start  # type: ignore[method-assign]
    threading.Thread._bootstrap = tagged_bootstrap  # type: ignore[attr-defined]

    def undo() -> None:
        threading.Thread.start = start  # type: ignore[method-assign]
        threading.Thread._bootstrap = bootstrap  # type: ignore[attr-defined]

    return undo


def carry_through_pools(module: Any) -> None:
    """The same for `concurrent.futures.thread`, whose threads outlive the eval that made them."""
    submit = module.ThreadPoolExecutor.submit

    def tagged_submit(self: Any, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        tag = TAG.get()
        return submit(self, fn if tag is None else _Tagged(tag, fn), *args, **kwargs)

    module.ThreadPoolExecutor.submit = tagged_submit


class _Tagged:
    """A call that runs under the tag of the one who submitted it."""

    def __init__(self, tag: Tag, fn: Callable[..., Any]) -> None:
        self._tag = tag
        self._fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        context = copy_context()
        context.run(TAG.set, self._tag)
        return context.run(self._fn, *args, **kwargs)
