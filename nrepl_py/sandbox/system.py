"""The kernel as Python calls it: functions of libc and bare system calls, through ctypes.

ctypes takes milliseconds to import, so nothing does before the first call.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from typing import Any, List, Mapping, Union

MACHINES = ("x86_64", "aarch64")
"""The instruction sets whose system calls the sandbox knows by number, as `uname -m` calls them."""

_PR_SET_NO_NEW_PRIVS = 38  # prctl(2)


class Unsupported(Exception):
    """This machine or this Python cannot do it; the message is a sentence that says why."""


def machine() -> str:
    """The instruction set this process runs on, one of MACHINES. Raises Unsupported on any other."""
    if not sys.platform.startswith("linux"):
        raise Unsupported(f"the sandbox needs Linux, and this is {sys.platform}")
    name = os.uname().machine
    if name not in MACHINES:
        raise Unsupported(f"the sandbox knows the system calls of {' and '.join(MACHINES)}, and this machine is {name}")
    if sys.maxsize < 2**32:
        raise Unsupported(f"the sandbox needs a 64-bit Python, and this one has 32 bits on {name}")
    return name


def call(function: str, *arguments: Any) -> int:
    """Call `function` of libc and return what it returned, an int.

    Of the arguments, integers are passed as C longs, None as NULL, text as a path, bytes as the address of a
    buffer that is only read, and what ctypes made as it is. Raises OSError(errno, "function: why") where the
    function returned -1, with ENOSYS where this libc has no such function; ValueError for a path with a NUL.
    """
    try:
        found = getattr(_libc(), function)
    except AttributeError:
        raise OSError(errno.ENOSYS, f"{function}: this C library has no such function") from None
    return _checked(function, found(*_passed(arguments)))


def syscall(number: Union[int, Mapping[str, int]], *arguments: Any, what: str = "") -> int:
    """Make the system call of that number, which may be given by machine, and return its result.

    Arguments and errors are as in `call`; `what` is its name in the error.
    """
    if not isinstance(number, int):
        number = number[machine()]
    return _checked(what or f"syscall {number}", _libc().syscall(*_passed((number, *arguments))))


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    """prctl(2). Errors are as in `call`."""
    return call("prctl", option, a, b, c, d)


def no_new_privs() -> None:
    """Nothing that this thread or its descendants exec gains privileges. A filter may be installed from then on."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def fork() -> int:
    """fork(2), without what Python does in a child. For a process of one thread; the child must not start any."""
    import ctypes

    return _checked("fork", ctypes.PyDLL(None, use_errno=True).fork())  # which keeps the lock of the interpreter


@functools.lru_cache(maxsize=None)
def _libc() -> Any:
    try:
        import ctypes
    except ImportError:
        raise Unsupported("the sandbox needs ctypes, and this Python was built without it") from None
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _passed(arguments: Any) -> List[Any]:
    import ctypes

    passed = []
    for argument in arguments:
        if isinstance(argument, int):
            argument = ctypes.c_long(argument)  # ctypes alone would cut it to 32 bits
        elif isinstance(argument, str):
            argument = _path(argument)
        passed.append(argument)
    return passed


def _path(text: str) -> bytes:
    path = os.fsencode(text)
    if b"\0" in path:  # C would read what stands before it: another path than the one that was checked
        raise ValueError(f"a path has no NUL: {text!r}")
    return path


def _checked(what: str, result: int) -> int:
    if result != -1:
        return result
    import ctypes

    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")
