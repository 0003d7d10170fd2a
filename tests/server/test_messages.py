from __future__ import annotations

import msgspec
import pytest

from nrepl_py import codec
from nrepl_py.evaluators.frames import Display, End, Failure, Output, Ready, Value
from nrepl_py.limits import MIN_FRAME
from nrepl_py.ops import Cause, ErrorInfo, EvalReply, Event, Frame
from nrepl_py.server import messages


def test_output_is_cut_so_that_a_piece_fits_the_smallest_frame() -> None:
    worst = "\x00" * (2 * messages.PIECE + 1)
    pieces = messages.pieces(worst)
    assert "".join(pieces) == worst
    for piece in pieces:
        envelope = {"id": "i" * 128, "session": "s" * 128, "seq": 1 << 60, "late": True}
        message = envelope | messages.output(Output(stream="err"), piece)
        assert all(len(codec.encode(message, name)) <= MIN_FRAME for name in ("json", "msgpack"))


def test_pieces_of_little_is_one() -> None:
    assert messages.pieces("") == [""]
    assert messages.pieces("x" * messages.PIECE) == ["x" * messages.PIECE]


def test_a_value_has_its_place() -> None:
    assert messages.value(Value(text="2", line=3, end_line=4)) == {"value": "2", "line": 3, "end-line": 4}


def test_none_as_data_has_no_text() -> None:
    assert messages.value(Value(data=None)) == {"data": None, "line": 1, "end-line": 1}


def test_what_was_cut_or_not_plain_is_said() -> None:
    message = messages.value(Value(text="x", truncated=True, not_plain=True, mime={"text/html": "<b>"}))
    assert message["status"] == ["truncated", "not-plain"]
    assert message["mime"] == {"text/html": "<b>"}


def test_a_display() -> None:
    report = Display(
        mime={"image/png": b"\x89"}, metadata={"width": 3}, display_id="d", update=True, clear=True, truncated=True
    )
    assert messages.display(report) == {
        "display": {
            "mime": {"image/png": b"\x89"},
            "metadata": {"width": 3},
            "display-id": "d",
            "update": True,
            "clear": True,
        },
        "status": ["truncated"],
    }
    assert messages.display(Display(mime={"text/plain": "x"})) == {"display": {"mime": {"text/plain": "x"}}}


def test_an_error_and_its_traceback_are_one_message() -> None:
    frame = Frame(file="a.py", line=1)
    error = ErrorInfo(type="SyntaxError", module=None, message="no", traceback=[frame])
    message = messages.failure(Failure(error=error, traceback="SyntaxError: no\n"))
    assert message["err"] == "SyntaxError: no\n"
    assert message["error"]["traceback"][0]["function"] is None
    assert message["error"]["traceback"][0]["end-line"] is None
    assert message["error"]["cause"] is None


@pytest.mark.parametrize(
    ("end", "stopped_by", "status"),
    [
        (End(), None, ["done"]),
        (End(("eval-error",)), None, ["eval-error", "done"]),
        (End(("interrupted",)), "timeout", ["timeout", "interrupted", "done"]),
        (End(), "timeout", ["timeout", "interrupted", "done"]),
        (End(("interrupted",)), "output-limit", ["output-limit", "interrupted", "done"]),
        (End(("eval-error",)), "timeout", ["timeout", "interrupted", "eval-error", "done"]),
    ],
)
def test_done_is_the_last_status(end: End, stopped_by: str | None, status: list[str]) -> None:
    message: dict[str, object] = {}
    messages.end(message, end, stopped_by)
    assert message == {"status": status}


def test_the_end_joins_what_the_message_says_already() -> None:
    message = messages.value(Value(text="x", truncated=True))
    messages.end(message, End(), None)
    assert message["status"] == ["truncated", "done"]


@pytest.mark.parametrize(("code", "said"), [(3, 3), (None, 0)])
def test_exit_has_its_code(code: int | None, said: int) -> None:
    message: dict[str, object] = {}
    messages.end(message, End(("exit",), exit_code=code), None)
    assert message == {"status": ["exit", "done"], "exit-code": said}


def test_a_death_says_how() -> None:
    cause = Cause(kind="signal", signal="SIGSEGV", last_stderr="boom")
    expected = {"kind": "signal", "signal": "SIGSEGV", "last-stderr": "boom"}
    assert messages.died(cause) == {"status": ["session-died", "done"], "cause": expected}
    assert messages.died(Cause(kind="oom"))["status"] == ["session-died", "oom", "done"]


def test_what_clone_says_of_the_worker() -> None:
    ready = Ready(
        python="3.12.1",
        implementation="cpython",
        executable="/py",
        prefix="/",
        cwd="/w",
        pid=7,
        start="fork",
        sandbox={"tier": "none"},
    )
    info = messages.info(ready)
    assert info["python"] == "/py"
    assert info["version"] == "3.12.1"
    assert info["sandbox"] == {"tier": "none"}


def test_all_of_it_is_declared() -> None:
    """Every message fits the records that the reference and other languages' types are made from."""
    error = ErrorInfo(type="E", module="m", message="", cause=ErrorInfo(type="F", module=None, message=""))
    for fields in (
        messages.value(Value(text="x", data=[1], mime={"a/b": "c"}, truncated=True)),
        messages.display(Display(mime={"a/b": "c"}, display_id="d")),
        messages.failure(Failure(error=error, traceback="E\n")),
        messages.died(Cause(kind="oom")),
    ):
        msgspec.convert({"id": "1", "seq": 1} | fields, EvalReply)
    event = {"session": "s", "seq": 1, "event": "died", "epoch": 1, "cause": messages.to_map(Cause(kind="exit"))}
    msgspec.convert(event, Event)


@pytest.mark.parametrize(
    ("report", "least"),
    [
        (Value(blobs=(1000, 5), text="x"), 1005),
        (Value(text="x" * 100, data={"k": ["y" * 100, b"z" * 100, 1]}, mime={"a/b": "w" * 100}), 400),
        (Display(mime={"a/b": b"x" * 100}, metadata={"k": "v" * 100}), 200),
        (Failure(traceback="x" * 100), 200),
        (Output(), 0),
    ],
)
def test_payloads_are_weighed(report: Value, least: int) -> None:
    assert least <= messages.weight(report) <= least + 120
