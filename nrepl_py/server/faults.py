"""What is wrong with a message, as a sentence that says what to do: for what `requests.py` could not take.

The field at fault is found by checking field by field, and the sentence is built from the declared type.
No text of an exception is ever matched.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from nrepl_py.errors import InvalidMessage, UnknownOp
from nrepl_py.ops import MAX_ID, OPS, Request


def no_request(message: dict[str, Any], op: Any) -> UnknownOp | InvalidMessage:
    """Why this is not even one of our requests."""
    if not isinstance(op, str):
        got = "it is missing" if "op" not in message else f"got {_got(op, str)}"
        return InvalidMessage(f"a message must have a string 'op' that says what is asked for; {got}")
    if op not in OPS:
        near = difflib.get_close_matches(op[:MAX_ID], OPS, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return UnknownOp(f"no op {_short(op)}; {hint}there are {', '.join(OPS)}")
    if "id" not in message:
        return InvalidMessage(f"{op}: 'id' is missing; it must be a string of 1 to {MAX_ID} characters")
    return InvalidMessage(f"{op}: 'id' must be a string of 1 to {MAX_ID} characters, got {_got(message['id'], str)}")


def fault(kind: type[Request], message: dict[str, Any]) -> str:
    """What is wrong with the first field at fault."""
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if name in message:
            for path, wanted, value in _faults(repr(name), field.type, message[name]):
                phrase = type_name(wanted, bounds=_same_kind(wanted, value))
                return f"{path} must be {phrase}, got {_got(value, _strip(wanted)[1])}"
        elif field.required:
            return f"{name!r} is missing; it must be {type_name(field.type)}"
    return "the message does not fit the op"


def type_name(kind: Any, bounds: bool = False) -> str:
    """A field's type as a noun phrase: "an integer", and with `bounds` "an integer from 1 to 9"."""
    meta, kind = _strip(kind)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(repr, args))}"
    if origin is list:
        return f"a list of {_PLURALS.get(_strip(args[0])[1], 'values')}"
    if origin is dict:
        return f"a map of strings to {_PLURALS.get(_strip(args[1])[1], 'values')}"
    if isinstance(kind, type) and issubclass(kind, Struct):
        return "a map"
    return _NAMES.get(kind, "a value") + (_bounds(meta, kind) if bounds else "")


def field_doc(kind: Any) -> str | None:
    """What the declaration says of a field, beyond its type."""
    return next((meta.description for meta in _strip(kind)[0] if meta.description), None)


_NAMES: Final[dict[Any, str]] = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
_OTHERS: Final[dict[Any, str]] = {bytes: "bytes", list: "a list", dict: "a map"}
_PLURALS: Final[dict[Any, str]] = {str: "strings", int: "integers", float: "numbers", bool: "booleans"}


def _faults(path: str, kind: Any, value: Any) -> Iterator[tuple[str, Any, Any]]:
    """The places that do not fit, innermost first: path, declared type, value."""
    try:
        msgspec.convert(value, kind)
        return
    except msgspec.ValidationError:
        pass
    _, bare = _strip(kind)
    if isinstance(value, list) and get_origin(bare) is list:
        for index, item in enumerate(value):
            yield from _faults(f"{path}[{index}]", get_args(bare)[0], item)
    elif isinstance(value, dict) and isinstance(bare, type) and issubclass(bare, Struct):
        for field in msgspec.structs.fields(bare):
            if field.encode_name in value:
                yield from _faults(f"{path}[{field.encode_name!r}]", field.type, value[field.encode_name])
    elif isinstance(value, dict) and get_origin(bare) is dict:
        for key, item in value.items():
            yield from _faults(f"{path}[{_short(key)}]", get_args(bare)[1], item)
    yield path, kind, value


def _strip(kind: Any) -> tuple[list[Meta], Any]:
    """A type without `Annotated` and `| None`, and what its annotations said."""
    meta: list[Meta] = []
    while True:
        if get_origin(kind) is Annotated:
            kind, *found = get_args(kind)
            meta += [item for item in found if isinstance(item, Meta)]
        elif get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind):
            kind = next(arg for arg in get_args(kind) if arg is not NoneType)
        else:
            return meta, kind


def _same_kind(wanted: Any, value: Any) -> bool:
    _, kind = _strip(wanted)
    if isinstance(value, bool) or not isinstance(kind, type):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _bounds(meta: list[Meta], kind: Any) -> str:
    def first(name: str) -> Any:
        return next((found for item in meta if (found := getattr(item, name)) is not None), None)

    if kind is str:
        low, high, pattern = first("min_length"), first("max_length"), first("pattern")
        unit = " characters" + (f" that match {pattern}" if pattern else "")
    else:
        low, high, unit = first("ge"), first("le"), ""
    if low is not None and high is not None:
        return f"{' of' if unit else ' from'} {low} to {high}{unit}"
    if low is not None or high is not None:
        return f" of at least {low}{unit}" if high is None else f" of at most {high}{unit}"
    return ""


def _got(value: Any, wanted: Any) -> str:
    """What was there instead: its kind, and the value itself where the kind was right."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, (int, float)):
        return f"{value}" if wanted in (int, float) else ("an integer" if isinstance(value, int) else "a number")
    if isinstance(value, str):
        if wanted is not str and get_origin(wanted) is not Literal:
            return "a string"
        return f"one of {len(value)} characters" if len(value) > MAX_ID else _short(value)
    return _OTHERS.get(type(value), "something else")


def _short(text: str) -> str:
    """Safe to repeat in a sentence: quoted, escaped and of bounded length."""
    return ascii(text if len(text) <= 40 else text[:40] + "…")
