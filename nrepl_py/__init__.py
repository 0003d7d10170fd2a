"""Evaluate Python from any language: a server of live sessions, and its Python clients.

    from nrepl_py import connect

    with connect() as session:              # the server of this directory (`nrepl-py serve`)
        print(session.eval("1 + 1").value)  # 2

`connect` is `nrepl_py.client.connect`, `serve_in_thread` is `nrepl_py.embed.serve_in_thread`. Both are
loaded on first use: importing this package imports nothing of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from nrepl_py.version import __version__ as __version__

if TYPE_CHECKING:
    from nrepl_py.client.sync import connect as connect
    from nrepl_py.embed import serve_in_thread as serve_in_thread

_HOME: Final = {"connect": "nrepl_py.client.sync", "serve_in_thread": "nrepl_py.embed"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
