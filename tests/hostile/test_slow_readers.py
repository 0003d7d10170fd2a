"""Clients that read slowly or not at all: the server's memory stays small, and what they were promised arrives.

The bounds are the defaults, but for an outbox that is full sooner where a test waits for that.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request

import pytest

from tests.contract.driver import Session
from tests.hostile.harness import PATIENCE, Attack, Raw, Victim, dropped, frame
from tests.hostile.places import places

PLACES = places("sandbox", users=(False,))  # what is tried here is the same for each of them
FOREVER = "while True: print('x' * 100)"
FLOOD_BYTES = 64 << 20  # of output that is read beside those who do not: more than all that may be kept of it


def observer(attack: Attack, session: str) -> Raw:
    """A client that attaches and reads nothing more."""
    raw = attack.upgraded()
    raw.send(frame(1, json.dumps({"op": "attach", "id": "a", "session": session}).encode()))
    assert raw.message()["status"] == ["done"]
    return raw


def outbox_max(victim: Victim) -> int:
    """Bytes that wait for the slowest client."""
    request = urllib.request.Request(f"http://127.0.0.1:{victim.port}/metrics")
    request.add_header("Authorization", f"Bearer {victim.token}")
    with urllib.request.urlopen(request) as page:
        found = re.search(r"^nrepl_outbox_max_bytes (.*)$", page.read().decode(), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


def until_full(victim: Victim, size: int) -> None:
    """Wait until that much waits for someone."""
    deadline = time.monotonic() + PATIENCE
    while outbox_max(victim) < size:
        assert time.monotonic() < deadline, "nobody is slow"
        time.sleep(0.02)


def test_ten_that_never_read_and_a_session_that_prints_for_ever(attack: Attack) -> None:
    """One of them has asked for it, so the session waits. That the server stays small is checked as the attack ends."""
    asker = attack.upgraded()
    asker.send(frame(1, b'{"op":"clone","id":"c","name":"loud"}'))
    while asker.message().get("id") != "c":
        pass
    for _ in range(9):
        observer(attack, "loud")
    asker.send(frame(1, json.dumps({"op": "eval", "id": "e", "session": "loud", "code": FOREVER}).encode()))
    until_full(attack.victim, 4 << 20)
    attack.innocent_is_served()


def test_ten_that_never_read_and_one_that_does(attack: Attack) -> None:
    """So the session need not wait: the ten are dropped when they have had their fill."""
    loud = attack.session(name="watched")
    for _ in range(10):
        observer(attack, "watched")
    id = loud.start(FOREVER)
    size = 0
    while size < FLOOD_BYTES:
        size += len(loud.peer.receive().get("out", ""))
    attack.innocent_is_served()
    loud.request("interrupt")
    loud.peer.until(id)
    dropped(loud.peer, loud.id, left=1)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_sixty_thousand_lines_for_a_client_that_pauses(attack: Attack, codec: str) -> None:
    # A system that gives its sockets 32 MiB, as some do, would take it all.
    slow = Session(attack.peer(codec, receive_bytes=64 << 10))
    padding = "." * 150
    id = slow.start(f"for i in range(60_000): print(i, {padding!r}, flush=True)")
    out = ""
    while len(out) < 20_000 * len(padding):
        out += slow.peer.until(id, key="out").out
    until_full(attack.victim, 1 << 20)
    attack.innocent_is_served()
    rest = slow.peer.until(id)
    assert out + rest.out == "".join(f"{i} {padding}\n" for i in range(60_000))
    assert rest.last["status"] == ["done"]
