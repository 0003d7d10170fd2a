"""Evaluate Python from any language: a server of live sessions, and its Python clients.

    from nrepl_py import connect

    with connect() as session:              # the server of this directory (`nrepl-py serve`)
        print(session.eval("1 + 1").value)  # 2

`connect` is `nrepl_py.client.connect`, `serve_in_thread` is `nrepl_py.embed.serve_in_thread`. Both are
loaded on first use: importing this package imports nothing else.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

__version__ = "0.1.0"

_HOME: Final = {"connect": "nrepl_py.client.sync", "serve_in_thread": "nrepl_py.embed"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
