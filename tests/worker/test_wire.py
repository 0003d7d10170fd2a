"""Frames on a real socket pair: whole, in order, from many threads, never torn by an interrupt."""

from __future__ import annotations

import array
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from nrepl_py.worker import wire


@pytest.fixture
def ends() -> Iterator[tuple[wire.Channel, wire.Channel]]:
    one, two = socket.socketpair()
    yield wire.Channel(one), wire.Channel(two)
    one.close()
    two.close()


def test_a_frame_arrives_as_it_was_sent(ends: tuple[wire.Channel, wire.Channel]) -> None:
    one, two = ends
    for blobs in ([], [b""], [b"a", b"", b"\x00" * 10]):
        one.send({"say": "x", "é": [1, None]}, *blobs)
        header, received = two.receive()
        assert header["é"] == [1, None]
        assert received == blobs


def test_large_frames_from_many_threads(ends: tuple[wire.Channel, wire.Channel]) -> None:
    one, two = ends
    sizes = [1, 70_000, 3_000_000]
    threads = [threading.Thread(target=one.send, args=({"size": size}, b"x" * size)) for size in sizes * 4]
    for thread in threads:
        thread.start()
    for _ in threads:
        header, (blob,) = two.receive()
        assert blob == b"x" * header["size"]
    for thread in threads:
        thread.join()


def test_descriptors_come_along(ends: tuple[wire.Channel, wire.Channel]) -> None:
    one, two = ends
    read, write = os.pipe()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write]))]
    one.sock.sendmsg([b"".join(wire.pack({"do": "stdio"}))], rights)
    assert two.receive()[0] == {"do": "stdio"}
    (received,) = two.descriptors
    os.write(received, b"through")
    assert os.read(read, 10) == b"through"
    for fd in (read, write, received):
        os.close(fd)


def test_the_other_end_is_given_time_to_read(ends: tuple[wire.Channel, wire.Channel]) -> None:
    one, two = ends
    one.send({"say": "x"})
    read = threading.Event()

    def reads() -> None:
        two.receive()
        read.set()

    thread = threading.Timer(0.05, reads)
    thread.start()
    one.let_read(30)
    # It was taken out of the socket just now: what is left is to be told of it.
    assert read.wait(60)
    thread.join()
    one.let_read(30)
    one.send({"say": "x"})
    one.let_read(0)  # nobody reads: it goes on


def test_looking_before_sleeping(ends: tuple[wire.Channel, wire.Channel]) -> None:
    one, two = ends
    one.send({"number": 1})
    assert two.receive(spin=60)[0] == {"number": 1}  # it is there
    thread = threading.Timer(0.02, one.send, [{"number": 2}])
    thread.start()
    assert two.receive(spin=60)[0] == {"number": 2}  # it comes while looking
    thread.join()
    thread = threading.Timer(0.02, one.send, [{"number": 3}])
    thread.start()
    assert two.receive(spin=0.001)[0] == {"number": 3}  # and while sleeping
    thread.join()
    one.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        two.receive(spin=60)


def test_it_looks_as_long_as_it_was_told_and_no_longer(
    ends: tuple[wire.Channel, wire.Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = ends
    looks: list[int] = []

    def send_at_the_third() -> None:
        looks.append(1)
        if len(looks) == 3:
            one.send({"number": 1})

    monkeypatch.setattr(wire, "_let_others_run", send_at_the_third)
    assert two.receive(spin=60)[0] == {"number": 1}
    assert len(looks) == 3
    one.send({"number": 2})
    assert two.receive()[0] == {"number": 2}
    now = iter([0.0, 0.5, 1.0])
    monkeypatch.setattr(wire, "perf_counter", lambda: next(now))
    assert not wire.look(two._readable, 1.0)
    assert len(looks) == 4


def test_the_other_end_closing_is_end_of_file(ends: tuple[wire.Channel, wire.Channel]) -> None:
    one, two = ends
    one.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        two.receive()


class Interrupting(wire.Shield):
    """Raises once while a send waits for room, as an interrupt would."""

    raised = False

    def wait(self, block: Callable[[], object]) -> None:
        if not self.raised:
            self.raised = True
            raise KeyboardInterrupt
        block()


def test_a_torn_frame_is_finished_by_the_next_send() -> None:
    ours, theirs = socket.socketpair()
    sender, receiver = wire.Channel(ours, Interrupting()), wire.Channel(theirs)
    with pytest.raises(KeyboardInterrupt):
        sender.send({"n": 1}, b"x" * 5_000_000)
    received: list[object] = []
    reader = threading.Thread(target=lambda: received.extend([receiver.receive(), receiver.receive()]))
    reader.start()
    sender.send({"n": 2}, b"y")
    reader.join()
    assert received == [({"n": 1, "blobs": [5_000_000]}, [b"x" * 5_000_000]), ({"n": 2, "blobs": [1]}, [b"y"])]
    ours.close()
    theirs.close()
