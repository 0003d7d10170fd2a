"""Messages cut to a client's limits, encoded once, and frames that leave together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nrepl_py import codec as codecs
from nrepl_py.limits import MIN_FRAME
from nrepl_py.server import framing, outbox
from nrepl_py.server.outbox import Encoded, Outbox, fit

CODECS = ["json", "msgpack"]


def completions(count: int) -> list[dict[str, Any]]:
    return [{"candidate": f"name{i}", "start": 0} for i in range(count)]


LONG = st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=8), st.sampled_from([1, 9_000, 80_000]))
TEXT = st.one_of(st.text(max_size=20), LONG)
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), TEXT, st.binary(max_size=99)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=6,
)
BUNDLE = st.dictionaries(st.sampled_from(["text/html", "image/png", "text/plain"]), TEXT | st.binary(max_size=200_000))
MESSAGES = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=128), "status": st.lists(st.sampled_from(["done", "eval-error"]), unique=True)},
    optional={
        "session": st.text(min_size=1, max_size=32),
        "seq": st.integers(1, 2**40),
        "value": TEXT,
        "out": TEXT,
        "err": TEXT,
        "message": TEXT,
        "data": PLAIN,
        "mime": BUNDLE,
        "display": st.fixed_dictionaries({"mime": BUNDLE}, optional={"metadata": st.dictionaries(st.text(), TEXT)}),
        "error": st.fixed_dictionaries({"message": TEXT, "traceback": st.lists(st.dictionaries(st.text(), TEXT))}),
        "completions": st.builds(
            lambda n: [{"candidate": f"name{i}", "start": 0} for i in range(n)], st.integers(0, 9999)
        ),
        "started": st.fixed_dictionaries({"code": TEXT, "line": st.integers(1, 9)}),
    },
)


@settings(max_examples=100)
@given(MESSAGES, st.sampled_from([0, 1000, 500_000, 1 << 28]), st.sampled_from(CODECS))
@example({"id": "\x00" * 128, "status": ["done"], "value": "\x00" * 200_000}, 0, "json")
@example({"id": "1", "status": ["done"], "value": "x" * 200_000, "data": "y" * 9}, 1000, "json")
@example({"id": "1", "status": [], "metadata": {str(i): "" for i in range(9000)}}, 0, "msgpack")
def test_no_frame_is_ever_above_the_limits(message: dict[str, Any], value_limit: int, codec: str) -> None:
    before = repr(message)
    fitted = fit(message, MIN_FRAME, value_limit, codec)
    assert repr(message) == before
    whole = len(codecs.encode(fitted, codec))
    bulk: dict[str, Any] = {key: fitted[key] for key in ("data", "mime") if key in fitted}
    rest = {key: value for key, value in fitted.items() if key not in bulk}
    if "display" in rest and rest["display"]["mime"]:
        bulk["display"] = rest["display"]["mime"]
        rest["display"] = rest["display"] | {"mime": {}}
    assert whole <= MIN_FRAME or (bulk and whole <= MIN_FRAME + value_limit)
    assert len(codecs.encode(rest, codec)) <= MIN_FRAME
    # Whose it is, and what it means, stays.
    for key in ("id", "session", "seq"):
        assert fitted.get(key) == message.get(key)
    assert [status for status in fitted["status"] if status != "truncated"] == message["status"]
    # Either nothing was cut, or it is said.
    assert fitted == message or "truncated" in fitted["status"]
    assert fitted == message or len(codecs.encode(message, codec)) > MIN_FRAME
    if "done" in fitted["status"]:
        assert fitted["status"].index("done") >= len(fitted["status"]) - 2


@pytest.mark.parametrize("codec", CODECS)
def test_a_long_value_keeps_its_beginning(codec: str) -> None:
    value = "".join(map(str, range(50_000)))
    fitted = fit({"id": "1", "value": value, "status": ["done"]}, MIN_FRAME, 0, codec)
    assert fitted["status"] == ["truncated", "done"]
    assert value.startswith(fitted["value"])
    assert len(fitted["value"]) >= MIN_FRAME // 4


@pytest.mark.parametrize("codec", CODECS)
def test_data_and_mime_use_the_allowance_or_go_whole(codec: str) -> None:
    png = bytes(range(256)) * 1000
    message = {"id": "1", "value": "x", "data": png, "mime": {"image/png": png}, "status": ["done"]}
    assert fit(message, MIN_FRAME, 1 << 20, codec) == message
    assert fit(message, MIN_FRAME, 1000, codec) == {"id": "1", "value": "x", "status": ["truncated", "done"]}
    long = message | {"value": "x" * 100_000}
    fitted = fit(long, MIN_FRAME, 1 << 20, codec)
    assert fitted["data"] == png
    assert fitted["mime"] == {"image/png": png}
    assert len(fitted["value"]) < MIN_FRAME
    shown = fit({"display": {"mime": {"image/png": png}, "display-id": "d"}}, MIN_FRAME, 0, codec)
    assert shown == {"display": {"mime": {}, "display-id": "d"}, "status": ["truncated"]}


def test_a_long_list_loses_its_end() -> None:
    message = {
        "id": "1",
        "completions": [{"candidate": f"name{i}", "start": 0} for i in range(10_000)],
        "status": ["done"],
    }
    fitted = fit(message, MIN_FRAME, 0, "json")
    assert 100 < len(fitted["completions"]) < 10_000
    assert fitted["completions"][0] == {"candidate": "name0", "start": 0}


def test_each_codec_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = codecs.encode

    def counted(message: dict[str, Any], codec: str) -> bytes:
        made.append(codec)
        return real(message, codec)

    monkeypatch.setattr(codecs, "encode", counted)
    encoded = Encoded({"id": "1", "value": "x"})
    payloads = [encoded.payload(codec, MIN_FRAME) for codec in ["json", "msgpack", "json", "msgpack"]]
    assert made == ["json", "msgpack"]
    assert payloads[0] is payloads[2]


def test_each_client_gets_what_it_takes() -> None:
    encoded = Encoded({"id": "1", "value": "x" * 200_000})
    assert len(encoded.payload("json", 1 << 20)) > 200_000
    assert len(encoded.payload("json", MIN_FRAME)) <= MIN_FRAME


@pytest.mark.parametrize("codec", CODECS)
def test_lone_surrogates_are_escaped(codec: str) -> None:
    payload = Encoded({"id": "1", "value": "a\ud800b", "status": ["done"]}).payload(codec, MIN_FRAME)
    assert codecs.decode(payload, codec) == {"id": "1", "value": "a\\ud800b", "status": ["done"]}


def test_what_cannot_be_encoded_is_left_out_and_said() -> None:
    payload = Encoded({"id": "1", "data": 1 << 70, "status": ["done"]}).payload("msgpack", MIN_FRAME)
    assert codecs.decode(payload, "msgpack") == {"id": "1", "status": ["truncated", "done"]}


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Any] = []

    def write(self, data: Any) -> None:
        self.writes.append(data)


async def test_small_frames_leave_in_one_write() -> None:
    transport = Transport()
    box = Outbox(transport, framing.TEXT)
    box.flush()
    box.put(b"one")
    box.put(b"two")
    assert transport.writes == []
    box.flush()
    box.flush()
    assert transport.writes == [b"\x81\x03one\x81\x03two"]


async def test_large_frames_are_not_copied() -> None:
    transport = Transport()
    box = Outbox(transport, framing.TEXT)
    large = bytes(outbox.JOIN_BYTES + 1)
    box.put(b"one")
    box.put(large)
    box.put(b"two")
    box.flush()
    assert [len(write) for write in transport.writes] == [5 + 10, len(large), 5]
    assert transport.writes[1] is large
    assert b"".join(transport.writes) == b"\x81\x03one\x81\x7f" + len(large).to_bytes(8, "big") + large + b"\x81\x03two"
