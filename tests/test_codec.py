"""Both formats, there and back; and frames made to hurt, refused before they cost anything."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py import codec
from nrepl_py.errors import InvalidMessage, NreplError, Unparseable

CODECS = ["json", "msgpack"]
INTEGERS = st.integers(-(1 << 63), (1 << 64) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)


PLAIN = nested(LEAVES)
MESSAGES = st.dictionaries(TEXT.filter(lambda key: key != "data"), PLAIN)


def deep(levels: int, codec_name: str) -> bytes:
    """A message with a list of lists of that many levels, the message itself being the first."""
    inner = levels - 1
    if codec_name == "json":
        return b'{"a":' + b"[" * inner + b"]" * inner + b"}"
    return b"\x81\xa1a" + b"\x91" * (inner - 1) + b"\x90"


@given(MESSAGES)
@pytest.mark.parametrize("name", CODECS)
def test_a_message_survives(name: str, message: dict[str, Any]) -> None:
    assert codec.decode(codec.encode(message, name), name) == message


@given(nested(LEAVES | st.binary()))
def test_plain_data_with_bytes_survives_messagepack(value: Any) -> None:
    assert codec.unpack(codec.pack_data(value)) == value
    assert codec.decode(codec.encode({"data": value}, "msgpack"), "msgpack") == {"data": value}


@given(MESSAGES, nested(LEAVES | st.binary()))
def test_packed_data_goes_on_as_it_is(message: dict[str, Any], value: Any) -> None:
    relayed = message | {"data": codec.packed(codec.pack_data(value))}
    assert codec.decode(codec.encode(relayed, "msgpack"), "msgpack") == message | {"data": value}
    assert codec.encode(relayed, "json") == codec.encode(message | {"data": value}, "json")


def test_packed_data_is_looked_at() -> None:
    with pytest.raises(ValueError, match="extension type"):
        codec.packed(b"\xd4\x05x")


@given(st.binary())
def test_bytes_of_data_are_tagged_in_json(raw: bytes) -> None:
    message = json.loads(codec.encode({"data": [raw, {"deep": raw}]}, "json"))
    tagged = {"$bytes": base64.b64encode(raw).decode()}
    assert message == {"data": [tagged, {"deep": tagged}]}


def test_bytes_of_a_mime_bundle_are_plain_base64_in_json() -> None:
    message = json.loads(codec.encode({"mime": {"image/png": b"\x89PNG"}}, "json"))
    assert message == {"mime": {"image/png": base64.b64encode(b"\x89PNG").decode()}}


def test_encoding_leaves_the_message_alone() -> None:
    message = {"data": [b"x"]}
    codec.encode(message, "json")
    assert message == {"data": [b"x"]}


@given(st.binary())
@pytest.mark.parametrize("name", CODECS)
def test_any_bytes_give_a_message_or_an_error_of_ours(name: str, frame: bytes) -> None:
    try:
        message = codec.decode(frame, name)
    except NreplError as error:
        assert str(error)
    else:
        assert isinstance(message, dict)


@given(st.text())
def test_any_text_gives_a_message_or_an_error_of_ours(frame: str) -> None:
    try:
        message = codec.decode(frame, "json")
    except NreplError as error:
        assert str(error)
    else:
        assert isinstance(message, dict)


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("json", b""),
        ("json", b"{"),
        ("json", b'{"a": 1} x'),
        ("json", b'{"a": 1, "a": 2}'),
        ("json", b'{"a": {"b": 1, "b": 1}}'),
        ("json", b'{"a": NaN}'),
        ("json", b'{"a": Infinity}'),
        ("json", b'{"a": -Infinity}'),
        ("json", b'{"a": 1e999}'),
        ("json", b'{"a": 18446744073709551616}'),
        ("json", b'{"a": -9223372036854775809}'),
        ("json", b'{"a": ' + b"9" * 100_000 + b"}"),
        ("json", b'{"a": "\xff"}'),
        ("json", b'\xef\xbb\xbf{"a": 1}'),
        ("json", deep(100_000, "json")),
        ("json", b'{"a":' * 100_000),
        ("msgpack", b""),
        ("msgpack", b"\xc1"),
        ("msgpack", b"\x81\xa1a"),
        ("msgpack", b"\x81\xa1a\x01\x00"),
        ("msgpack", b"\x82\xa1a\x01\xa1a\x02"),
        ("msgpack", b"\x81\x01\x02"),
        ("msgpack", b"\x81\xc4\x01a\x02"),
        ("msgpack", b"\x81\xa1a\xa2\xff\xfe"),
        ("msgpack", b"\x81\xa1a\xa3\xed\xa0\x80"),
        ("msgpack", msgpack.packb({"a": msgpack.ExtType(3, b"x")})),
        ("msgpack", msgpack.packb({"a": msgpack.Timestamp(1, 2)})),
        ("msgpack", msgpack.packb({"a": float("nan")})),
        ("msgpack", msgpack.packb({"a": float("-inf")})),
        ("msgpack", deep(100_000, "msgpack")),
        ("msgpack", b"\x81\xa1a" * 100_000),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:24]),
)
def test_what_breaks_the_rules_is_unparseable(name: str, frame: bytes) -> None:
    with pytest.raises(Unparseable) as caught:
        codec.decode(frame, name)
    assert str(caught.value).rstrip(": ") != f"this frame is not valid {name}"
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", CODECS)
def test_the_depth_limit_is_exact(name: str) -> None:
    assert codec.decode(deep(codec.MAX_DEPTH, name), name)
    with pytest.raises(Unparseable):
        codec.decode(deep(codec.MAX_DEPTH + 1, name), name)


@pytest.mark.parametrize(
    "header",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xdc\xff\xff",
    ],
    ids=["array", "map", "bytes", "string", "array16"],
)
def test_a_length_that_is_not_there_allocates_nothing(header: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Unparseable):
            codec.decode(b"\x81\xa1a" + header, "msgpack")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "frame"),
    [("json", b"[]"), ("json", b"1"), ("json", b'"x"'), ("json", b"null"), ("msgpack", b"\x90"), ("msgpack", b"\xc0")],
)
def test_what_is_no_map_is_an_invalid_message(name: str, frame: bytes) -> None:
    with pytest.raises(InvalidMessage):
        codec.decode(frame, name)


def test_the_largest_integers_pass_in_both() -> None:
    message = {"least": -(1 << 63), "most": (1 << 64) - 1}
    assert [codec.decode(codec.encode(message, name), name) for name in CODECS] == [message, message]


@pytest.mark.parametrize(
    ("codec_name", "frame"),
    [("json", "[" + "[]," * 8 + "[]]"), ("json", '{"a":[' + "{}," * 8 + "{}]}"),
     ("msgpack", b"\x9a" + b"\x90" * 10), ("msgpack", b"\x9a" + b"\x80" * 10), ("msgpack", b"\xdd\x00\x00\x00\x0a" + bytes(10)),
     ("msgpack", b"\x8a" + b"".join(b"\xa1%c\x01" % i for i in range(65, 75)))],
)  # fmt: skip
def test_a_requests_lists_and_maps_are_counted(codec_name: str, frame: Any) -> None:
    with pytest.raises(Unparseable):
        codec.decode(frame, codec_name, items=8)


def test_brackets_in_strings_are_not_counted() -> None:
    text = '{"code":"[[[[[[[[[[[[\\"[[{{{{","a":[]}'
    assert codec.decode(text, "json", items=2) == {"code": '[[[[[[[[[[[["[[{{{{', "a": []}
