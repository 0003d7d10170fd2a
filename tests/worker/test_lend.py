"""What is lent: found without importing it, imported without a trace in `sys.path`."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from nrepl_py import lent
from nrepl_py.worker.lend import Lender
from tests.worker.remote import everywhere, run


def test_the_servers_packages_are_found_without_importing_them() -> None:
    code = "import sys; from nrepl_py import lent; d = lent.directories(); print(sorted(d), 'jedi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "['cloudpickle', 'jedi', 'parso'] False"
    assert all((Path(directory) / name).is_dir() for name, directory in lent.directories().items())


@everywhere
def test_lent_packages_import_in_any_interpreter(python: str) -> None:
    script = """
        path, finders = list(sys.path), len(sys.meta_path)
        jedi = lender.load("jedi")
        import parso
        result = [
            lender.load("jedi") is jedi, lender.load("jedi.api").__name__, lender.load("cloudpickle").dumps(1) != b"",
            sys.path == path, len(sys.meta_path) == finders,
        ]
    """
    assert run(python, script) == [True, "jedi.api", True, True, True]


@everywhere
def test_nothing_else_of_the_servers_is_importable(python: str) -> None:
    script = """
        lender.load("jedi")
        try:
            import msgspec
            result = msgspec.__file__
        except ImportError:
            result = None
    """
    assert run(python, script) != lent.directories()["jedi"]
    assert run(python, "result = [name for name in sys.modules if name.split('.')[0] in ('jedi', 'parso')]") == []


@everywhere
def test_no_finder_of_the_users_is_asked(python: str) -> None:
    script = """
        asked = []
        class Finder:
            def find_spec(self, name, path=None, target=None): asked.append(name)
        sys.meta_path.insert(0, Finder())
        lender.load("jedi")
        lender.load("cloudpickle")
        result = [name for name in asked if name.partition(".")[0] in ("jedi", "parso", "cloudpickle", "colorama")]
    """
    assert run(python, script) == []


def test_the_sessions_own_copy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    own = types.ModuleType("jedi")
    monkeypatch.setitem(sys.modules, "jedi", own)
    assert Lender({"jedi": "/nowhere"}).load("jedi") is own


def test_what_is_not_there_is_an_import_error(tmp_path: Path) -> None:
    finders = list(sys.meta_path)
    with pytest.raises(ImportError):
        Lender({"nrepl_py_no_such_package": str(tmp_path)}).load("nrepl_py_no_such_package")
    assert sys.meta_path == finders
