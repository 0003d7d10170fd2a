from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py import ops
from nrepl_py.errors import InvalidMessage, NreplError, UnknownOp
from nrepl_py.server.describe import describe_ops
from nrepl_py.server.requests import to_request, type_name, valid_id

EVAL = {"op": "eval", "id": "1", "code": "1"}


def refusal(message: dict[str, Any]) -> str:
    with pytest.raises(InvalidMessage) as caught:
        to_request(message)
    return str(caught.value)


def test_a_message_becomes_its_ops_record() -> None:
    request = to_request(EVAL | {"file": "a.py", "line": 3, "allow-stdin": False, "timeout": 2, "what-is-this": 1})
    assert request == ops.Eval(id="1", code="1", file="a.py", line=3, allow_stdin=False, timeout=2.0)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"line": "3"}, "'line' must be an integer, got a string"),
        ({"line": True}, "'line' must be an integer, got true"),
        ({"line": 1.5}, "'line' must be an integer, got 1.5"),
        ({"line": 0}, "'line' must be an integer from 1 to 10000000, got 0"),
        ({"line": None}, "'line' must be an integer, got null"),
        ({"code": 3}, "'code' must be a string, got an integer"),
        ({"code": b"1"}, "'code' must be a string, got bytes"),
        ({"code": "\ud800"}, "'code' holds half of a surrogate pair, which is not a character"),
        ({"data": 1}, "'data' must be true or false, got an integer"),
        ({"timeout": -1}, "'timeout' must be a number from 0 to 31536000, got -1"),
        ({"timeout": float("nan")}, "'timeout' must be a number from 0 to 31536000, got nan"),
        ({"values": "some"}, "'values' must be one of 'last', 'all', 'none', got 'some'"),
        ({"values": []}, "'values' must be one of 'last', 'all', 'none', got a list"),
        ({"mime": "text/html"}, "'mime' must be a list of strings, got a string"),
        ({"mime": ["text/html", {}]}, "'mime'[1] must be a string, got a map"),
        ({"session": ""}, "'session' must be a string of 1 to 128 characters, got ''"),
        ({"file": "x" * 5000}, "'file' must be a string of at most 4096 characters, got one of 5000 characters"),
    ],
)
def test_the_sentence_names_the_field_at_fault(fields: dict[str, Any], sentence: str) -> None:
    assert refusal(EVAL | fields) == f"eval: {sentence}"


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"op": "eval", "id": "1"}, "eval: 'code' is missing; it must be a string"),
        ({"op": "eval"}, "eval: 'id' is missing; it must be a string of 1 to 128 characters"),
        ({"op": "eval", "id": 7}, "eval: 'id' must be a string of 1 to 128 characters, got an integer"),
        ({"op": "eval", "id": "\ud800"}, "eval: 'id' must be a string of 1 to 128 characters, got '\\ud800'"),
        ({"id": "1"}, "a message must have a string 'op' that says what is asked for; it is missing"),
        ({"id": "1", "op": ["eval"]}, "a message must have a string 'op' that says what is asked for; got a list"),
        ({"op": "clone", "id": "1", "env": {"A": 1}}, "clone: 'env'['A'] must be a string, got an integer"),
    ],
)
def test_what_is_no_request(message: dict[str, Any], sentence: str) -> None:
    assert refusal(message) == sentence


def test_an_unknown_op_lists_the_ops_and_guesses() -> None:
    with pytest.raises(UnknownOp, match=r"no op 'evla'; did you mean 'eval'\? there are hello, .*is-complete"):
        to_request({"op": "evla", "id": "1"})
    with pytest.raises(UnknownOp, match=r"^no op 'xxxx") as caught:
        to_request({"op": "x" * 100_000, "id": "1"})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("id", "valid"), [("1", True), ("é" * 128, True), ("x" * 129, False), ("", False), (1, False), (None, False)]
)
def test_ids(id: Any, valid: bool) -> None:
    assert valid_id({"id": id}) == (id if valid else None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({field for described in describe_ops().values() for field in described["fields"]})


@given(st.sampled_from(sorted(ops.OPS)), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6))
def test_whatever_comes_is_a_request_or_a_sentence(op: str, fields: dict[str, Any]) -> None:
    try:
        request = to_request({"op": op, "id": "1", "code": "", "session": "s"} | fields)
    except NreplError as error:
        assert "does not fit the op" not in str(error)
        assert str(error).isprintable()
    else:
        assert isinstance(request, ops.OPS[op])


def test_types_read_as_words() -> None:
    assert type_name(ops.Line) == "an integer"
    assert type_name(ops.Line, bounds=True) == "an integer from 1 to 10000000"
    assert type_name(dict[str, str]) == "a map of strings to strings"
    assert type_name(Any) == "a value"


def test_describe_says_all_of_every_op() -> None:
    described = describe_ops()
    assert list(described) == list(ops.OPS)
    line = described["eval"]["fields"]["line"]
    assert line == {"type": "an integer from 1 to 10000000", "required": False, "default": 1}
    assert described["eval"]["fields"]["code"]["required"]
    assert described["eval"]["doc"] == "Run code and relay what it says."
    assert described["eval"]["capability"] == "eval"
    assert "eval-error" in described["eval"]["statuses"]
    assert {"busy", "invalid-message", "internal"} <= set(described["eval"]["errors"])
