"""The Emacs client: its own tests against real servers, what Emacs' checkers say, and an Emacs that is typed into."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import CI, need
from tests.editors.screen import Screen

ROOT = Path(__file__).parent.parent.parent
LISP = ROOT / "editors" / "emacs"
SOURCES = sorted(LISP.glob("*.el"))
TESTS = sorted((LISP / "test").glob("*.el"))
PATIENCE = 200  # seconds for what takes 60 where nothing else runs

Emacs = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of somebody who has configured nothing."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def environment(home: Path) -> dict[str, str]:
    command = f"{sys.executable} -m nrepl_py"
    terminal = {"LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
    return os.environ | {"HOME": str(home), "NREPL_COMMAND": command} | terminal


@pytest.fixture(scope="module")
def emacs(environment: dict[str, str]) -> Emacs:
    """Run Emacs without a terminal; its packages are Debian's."""
    program = need("emacs")

    def run(*arguments: str | Path, first: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, "--batch", *(f"--directory={path}" for path in (*first, LISP)), *map(str, arguments)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )

    if run("--eval", "(progn (require 'websocket) (require 'package-lint) (require 'relint))").returncode != 0:
        (pytest.fail if CI else pytest.skip)("this test needs elpa-websocket, elpa-package-lint and elpa-relint")
    return run


@pytest.fixture(scope="module")
def compiled(emacs: Emacs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory of the compiled files, and what the compiler said."""
    directory = tmp_path_factory.mktemp("compiled")
    place = f'(lambda (file) (expand-file-name (concat (file-name-base file) ".elc") "{directory}"))'
    strict = f"(setq byte-compile-error-on-warn t byte-compile-dest-file-function {place})"
    done = emacs("--eval", strict, "-f", "batch-byte-compile", *SOURCES)
    return directory, said(done)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What Emacs has to say, but for Debian's own greeting."""
    lines = (done.stdout + done.stderr).splitlines()
    return "\n".join(line for line in lines if "site-start.d" not in line and line.strip())


def test_it_compiles_without_a_warning(compiled: tuple[Path, str]) -> None:
    directory, output = compiled
    assert output == ""
    assert {path.stem for path in directory.iterdir()} == {path.stem for path in SOURCES}


def test_checkdoc_has_nothing_to_say(emacs: Emacs) -> None:
    calls = " ".join(f'(checkdoc-file "{path}")' for path in SOURCES)
    # Its experimental check takes each third person for a missing imperative.
    assert said(emacs("--eval", f"(progn (setq checkdoc-verb-check-experimental-flag nil) {calls})")) == ""


def test_relint_finds_no_fault_with_a_regexp(emacs: Emacs) -> None:
    done = emacs("-l", "relint", "-f", "relint-batch", *SOURCES, *TESTS)
    assert done.returncode == 0, said(done)


def test_package_lint_finds_a_package(emacs: Emacs) -> None:
    archive = """(progn (require 'package-lint) (package-initialize)
        (advice-add 'package-initialize :override #'ignore) ; it would forget the next line
        (setq package-archive-contents
              (list (list 'websocket (package-desc-create :name 'websocket :version '(1 13) :archive "gnu")))))"""
    main = f'(setq package-lint-main-file "{LISP / "nrepl-py.el"}")'
    done = emacs("--eval", archive, "--eval", main, "-f", "package-lint-batch-and-exit", *SOURCES)
    findings = {
        line.partition(": ")[2] for line in said(done).splitlines() if re.search(r":\d+: (error|warning)", line)
    }
    assert findings <= {
        "error: Package should have a Homepage or URL header.",  # the project has none yet
        "warning: This makes the package uninstallable in all released Emacs versions.",  # it is older than Emacs 28
    }


def test_all_is_autoloaded_that_one_begins_with(emacs: Emacs, tmp_path: Path) -> None:
    loads = tmp_path / "loads.el"
    make = f'(progn (require \'autoload) (make-directory-autoloads "{LISP}" "{loads}") (load "{loads}")'
    begins = "nrepl-py-mode nrepl-py-jack-in nrepl-py-connect org-babel-execute:nrepl-py"
    done = emacs(
        "--eval", make + f' (dolist (one \'({begins})) (unless (autoloadp (symbol-function one)) (error "%s" one))))'
    )
    assert done.returncode == 0, said(done)


@pytest.mark.timeout(PATIENCE + 20)
@pytest.mark.parametrize("suite", TESTS, ids=lambda path: path.stem)
def test_its_own_tests(emacs: Emacs, compiled: tuple[Path, str], suite: Path) -> None:
    done = emacs("-l", suite, "-f", "ert-run-tests-batch-and-exit", first=(compiled[0],))
    assert done.returncode == 0, said(done)
    ((ran, expected, unexpected),) = re.findall(
        r"^Ran (\d+) tests, (\d+) results as expected, (\d+) unexpected", said(done), re.M
    )
    assert int(ran) == int(expected) == len(re.findall(r"^\(ert-deftest ", suite.read_text("utf-8"), re.M))
    assert unexpected == "0"


@pytest.fixture
def screen(emacs: Emacs, environment: dict[str, str], home: Path, tmp_path: Path) -> Iterator[Screen]:
    readme = (LISP / "README.md").read_text("utf-8")
    (init,) = re.findall(r"^```elisp\n(.*?)^```$", readme, re.M | re.S)
    (home / ".emacs.d").mkdir(exist_ok=True)
    command = f'(setq nrepl-py-command \'("{sys.executable}" "-m" "nrepl_py") inhibit-startup-screen t)\n'
    init = command + init.replace("~/nrepl-py/editors/emacs", str(LISP))
    (home / ".emacs.d" / "init.el").write_text(init, "utf-8")
    # Emacs compiles Debian's packages when it first sees them, and warns of them in a window.
    (home / ".emacs.d" / "early-init.el").write_text("(setq native-comp-deferred-compilation nil)\n")
    file = tmp_path / "first.py"
    file.write_text(
        "# %% first\ngreeting = 'hello'\ngreeting.upper()\n# %% second\nname = input('who? ')\n1 / 0\n", "utf-8"
    )
    running = Screen(environment, tmp_path, need("emacs"), "-nw", str(file))
    yield running
    running.kill()


@pytest.mark.timeout(PATIENCE)
def test_a_newcomer_types(screen: Screen) -> None:
    screen.shows(r"greeting\.upper\(\)")
    screen.shows(r"nrepl-py\[-\]")
    screen.type("C-c", "M-j")
    screen.shows(r"nrepl-py: ready, in session")
    screen.shows(r"^>>>$")
    screen.type("Down", "C-c", "C-j")
    screen.shows(r"^greeting\.upper\(\) => 'HELLO'$")
    screen.type("Down")
    screen.hides(r"=> 'HELLO'$")
    screen.type("Down", "Down", "Down", "C-c", "C-j")
    screen.shows(r"^who\?$")
    screen.write("Ada")
    screen.type("Enter")
    screen.shows(r"^1 / 0 => ZeroDivisionError: division by zero$")
    screen.shows(r"first\.py:6 in <module>")
    screen.type("C-c", "C-z")
    screen.write("name + gree")
    screen.type("Tab")
    screen.shows(r"^>>> name \+ greeting")
    screen.type("Enter")
    screen.shows(r"^'Adahello'$")
    screen.write("print('it runs'); import time; time.sleep(1000)")
    screen.type("Enter")
    screen.shows(r"^it runs$")
    screen.type("C-c", "C-c")
    screen.shows(r"^; interrupted$")
    screen.leave("C-x", "C-c")
