"""Clients: `connect` (blocking), `aio.connect` (asyncio), and `connection` (without any I/O).

    from nrepl_py.client import connect

    with connect() as session:
        print(session.eval("1 + 1").value)

Errors: what the server refuses is raised as its class of `nrepl_py.errors`; beside these there are
`NoServer`, `ConnectionLost` and `EvalError` (for `check=True`), all of them `NreplError`s. The names
below load what they need on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from nrepl_py.client import aio
    from nrepl_py.client.address import NoServer
    from nrepl_py.client.connection import ConnectionLost
    from nrepl_py.client.results import EvalError, EvalResult
    from nrepl_py.client.sync import Client, Interrupted, Session, connect
    from nrepl_py.errors import NreplError

__all__ = [
    "Client",
    "ConnectionLost",
    "EvalError",
    "EvalResult",
    "Interrupted",
    "NoServer",
    "NreplError",
    "Session",
    "aio",
    "connect",
]

_HOME: Final = {
    "Client": "client.sync",
    "ConnectionLost": "client.connection",
    "EvalError": "client.results",
    "EvalResult": "client.results",
    "Interrupted": "client.sync",
    "NoServer": "client.address",
    "NreplError": "errors",
    "Session": "client.sync",
    "connect": "client.sync",
}


def __getattr__(name: str) -> Any:
    if name == "aio":
        return importlib.import_module("nrepl_py.client.aio")
    if name in _HOME:
        return getattr(importlib.import_module(f"nrepl_py.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
