"""An eval's stream, gathered."""

from __future__ import annotations

from typing import Any

import pytest

from nrepl_py.client.results import EvalError, EvalResult, add
from nrepl_py.errors import NreplError


def gathered(*messages: dict[str, Any], codec: str = "msgpack") -> EvalResult:
    result = EvalResult(id="1")
    for message in messages:
        add(result, message, codec)
    return result


def test_everything_said_is_kept_in_order() -> None:
    result = gathered(
        {"session": "s", "started": {}},
        {"out": "a"},
        {"err": "w"},
        {"out": "b"},
        {"value": "1"},
        {"value": "2", "status": ["truncated"]},
        {"status": ["done"]},
    )
    assert (result.session, result.out, result.err) == ("s", "ab", "w")
    assert (result.values, result.value) == (["1", "2"], "2")
    assert result.status == {"truncated", "done"}
    assert result.ok
    assert result.raise_for_error() is result


def test_nothing_said_is_an_ok_result_without_a_value() -> None:
    result = gathered({"status": ["done"]})
    assert result.ok
    assert (result.value, result.values, result.out, result.err, result.data) == (None, [], "", "", None)


def test_data_and_mime_are_those_of_the_last_value() -> None:
    result = gathered({"value": "1", "data": 1, "mime": {"text/html": "<b>"}}, {"value": "x", "status": ["not-plain"]})
    assert (result.data, result.mime) == (None, {})


def test_null_data_needs_no_value() -> None:
    assert gathered({"value": "1", "data": 1}, {"data": None}).data is None


def test_in_json_bytes_are_unwrapped_wherever_they_are() -> None:
    result = gathered({"value": "…", "data": {"a": [{"$bytes": "AP8="}], "b": {"$bytes": "", "c": 1}}}, codec="json")
    assert result.data == {"a": [b"\x00\xff"], "b": {"$bytes": "", "c": 1}}


def test_in_msgpack_a_map_that_looks_like_json_bytes_is_a_map() -> None:
    assert gathered({"value": "…", "data": {"$bytes": "AP8="}}).data == {"$bytes": "AP8="}


def test_in_json_mime_bytes_are_decoded_by_their_type() -> None:
    mime = {"text/html": "AP8=", "image/svg+xml": "<s/>", "application/json": "AP8=", "image/png": "AP8="}
    result = gathered({"value": "1", "mime": mime}, {"display": {"mime": mime, "display-id": "d"}}, codec="json")
    assert result.mime == mime | {"image/png": b"\x00\xff"}
    assert result.displays == [{"mime": mime | {"image/png": b"\x00\xff"}, "display-id": "d"}]


def test_an_error_has_its_traceback_which_is_part_of_err_too() -> None:
    error = {"type": "ValueError", "message": "no"}
    result = gathered({"err": "warned\n"}, {"error": error, "err": "Traceback…\n"}, {"status": ["eval-error", "done"]})
    assert (result.error, result.traceback, result.err) == (error, "Traceback…\n", "warned\nTraceback…\n")
    with pytest.raises(EvalError) as caught:
        result.raise_for_error()
    assert isinstance(caught.value, NreplError)
    assert (str(caught.value), caught.value.error, caught.value.result) == ("Traceback…\n", error, result)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"error": {"type": "ValueError", "message": "no"}, "status": ["eval-error"]}, "ValueError: no"),
        ({"status": ["eval-error"]}, "eval-error"),
        ({"status": ["timeout", "interrupted"]}, "timeout"),
        ({"status": ["interrupted"]}, "interrupted"),
        ({"status": ["cancelled"]}, "cancelled"),
        ({"status": ["session-closed"]}, "session-closed"),
        (
            {"status": ["session-died"], "cause": {"kind": "signal", "signal": "SIGSEGV"}},
            "session-died: signal SIGSEGV",
        ),
        ({"status": ["exit"], "exit-code": 3}, "the code exited with code 3"),
    ],
)
def test_whatever_ended_the_code_raises_and_is_told(message: dict[str, Any], why: str) -> None:
    result = gathered(message, {"status": ["done"]})
    assert not result.ok
    with pytest.raises(EvalError) as caught:
        result.raise_for_error()
    assert str(caught.value) == why


def test_exit_with_code_0_is_ok() -> None:
    assert gathered({"status": ["exit", "done"], "exit-code": 0}).ok


def test_statuses_of_later_versions_are_ok() -> None:
    assert gathered({"status": ["done", "sparkling"]}).ok
