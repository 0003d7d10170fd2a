"""What passes between the router and a worker, whoever owns it: frames for its channels, and the shared word."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct

from nrepl_py import codec
from nrepl_py.evaluators import bundle
from nrepl_py.evaluators.base import Feed, Run, ToWorker
from nrepl_py.evaluators.link import Link

_WORD = struct.Struct("<Q")
_STAGES = ((1, "cancel"), (2, "sigint"))  # the bits of worker/interrupt.py
_TRACE_BYTES = 16 << 10  # for faulthandler's account of a crash: some hundred lines of Python's stacks


def tell(link: Link, message: ToWorker) -> None:
    """Hand the message over; see worker/wire.py for the frames."""
    if isinstance(message, Run):
        link.run(message.serial, codec.to_json(message), message.max_data if message.data else 0)
    elif isinstance(message, Feed):
        link.tell_aside({"do": "feed", "serial": message.serial}, message.text.encode("utf-8", "surrogatepass"))
    else:
        header = {"do": "ask", "number": message.number, "what": message.what, "seconds": message.seconds}
        link.tell_aside(header, codec.to_json(message.fields))


def new_word() -> int:
    """The file shared with a worker: the interrupt word, and behind it room for its last words. Its size is sealed:
    a worker must not be able to make reads of it fail, nor to fill it."""
    word = bundle.anonymous_file("nrepl-py-interrupt")
    os.ftruncate(word, 2 * _WORD.size + _TRACE_BYTES)
    if hasattr(fcntl, "F_ADD_SEALS"):
        with contextlib.suppress(OSError):  # a temporary file, where there is no memfd
            fcntl.fcntl(word, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return word


def aim(word: int, serial: int) -> None:
    """Name the eval that is to be interrupted."""
    os.pwrite(word, _WORD.pack(serial), 0)


def stages_of(word: int, serial: int) -> tuple[str, ...]:
    """What interrupting that eval has done so far, by the worker's own account."""
    (struck,) = _WORD.unpack(os.pread(word, _WORD.size, _WORD.size))
    return tuple(name for bit, name in _STAGES if struck >> 8 == serial and struck & bit)


def trace_of(word: int) -> str:
    """What faulthandler had to say of the worker's end; empty where it did not end by a fault."""
    text = os.pread(word, _TRACE_BYTES, 2 * _WORD.size).replace(b"\0", b"")
    return text.decode("utf-8", "backslashreplace").strip()
