"""Imports the pure-Python packages lent from the server's environment (jedi, parso, cloudpickle).

They are found by a finder that stands in `sys.meta_path` only during that import and knows only their
names, so `sys.path` never shows the server's site-packages. What a session imported itself is used as
it is. Once lent, a package is in `sys.modules` under its own name, as pickles and its own imports need.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
import threading
from typing import Any, Dict, Optional

_UNWANTED = ("colorama",)  # jedi imports it where it can, for debug output: a package or a file of the user's


class Lender:
    """Lends top-level packages. `paths`: the directory each one lies in."""

    def __init__(self, paths: Dict[str, str]) -> None:
        self.paths = paths
        self._lock = threading.RLock()
        self._thread = 0

    def load(self, name: str) -> Any:
        """The package or a module of it: the session's own copy where it has imported one, else the
        lent one. Raises ImportError where it can be neither found nor imported."""
        module = sys.modules.get(name)
        if module is not None:
            return module
        with self._lock:
            # First of all finders: one of the user's need not be asked, nor see our names.
            sys.meta_path.insert(0, self)
            self._thread = threading.get_ident()
            try:
                return importlib.import_module(name)
            finally:
                sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        """The import system's question, answered for what we lend, in the thread that borrows."""
        if threading.get_ident() != self._thread:
            return None
        if name in _UNWANTED:
            raise ModuleNotFoundError("%s is not for what is lent" % name, name=name)
        directory = self.paths.get(name.partition(".")[0])
        if directory is None:
            return None
        return importlib.machinery.PathFinder.find_spec(name, [directory] if path is None else path)
