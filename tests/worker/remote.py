"""Runs scripts on worker modules inside other interpreters, started as a worker is: `-I -S`, no package of ours.

A script is Python text that calls `session(code)` to define things as an eval would, and assigns
`result`, which comes back as JSON.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from nrepl_py import lent
from nrepl_py.evaluators import bundle

_SOURCES = bundle.modules()

_START = """
import builtins, importlib.abc, importlib.machinery, json, linecache, sys, types

given = json.loads(sys.stdin.readline())
SOURCES = given["sources"]

class Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        package, _, short = name.partition(".")
        if package != "_nrepl_py" or short not in SOURCES:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=self.is_package(name))
    def is_package(self, name):
        return name.count(".") < 2
    def get_source(self, name):
        return SOURCES[name.partition(".")[2]]
    def exec_module(self, module):
        name = module.__spec__.name
        exec(compile(self.get_source(name), "<%s>" % name, "exec", dont_inherit=True), module.__dict__)

sys.meta_path.insert(0, Sources())
import site
site.main()
main = types.ModuleType("__main__")
main.__dict__["__builtins__"] = builtins
sys.modules["__main__"] = main
files = []

def session(code, file=None):
    file = file or "<eval %d>" % (len(files) + 1)
    files.insert(0, file)
    linecache.cache[file] = (len(code), None, code.splitlines(True), file)
    exec(compile(code, file, "exec", dont_inherit=True), main.__dict__)

def install(**options):
    from _nrepl_py.worker import hooks
    hooks.install(lender, sources=lambda: files, ask_password=lambda prompt: "asked " + prompt, **options)

from _nrepl_py.worker.lend import Lender
lender = Lender(given["lent"])
scope = {"session": session, "install": install, "lender": lender, "main": main, "files": files, "sys": sys}
exec(compile(given["script"], "<script>", "exec"), scope)
print("\\n" + json.dumps(scope.get("result")))
"""


def interpreters() -> list[str]:
    """Every interpreter here that a session may ask for: CPython 3.9 and later, PyPy 3.9."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    names = [f"python3.{minor}" for minor in range(9, 15)] + ["python3", "pypy3"]
    # A shim that picks a version by the directory it is called in is no interpreter of its own.
    search = os.pathsep.join(part for part in os.get_exec_path() if "shims" not in part)
    candidates = [path for name in names if (path := shutil.which(name, path=search))]
    candidates += [str(path / "bin" / "python") for path in pyenv.glob("*")]
    found: dict[str, str] = {}
    for path in candidates:
        version = _version(path)
        if version and version.partition(" ")[2] >= "3.09":
            found.setdefault(version, path)
    return [found[version] for version in sorted(found)]


def name_of(python: str) -> str:
    return _version(python).replace(" ", "-")


@functools.lru_cache
def _version(python: str) -> str:
    code = "import sys; print(sys.implementation.name, '%d.%02d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip()


everywhere = pytest.mark.parametrize(
    "python", [pytest.param(python, marks=pytest.mark.once) for python in interpreters()], ids=name_of
)


def run(python: str, script: str, *, timeout: float = 60, env: dict[str, str] | None = None) -> Any:
    """What the script assigned to `result`. Raises AssertionError with its stderr where it failed."""
    given = {"sources": _SOURCES, "lent": lent.directories(), "script": textwrap.dedent(script)}
    process = subprocess.Popen(
        [python, "-I", "-S", "-c", _START],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=dict(os.environ) | (env or {}),
    )  # fmt: skip
    try:
        out, err = process.communicate(json.dumps(given) + "\n", timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # its pools too
        out, err = process.communicate()
        raise AssertionError(f"hangs: {err}") from None
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])
