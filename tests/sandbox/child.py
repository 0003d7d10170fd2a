"""Children of a test that confine themselves and tell what they find, as this user or as one without privileges."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
import traceback
import warnings
from collections.abc import Callable
from typing import TypeVar

import pytest

from nrepl_py.sandbox import system

Found = TypeVar("Found")


def _is_known() -> bool:
    try:
        system.machine()
    except system.Unsupported:
        return False
    return True


on_known_machines = pytest.mark.skipif(not _is_known(), reason="the sandbox is for Linux on the machines it knows")

NOBODY = 65534  # no file, process or privilege is this user's
USERS = (0, NOBODY) if os.geteuid() == 0 else (os.geteuid(),)
"""As whom the children of this run can be."""


class Killed(Exception):
    """The child was ended by this signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def told(work: Callable[[], Found], *, user: int = USERS[0], before: Callable[[], object] = lambda: None) -> Found:
    """What `work` returns in a forked child that is `user`. Raises Killed, or AssertionError with its traceback.

    `before` runs first, and as the user of this run.
    """
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the thread that watches the time
        pid = os.fork()
    if pid == 0:
        os.close(ours)
        _be_child(theirs, work, user, before)
    os.close(theirs)
    with open(ours, "rb") as stream:
        answer = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        raise Killed(-status)
    assert status == 0, answer.decode()
    found: Found = pickle.loads(answer)
    return found


def _be_child(answers: int, work: Callable[[], object], user: int, before: Callable[[], object]) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # being killed is no accident here
        os.setsid()  # no terminal of ours can be hung up or typed into
        before()
        if user != os.geteuid():
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        answer, status = pickle.dumps(work()), 0
    except BaseException:
        answer, status = traceback.format_exc().encode(), 1
    os.write(answers, answer)
    os._exit(status)


def refusal(work: Callable[[], object]) -> str | None:
    """The name of the errno with which `work` is refused; None where it is not."""
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return None
