"""The first code of ours in a target interpreter: makes the worker's modules importable from source.

This file's text, with `SOURCES` (module name below `PACKAGE` → source) put before it, is what the router hands over
through a descriptor. It runs under `-I -S`, before `site` and anything of the user's.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import socket
import sys
from typing import Any, Dict, List, Optional

SOURCES: Dict[str, str]

PACKAGE = "_nrepl_py"


class Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads the worker's modules."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        package, _, short = name.partition(".")
        if package != PACKAGE or short not in SOURCES:
            return None
        origin = "<nrepl-py>/%s.py" % short.replace(".", "/")
        return importlib.machinery.ModuleSpec(name, self, origin=origin, is_package=self.is_package(name))

    def is_package(self, name: str) -> bool:
        return name.count(".") < 2

    def get_source(self, name: str) -> str:
        return SOURCES[name.partition(".")[2]]

    def exec_module(self, module: Any) -> None:
        spec = module.__spec__
        exec(compile(self.get_source(spec.name), spec.origin, "exec", dont_inherit=True), module.__dict__)


def boot(arguments: List[str]) -> None:
    """The descriptor of the bundle, then `zygote SOCKET`, `worker CONTROL SIDE WORD`, `confine PLAN`: numbers of
    inherited descriptors; or `probe`."""
    sys.meta_path.insert(0, Sources())
    bundle, kind, numbers = int(arguments[0]), arguments[1], [int(argument) for argument in arguments[2:]]
    if kind in ("zygote", "worker"):
        os.close(bundle)  # all of it has been read; no session has to do with it
    if kind == "confine":
        from _nrepl_py.sandbox import build  # type: ignore[import-not-found]

        build.main(numbers[0])
    elif kind == "probe":
        from _nrepl_py.sandbox import probe

        probe.main()
    elif kind == "zygote":
        from _nrepl_py.worker import zygote  # type: ignore[import-not-found]

        zygote.serve(socket.socket(fileno=numbers[0]))
    else:
        from _nrepl_py.worker import process, zygote

        for number in numbers:  # inherited by us, but not by what the session starts
            os.set_inheritable(number, False)
        zygote.guard(numbers[0])
        zygote.run_site()
        process.run(socket.socket(fileno=numbers[0]), socket.socket(fileno=numbers[1]), numbers[2])


boot(sys.argv[1:])
