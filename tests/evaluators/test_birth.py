"""The first word of a clone, from code that may say anything: who said it is the kernel's to tell."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from nrepl_py.errors import Busy, StartFailed
from nrepl_py.evaluators import processes
from nrepl_py.evaluators.birth import Birth

BORN = {"say": "born", "threads": [], "children": 0, "sockets": 0, "files": 0}


@pytest.fixture
async def birth() -> Iterator[Birth]:  # type: ignore[misc]
    birth = Birth()
    yield birth
    birth.close()


def in_child(fd: int, *data: bytes) -> int:
    """The pid of a child that says these and waits for an answer."""
    pid = os.fork()
    if pid == 0:
        try:
            os.closerange(3, fd)  # the other end among them
            os.closerange(fd + 1, 1024)
            with socket.socket(fileno=fd) as sock:
                for one in data:
                    sock.send(one)
                os._exit(0 if sock.recv(1) == b"g" else 1)
        finally:
            os._exit(1)
    os.close(fd)
    return pid


async def test_the_kernel_names_the_sender(birth: Birth) -> None:
    pid = in_child(birth.give(), json.dumps(BORN | {"threads": ["a"], "pid": 1}).encode())
    pidfd, left = await birth.word()
    assert processes.pid_of(pidfd) == pid
    assert left == {"threads": ("a",), "children": 0, "sockets": 0, "files": 0}
    assert not processes.has_ended(pidfd)
    birth.go()
    assert os.waitpid(pid, 0)[1] == 0
    os.close(pidfd)


async def test_only_the_first_word_counts(birth: Birth) -> None:
    pid = in_child(birth.give(), json.dumps(BORN).encode(), b"garbage", json.dumps(BORN).encode())
    pidfd, _ = await birth.word()
    assert processes.pid_of(pidfd) == pid
    birth.close()  # nobody says go
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    assert os.waitpid(pid, 0)[1] == 1 << 8
    os.close(pidfd)


@pytest.mark.parametrize(
    "said",
    [
        b"garbage", b"\xff", b"{}", b"[]", b'{"say": "born", "files": -1}', b'{"say": "lost"}',
        json.dumps(BORN | {"threads": ["x"] * 21}).encode(), json.dumps(BORN | {"threads": ["x" * 401]}).encode(),
        json.dumps(BORN | {"files": 10**30}).encode(), b" " * (1 << 15) + json.dumps(BORN).encode(),
        json.dumps({"say": "refused", "why": "system", "error": "too many processes"}).encode(),
        json.dumps({"say": "refused", "why": "no idea"}).encode(),
    ],
)  # fmt: skip
async def test_garbage(birth: Birth, said: bytes) -> None:
    with socket.socket(fileno=birth.give()) as sock:
        sock.send(said)
        with pytest.raises(StartFailed):
            await birth.word()


async def test_not_a_word(birth: Birth) -> None:
    os.close(birth.give())
    with pytest.raises(StartFailed, match="ended"):
        await birth.word()


async def test_refusals(birth: Birth) -> None:
    with socket.socket(fileno=birth.give()) as sock:
        sock.send(json.dumps(BORN | {"say": "refused", "why": "threads", "threads": ["one", "two"]}).encode())
        with pytest.raises(Busy, match="one, two"):
            await birth.word()


async def test_descriptors_that_come_along_are_not_taken(birth: Birth) -> None:
    """However many: they would stay open here."""
    before = len(os.listdir("/proc/self/fd"))
    with socket.socket(fileno=birth.give()) as sock:
        rights = struct.pack("10i", *[sock.fileno()] * 10)
        sock.sendmsg([json.dumps(BORN).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        try:
            pidfd, _ = await birth.word()
            os.close(pidfd)
        except StartFailed:
            pass
        assert len(os.listdir("/proc/self/fd")) == before
