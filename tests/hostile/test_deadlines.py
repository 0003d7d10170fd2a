"""Clients that are slow, silent, many or gone: every wait has a deadline and every number a bound.

The deadlines and bounds are lowered, so that reaching them takes little.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from pathlib import Path

from tests.contract.driver import Message, Session
from tests.hostile.harness import PATIENCE, Attack, Raw, dropped, frame, request, status
from tests.hostile.places import places

PLACES = places("sandbox", users=(False,))  # what is tried here is the same for each of them
# A ping unanswered for two seconds: the innocent one, whose process is this one, may have to wait for a processor.
LIMITS = {
    "handshake_seconds": 1, "stall_seconds": 1, "ping_seconds": 2, "max_connections": 20, "outbox_bytes": 1 << 20,
    "stop_grace_seconds": 0.2,
}  # fmt: skip

OVER_CAP = 100  # connections past the bound that still get an answer
CROWD = 125  # connections at once: more than both together, and no more than the kernel keeps for a busy server


def test_slow_loris_in_the_handshake(attack: Attack) -> None:
    slow = [attack.raw() for _ in range(15)]
    text = request(attack.victim)
    ended: set[Raw] = set()
    for byte in text[:-1]:  # never the whole of it
        for raw in slow:
            raw.send(bytes([byte]))
        with suppress(BlockingIOError):
            ended |= {raw for raw in slow if raw.socket.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""}
        if byte == ord(":"):
            attack.innocent_is_served()
    assert all(raw.rest() == b"" for raw in slow)
    attack.innocent_is_served()


def test_slow_loris_between_fragments(attack: Attack) -> None:
    begun = [frame(1, b"{", fin=False), frame(1, b"{", length=100), b"\x81", frame(1, b'{"a":"', fin=False) + b"\x00"]
    slow = [attack.upgraded() for _ in begun]
    for raw, data in zip(slow, begun, strict=True):
        raw.send(data)
    attack.innocent_is_served()
    assert [raw.close_code() for raw in slow] == [1008] * len(slow)
    # Nor does a fragment now and then put the deadline off.
    dripping = attack.upgraded()
    dripping.send(frame(1, b'{"a":"', fin=False))
    dripping.socket.settimeout(0.05)
    deadline = time.monotonic() + PATIENCE
    code = None
    while code is None:
        assert time.monotonic() < deadline
        dripping.send(frame(0, b"x", fin=False))
        with suppress(TimeoutError):
            code = dripping.close_code()
    assert code == 1008


def test_a_stranger_without_a_hello(attack: Attack) -> None:
    strangers = [attack.raw() for _ in range(15)]
    for raw in strangers:
        raw.send(request(attack.victim, Authorization=None))
        assert status(raw.head()) == 101
    attack.innocent_is_served()
    assert {raw.close_code() for raw in strangers} == {4401}


def test_strangers_who_talk_without_end(attack: Attack) -> None:
    """Before the token, and after the refusal, much costs no more than to read it."""
    for _ in range(10):
        refused, waiting = attack.raw(), attack.raw()
        refused.send(b"nonsense\r\n\r\n" + bytes(1 << 20))
        waiting.send(request(attack.victim, Authorization=None) + frame(9, b"") * 100_000)
        attack.innocent_is_served()
        refused.close()
        waiting.close()


def test_a_half_open_peer(attack: Attack) -> None:
    """It is there as far as TCP can tell, and never answers a ping."""
    silent = attack.upgraded()
    attack.innocent_is_served()
    assert silent.frame() == (9, b"")
    assert silent.rest() == b""


def test_ten_thousand_connections(attack: Attack) -> None:
    """As many as are let in at once; those beyond get 503, those far beyond nothing, and the next ones are served."""
    answered: list[bytes] = []
    for _ in range(10_000 // CROWD):
        crowd = [attack.raw() for _ in range(CROWD)]
        for raw in crowd:
            raw.send(request(attack.victim))
        attack.innocent_is_served()
        assert attack.victim.descriptors() < LIMITS["max_connections"] + OVER_CAP + 100
        for raw in crowd:
            with suppress(ConnectionError):
                answered.append(raw.head())
        for raw in crowd:
            raw.close()
        attack.innocent_is_served()  # what the server did not accept yet, the next crowd would wait for
    codes = {status(head) for head in answered}
    assert codes == {101, 503}
    deadline = time.monotonic() + PATIENCE
    while True:
        raw = attack.raw()
        raw.send(request(attack.victim))
        with suppress(ConnectionError):
            if status(raw.head()) == 101:
                return
        assert time.monotonic() < deadline, "the server does not recover"


def deaf(attack: Attack, code: str = "while True: print('x' * 8000)") -> tuple[Raw, str]:
    """A client that prints, without end unless told otherwise, and reads nothing; and its session."""
    raw = attack.upgraded()
    raw.send(frame(1, b'{"op":"clone","id":"c","name":"loud"}'))
    while (message := raw.message()).get("id") != "c":
        pass
    loud = message["new-session"]
    raw.send(frame(1, json.dumps({"op": "eval", "id": "e", "session": loud, "code": code}).encode()))
    return raw, loud


def test_a_client_that_never_reads(attack: Attack) -> None:
    raw, loud = deaf(attack)
    attack.innocent_is_served()
    peer = attack.peer()
    dropped(peer, loud)
    attack.innocent_is_served()
    # Its session goes on, and belongs to whoever comes next.
    assert peer.request("interrupt", session=loud).last["status"] == ["done"]
    assert peer.request("eval", session=loud, code="6 * 7").value == "42"
    # What had left before arrives, to the last whole frame; then it is told why, or cut off.
    with suppress(ConnectionError):
        assert raw.close_code() == 4408


def test_a_client_that_was_dropped_resumes(attack: Attack) -> None:
    """It reads nothing until it is dropped, then what had left before, then the rest: nothing is missing."""
    lines = [f"{number} {'x' * 8000}\n" for number in range(1500)]  # more than the system's buffers and the outbox take
    raw, loud = deaf(attack, "for number in range(1500): print(number, 'x' * 8000)")
    attack.innocent_is_served()
    peer = attack.peer()
    dropped(peer, loud)
    seen: list[Message] = []
    with suppress(ConnectionError):
        while (found := raw.frame())[0] != 8:
            seen.append(json.loads(found[1]))
    seen = [message for message in seen if "seq" in message]
    id = peer.send("attach", session=loud, since=seen[-1]["seq"])
    while (message := peer.receive()).get("id") != id or "seq" in message:
        seen.append(message)
    assert message["status"] == ["done"]
    while not any("done" in message.get("status", ()) for message in seen):
        seen.append(peer.receive())
    assert [message["seq"] for message in seen] == list(range(seen[0]["seq"], seen[-1]["seq"] + 1))
    assert "".join(message.get("out", "") for message in seen) == "".join(lines)
    assert len([message for message in seen if "done" in message.get("status", ())]) == 1


def test_observers_that_never_read(attack: Attack) -> None:
    """They are dropped as soon as they have had their fill, and the one who asked misses nothing."""
    peer = attack.peer()
    loud = Session(peer, name="watched")
    deaf_ones = [attack.upgraded() for _ in range(5)]
    for raw in deaf_ones:
        raw.send(frame(1, b'{"op":"attach","id":"a","session":"watched"}'))
        assert raw.message()["status"] == ["done"]
    attack.innocent_is_served()
    assert loud.ok("for number in range(4000): print(number, 'x' * 8000)").out.count("\n") == 4000
    attack.innocent_is_served()
    dropped(peer, loud.id, left=1)
    for raw in deaf_ones:
        with suppress(ConnectionError):
            assert raw.close_code() == 4408


def test_disconnected_in_the_middle_of_an_eval(attack: Attack) -> None:
    """A session outlives its connections; an eval without a session ends with its own."""
    alone = attack.peer()
    spawn = "import subprocess, time\nchild = subprocess.Popen(['sleep', '1000.25'])\nprint('on', flush=True)\n"
    alone.until(alone.send("eval", code=spawn + "time.sleep(1000)"), key="out")
    kept = attack.session(name="kept")
    mark = attack.victim.directory / "work" / "went on"  # where the server was started, and its sessions may write
    started = kept.start(
        f"print('on')\nimport time\nwhile not __import__('os').path.exists({str(mark)!r}): time.sleep(0.01)\n'went on'"
    )
    kept.peer.until(started, key="out")
    for peer in (alone, kept.peer):
        peer.socket.socket.shutdown(socket.SHUT_RDWR)  # without a word
    attack.innocent_is_served()
    gone(b"sleep\x001000.25\0")
    other = attack.peer()
    (entry,) = [e for e in other.request("ls-sessions").last["sessions"] if e["name"] == "kept"]
    assert entry["state"] == "busy"
    mark.touch()
    assert other.request("eval", session="kept", code="_").value == "'went on'"


def gone(command: bytes) -> None:
    """Wait until no process has this command line: its number is another one here than in its session."""
    deadline = time.monotonic() + PATIENCE
    while any(_command(process) == command for process in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < deadline, f"{command!r} is an orphan"
        time.sleep(0.01)


def _command(process: Path) -> bytes:
    with suppress(OSError):
        return (process / "cmdline").read_bytes()
    return b""


def test_sessions_abandoned_while_they_start(attack: Attack) -> None:
    for _ in range(20):
        raw = attack.upgraded()
        raw.send(frame(1, b'{"op":"clone","id":"1"}') * 2)
        raw.close()
    attack.innocent_is_served()
    peer = attack.peer()
    deadline = time.monotonic() + PATIENCE
    while len(peer.request("ls-sessions").last["sessions"]) > 1:
        assert time.monotonic() < deadline, "sessions nobody can know of are kept"
        time.sleep(0.02)
    Session(peer).close()
