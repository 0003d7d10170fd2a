"""Where the packages lie that workers borrow from the server's own environment."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGES = ("jedi", "parso", "cloudpickle")
"""Pure Python, all of them, and able to run on every interpreter a session may ask for."""


def directories() -> dict[str, str]:
    """The directory of each package that is installed, for `worker.lend.Lender`. Imports none of them."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found[name] = str(Path(spec.origin).parent.parent)
    return found
