"""Messages and frames from a client that has the token and means no good."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import msgpack
import pytest

from tests.contract.driver import Message, Peer
from tests.hostile.harness import Attack, Raw, frame, last_statuses, request
from tests.hostile.places import places

PLACES = places("sandbox", users=(False,))  # what is tried here is the same for each of them
LIMITS = {"max_sessions_per_principal": 8, "start_seconds": 60}

MIB = 1 << 20


def refused(raw: Raw) -> str:
    """The code of an error reply."""
    reply = raw.message()
    assert (reply["status"][0], reply["status"][-1]) == ("error", "done")
    assert reply["message"]
    return str(reply["status"][1])


def lives(raw: Raw) -> None:
    """The connection answers a request."""
    raw.send(frame(1, b'{"op":"describe","id":"lives"}'))
    assert raw.message()["id"] == "lives"


def exchange(peer: Peer, data: str | bytes) -> Message:
    peer.socket.send(data)
    return peer.receive()


def test_one_gib_frame_and_endless_fragments(attack: Attack) -> None:
    claimed = attack.upgraded()
    claimed.send(frame(1, b"", length=1 << 30))
    claimed.send(bytes(8 * MIB))
    attack.innocent_is_served()
    assert claimed.close_code() == 1009
    endless = attack.upgraded()
    endless.send(frame(1, b"x", fin=False))
    for _ in range(64):  # MiB, sixteen times the limit
        endless.send(frame(0, bytes(MIB), fin=False))
    attack.innocent_is_served()
    assert endless.close_code() == 1009
    empty = attack.upgraded()
    empty.send(frame(1, b'{"op":"describe",', fin=False) + frame(0, b"", fin=False) * 100_000)
    attack.innocent_is_served()
    empty.send(frame(0, b'"id":"1"}'))
    assert empty.message()["id"] == "1"


def test_a_compression_bomb(attack: Attack) -> None:
    bomb = attack.upgraded(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join(deflate.compress(bytes(MIB)) for _ in range(256)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    bomb.send(frame(1, data, reserved=0x40))
    attack.innocent_is_served()
    assert bomb.close_code() == 1002  # compression was never agreed on


def test_compression_is_never_agreed_on(attack: Attack) -> None:
    raw = attack.raw()
    raw.send(request(attack.victim, Sec_WebSocket_Extensions="permessage-deflate"))
    head = raw.head().lower()
    assert b"101" in head
    assert b"sec-websocket-extensions" not in head
    attack.innocent_is_served()


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_nesting_100_000_deep(attack: Attack, codec: str) -> None:
    peer = attack.peer(codec)
    for depth in (65, 500, 100_000):
        data: Any = "[" * depth + "]" * depth if codec == "json" else b"\x91" * depth + b"\xc0"
        assert exchange(peer, data)["status"][:2] == ["error", "unparseable"]
    attack.innocent_is_served()
    assert peer.request("eval", code="1").value == "1"


def test_a_huge_messagepack_header_allocates_nothing(attack: Attack) -> None:
    peer = attack.peer("msgpack")
    huge = [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
    huge.append(b"\xdd" + struct.pack("!I", 4 * MIB - 5))
    for data in [*huge, *(header + bytes(100) for header in huge)]:
        assert exchange(peer, data)["status"][:2] == ["error", "unparseable"]
    # Each of them claims as much as the whole frame has bytes.
    nested = (b"\xdd" + struct.pack("!I", 4 * MIB - 5000)) * 500
    assert exchange(peer, nested + bytes(4 * MIB - len(nested)))["status"][:2] == ["error", "unparseable"]
    attack.innocent_is_served()
    assert peer.request("eval", code="1").value == "1"


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_a_frame_of_nothing_but_lists_or_maps(attack: Attack, codec: str) -> None:
    """Each byte of it would become a container of seventy."""
    peer = attack.peer(codec)
    for empty in ("[]", "{}") if codec == "json" else (b"\x90", b"\x80"):
        count = 4 * MIB // (len(empty) + 1)
        lists = b"\xdd" + struct.pack("!I", 4000) + b"\xdc" + struct.pack("!H", 1000)
        data: Any = "[" + ",".join([empty] * (count - 1)) + "]" if codec == "json" else lists + empty * 3_000_000
        assert exchange(peer, data)["status"][:2] == ["error", "unparseable"]
    attack.innocent_is_served()
    # Brackets in code are none of that, nor do quotes without an end cost more than reading them once.
    code = "'" + '[{"\\"' * 100_000 + "'"
    assert peer.request("eval", code=code).status >= {"done"}
    if codec == "json":
        assert exchange(peer, '"' + '\\"[' * MIB)["status"][:2] == ["error", "unparseable"]
    attack.innocent_is_served()


def test_extension_types_are_refused(attack: Attack) -> None:
    peer = attack.peer("msgpack")
    extensions = [msgpack.ExtType(code, b"data") for code in (0, 5, 127)] + [msgpack.Timestamp(1)]
    for extension in extensions:
        for value in (extension, {"op": extension, "id": "1"}, {"op": "eval", "id": "1", "code": [extension]}):
            assert exchange(peer, msgpack.packb(value))["status"][:2] == ["error", "unparseable"]
    attack.innocent_is_served()
    assert peer.request("eval", code="1").value == "1"


def test_invalid_utf8_nan_and_endless_integers(attack: Attack) -> None:
    raw = attack.upgraded()
    bad = [b'{"op":"\xff"}', b"\xff\xfe", b'{"op":"\xed\xa0\x80"}', b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":1e999}']
    for data in [*bad, b'{"a":' + b"1" * (4 * MIB - 6) + b"}", b'{"a":18446744073709551616}']:
        raw.send(frame(1, data))
        assert refused(raw) == "unparseable", data[:40]
    attack.innocent_is_served()
    lives(raw)
    packed = attack.peer("msgpack")
    for value in (b"\x81\xa2op\xa1\xff", b"\x81\xa2op\xcb\x7f\xf8" + bytes(6), b"\x81\xa2op\xca\x7f\x80\x00\x00"):
        assert exchange(packed, value)["status"][:2] == ["error", "unparseable"]
    # Ten megabytes of digits are more than a frame may have.
    endless = attack.upgraded()
    endless.send(frame(1, b"1" * (10 * MIB)))
    attack.innocent_is_served()
    assert endless.close_code() == 1009


WRONG: list[Any] = [
    {}, [], 1, "eval", None, {"op": None, "id": "1"}, {"op": ["eval"], "id": "1"}, {"op": {}, "id": "1"},
    {"op": "eval"}, {"op": "eval", "id": 1, "code": "1"}, {"op": "eval", "id": "", "code": "1"},
    {"op": "eval", "id": "x" * 129, "code": "1"}, {"op": "eval", "id": "\ud800", "code": "1"},
    {"op": "eval", "id": "1", "code": None}, {"op": "eval", "id": "1", "code": ["1"]},
    {"op": "eval", "id": "1", "code": "1", "mime": {"a": 1}}, {"op": "eval", "id": "1", "code": "1", "line": 2**63},
    {"op": "eval", "id": "1", "code": "1", "timeout": -1}, {"op": "eval", "id": "1", "code": "\udc80"},
    {"op": "evil", "id": "1"}, {"op": "__class__", "id": "1"}, {"op": "x" * 100_000, "id": "1"},
    {"op": "clone", "id": "1", "env": {"A": 1}}, {"op": "clone", "id": "1", "env": {"A\0": "\0"}},
    {"op": "clone", "id": "1", "cwd": "/\0"}, {"op": "clone", "id": "1", "python": "/bin/\0sh"},
    {"op": "clone", "id": "1", "preload": [3]}, {"op": "clone", "id": "1", "name": ""},
    {"op": "completions", "id": "1", "session": "\0", "code": "", "cursor": 0},
    {"op": "stdin", "id": "1", "session": 5, "stdin": {}}, {"op": "hello", "id": "1", "max-frame": True},
]  # fmt: skip
"""Messages that are wrong in one way each."""


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_wrong_types_and_missing_or_unknown_ops(attack: Attack, codec: str) -> None:
    peer = attack.peer(codec)
    for message in WRONG:
        try:
            data: Any = json.dumps(message) if codec == "json" else msgpack.packb(message)
        except UnicodeEncodeError:  # MessagePack has no way to say half a character
            continue
        reply = exchange(peer, data)
        assert reply["status"][0] == "error", (message, reply)
        assert reply["status"][1] != "internal", (message, reply)
        assert reply["message"]
    attack.innocent_is_served()
    assert peer.request("eval", code="1").value == "1"


def test_an_id_that_is_open_is_refused(attack: Attack) -> None:
    session = attack.session()
    first = json.dumps({"op": "eval", "id": "twice", "session": session.id, "code": "input('? ')"})
    session.peer.socket.send(first)
    session.peer.until("twice", status="need-input")
    for message in (first, json.dumps({"op": "load-file", "id": "twice", "session": session.id, "code": "1"})):
        session.peer.socket.send(message)
        assert session.peer.until("twice").last["status"] == ["error", "duplicate-id", "done"]
    attack.innocent_is_served()
    session.request("stdin", stdin="once\n")
    assert session.peer.until("twice").value == "'once'"


def test_duplicate_keys_are_refused(attack: Attack) -> None:
    texts = ['{"op":"eval","id":"1","code":"1","code":"2"}', '{"op":"describe","op":"close","id":"1"}']
    peer = attack.peer()
    for text in [
        *texts,
        '{"op":"clone","id":"1","env":{"A":"1","A":"2"}}',
        '{"op":"describe","id":"1","\\u0069d":"2"}',
    ]:
        assert exchange(peer, text)["status"][:2] == ["error", "unparseable"]
    packed = attack.peer("msgpack")
    assert exchange(packed, b"\x82\xa2id\xa11\xa2id\xa12")["status"][:2] == ["error", "unparseable"]
    attack.innocent_is_served()
    assert peer.request("ls-sessions").last["sessions"] != []


def test_ten_thousand_sessions(attack: Attack) -> None:
    """The principal's bound is reached before anything is forked for the rest."""
    peer = attack.peer()
    ids = [peer.send("clone") for _ in range(10_000)]
    attack.innocent_is_served()
    statuses = last_statuses(peer, ids)
    assert statuses.count(["done"]) == LIMITS["max_sessions_per_principal"] - 1  # one is the witness'
    assert statuses.count(["error", "quota-exceeded", "done"]) == 10_000 - statuses.count(["done"])
    alone = [peer.send("eval", code="1") for _ in range(100)]
    assert {status[1] for status in last_statuses(peer, alone)} == {"busy"}


def test_a_flood_of_ops(attack: Attack) -> None:
    session = attack.session()
    running = session.start("input('? ')")
    session.peer.until(running, status="need-input")
    queue = session.peer.request("describe").last["limits"]["max-queue-evals"]
    evals = [session.start("1") for _ in range(20_000)]
    attack.innocent_is_served()
    asked = [session.send("completions", code="os.pa", cursor=5) for _ in range(1000)]
    attack.innocent_is_served()
    stop = session.send("interrupt", all=True)
    ended = last_statuses(session.peer, [running, *evals, *asked, stop])
    assert ["error", "busy", "done"] in ended[len(evals) + 1 : -1]
    ended = ended[: len(evals) + 1]
    assert ended.count(["error", "busy", "done"]) == 20_000 - queue
    assert ended.count(["cancelled", "done"]) == queue
    assert session.ok("1").value == "1"


def test_another_principals_session_is_unknown(attack: Attack) -> None:
    """To who has shown no token every session is somebody else's: one that is there is refused like one that is not."""
    replies = []
    for session in (attack.witness.session.id, "0" * 16):
        stranger = attack.raw()
        stranger.send(request(attack.victim, Authorization=None))
        stranger.head()
        stranger.send(frame(1, json.dumps({"op": "close", "id": "1", "session": session}).encode()))
        replies.append(stranger.message() | {"session": "?"})
        assert stranger.close_code() == 4401
    assert replies[0] == replies[1]
    assert replies[0]["status"] == ["error", "unauthorized", "done"]
    attack.innocent_is_served()


def test_a_guessed_session_tells_nothing(attack: Attack) -> None:
    peer = attack.peer()
    for guess in ("0" * 16, attack.witness.session.id[:-1], attack.witness.session.id.upper() + "x", "*", ""):
        reply = peer.request("eval", session=guess, code="1").last
        assert reply["status"][:2] in (["error", "unknown-session"], ["error", "invalid-message"])
    attack.innocent_is_served()
