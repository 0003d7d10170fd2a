"""The declarations: what they accept and refuse, and that they say what the contract says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from nrepl_py import ops

NAMES = [
    "hello", "describe", "clone", "close", "restart", "ls-sessions", "attach", "detach", "eval", "load-file", "interrupt",
    "stdin",
    "completions", "signature", "lookup", "is-complete",
]  # fmt: skip

LEAST: dict[str, dict[str, Any]] = {
    "hello": {},
    "describe": {},
    "clone": {},
    "close": {"session": "s"},
    "restart": {"session": "s"},
    "ls-sessions": {},
    "attach": {"session": "s"},
    "detach": {"session": "s"},
    "eval": {"code": ""},
    "load-file": {"code": "", "session": "s"},
    "interrupt": {},
    "stdin": {"stdin": ""},
    "completions": {"session": "s", "code": "", "cursor": 0},
    "signature": {"session": "s", "code": "", "cursor": 0},
    "lookup": {"session": "s"},
    "is-complete": {"code": ""},
}


def convert(op: str, **fields: Any) -> Any:
    return msgspec.convert({"op": op, "id": "1"} | LEAST[op] | fields, ops.OPS[op])


def test_the_ops_of_this_version() -> None:
    assert list(ops.OPS) == NAMES


@pytest.mark.parametrize("op", NAMES)
def test_the_least_request_is_accepted(op: str) -> None:
    assert convert(op).id == "1"


@pytest.mark.parametrize("op", NAMES)
def test_each_required_field_is_required(op: str) -> None:
    for name in ["id", *LEAST[op]]:
        fields = {"op": op, "id": "1"} | LEAST[op]
        del fields[name]
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(fields, ops.OPS[op])


@pytest.mark.parametrize("op", NAMES)
def test_unknown_fields_are_ignored(op: str) -> None:
    assert convert(op, later=1) == convert(op)


@pytest.mark.parametrize("op", NAMES)
def test_every_op_says_what_it_is(op: str) -> None:
    cls = ops.OPS[op]
    assert cls.__doc__
    assert "done" in cls.statuses
    assert issubclass(cls.reply, ops.Reply)


@pytest.mark.parametrize("id", ["", "x" * 129, 7, None])
def test_an_id_is_a_string_of_1_to_128_characters(id: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        convert("describe", id=id)
    assert convert("describe", id="x" * 128).id == "x" * 128


@pytest.mark.parametrize(
    ("op", "field", "value"),
    [
        ("eval", "line", 0),
        ("eval", "line", "one"),
        ("eval", "line", 1.5),
        ("eval", "line", True),
        ("eval", "column", -1),
        ("eval", "values", "some"),
        ("eval", "timeout", -1),
        ("eval", "timeout", 1e300),
        ("eval", "mime", ["png"]),
        ("eval", "mime", ["text/html"] * 65),
        ("eval", "code", b"1"),
        ("eval", "print-quota", -1),
        ("eval", "file", "x" * 4097),
        ("hello", "max-frame", 1),
        ("clone", "env", {"A": 1}),
        ("clone", "preload", "numpy"),
        ("completions", "cursor", -1),
        ("stdin", "stdin", None),
        ("interrupt", "all", "yes"),
    ],
)
def test_what_is_out_of_range_is_refused(op: str, field: str, value: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        convert(op, **{field: value})


def test_the_defaults_are_the_contracts() -> None:
    asked = convert("eval")
    assert (asked.values, asked.line, asked.column, asked.print_quota) == ("last", 1, 0, 1 << 20)
    assert asked.allow_stdin
    assert asked.store_history
    assert convert("load-file").values == "none"


def test_names_are_kebab_case() -> None:
    records = [cls for cls in vars(ops).values() if isinstance(cls, type) and issubclass(cls, ops.Record)]
    for cls in records:
        assert all("_" not in name for name in cls.__struct_encode_fields__)


def test_an_error_nests() -> None:
    inner = ops.ErrorInfo(type="KeyError", module="builtins", message="'x'")
    outer = ops.ErrorInfo(type="E", module=None, message="", cause=inner, exceptions=[inner])
    built = msgspec.to_builtins(outer)
    assert built["cause"]["type"] == "KeyError"
    assert msgspec.convert(built, ops.ErrorInfo) == outer


def test_what_is_unset_is_absent() -> None:
    assert msgspec.to_builtins(ops.EvalReply(id="1", out="x")) == {"id": "1", "out": "x"}
    assert "data" not in msgspec.to_builtins(ops.EvalReply(id="1"))
    assert msgspec.to_builtins(ops.EvalReply(id="1", data=None))["data"] is None


def test_subprotocols_name_codecs() -> None:
    assert ops.SUBPROTOCOLS == {"nrepl.v1.json": "json", "nrepl.v1.msgpack": "msgpack"}
    assert ops.PROTOCOL_VERSION == 1
