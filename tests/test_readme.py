"""The README's examples, run as pasted, and its promises about itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PATIENCE = 60  # seconds for an example; none takes five


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def sessions() -> list[tuple[str, str]]:
    """Each command of the `console` blocks and the output it is said to have."""
    parts = [part for block in blocks("console") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


@pytest.mark.parametrize(("command", "output"), sessions(), ids=lambda value: value.split("\n")[0][:30])
def test_the_shell_does_as_shown(command: str, output: str, tmp_path: Path) -> None:
    # Also where it is not installed: the command is this checkout's.
    program = tmp_path / "bin" / "nrepl-py"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nrepl_py "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | {"PATH": os.pathsep.join([str(program.parent), os.environ["PATH"]]), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == output, done.stderr


@pytest.mark.parametrize("source", blocks("python"), ids=range(len(blocks("python"))))
def test_the_python_runs_as_pasted(source: str, tmp_path: Path) -> None:
    example = tmp_path / "example.py"
    example.write_text(source)
    done = subprocess.run(
        [sys.executable, example],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2\n0\n1\n2\n0 1000000\n"


def test_there_are_exactly_two_set_up_commands() -> None:
    commands = blocks("sh")
    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)


def test_every_link_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_path_of_the_table_is_there() -> None:
    rows = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `")]
    for row in rows:
        directory = ROOT
        for name in re.findall(r"`([^`]+)`", row):
            # `nrepl_py/codec.py`, `errors.py`: the later ones lie beside the first.
            path = ROOT / name if "/" in name else directory / name
            if not path.exists():
                path = directory / name
            assert path.exists(), name
            directory = path.parent
