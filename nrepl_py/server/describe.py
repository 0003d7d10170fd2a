"""What `describe` says of the ops, derived from their declarations."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
from msgspec import UNSET

from nrepl_py.ops import COMMON_ERRORS, OPS, Request
from nrepl_py.server.faults import field_doc, type_name


def describe_ops() -> dict[str, Any]:
    """Each op's doc, fields, statuses and errors, by name."""
    return {op: _describe(kind) for op, kind in OPS.items()}


def _describe(kind: type[Request]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "doc": " ".join((inspect.getdoc(kind) or "").split()),
        "fields": {field.encode_name: _field(field) for field in msgspec.structs.fields(kind)},
        "statuses": list(kind.statuses),
        "errors": [*kind.errors, *(error for error in COMMON_ERRORS if error not in kind.errors)],
    }
    if kind.capability is not None:
        described["capability"] = kind.capability
    if kind.also is not None:
        described["also"] = kind.also
    return described


def _field(field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    described: dict[str, Any] = {"type": type_name(field.type, bounds=True), "required": field.required}
    doc = field_doc(field.type)
    if doc:
        described["description"] = doc
    if not field.required and field.default not in (None, msgspec.NODEFAULT, UNSET):
        described["default"] = field.default
    return described
