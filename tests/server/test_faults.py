"""The sentences that say what is wrong with a message, and how to mend it."""

from __future__ import annotations

from typing import Any

import pytest

from nrepl_py import ops
from nrepl_py.errors import InvalidMessage, UnknownOp
from nrepl_py.server.faults import type_name
from nrepl_py.server.requests import to_request

EVAL = {"op": "eval", "id": "1", "code": "1"}


def refusal(message: dict[str, Any]) -> str:
    with pytest.raises(InvalidMessage) as caught:
        to_request(message)
    return str(caught.value)


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


def test_types_read_as_words() -> None:
    assert type_name(ops.Line) == "an integer"
    assert type_name(ops.Line, bounds=True) == "an integer from 1 to 10000000"
    assert type_name(dict[str, str]) == "a map of strings to strings"
    assert type_name(Any) == "a value"
