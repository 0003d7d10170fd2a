"""Options, exit codes, and a quick start."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from nrepl_py import __version__, connection_file
from tests.cli.conftest import COMMAND, PATIENCE, ROOT, Shell

HEAVY = (
    "asyncio",
    "websockets",
    "msgspec",
    "msgpack",
    "prompt_toolkit",
    "jedi",
    "pygls",
    "lsprotocol",
    "nrepl_py.server",
    "nrepl_py.client",
)


@pytest.mark.parametrize("option", ["--version", "--help", "eval --help", "lsp --help"])
def test_help_and_version_load_nothing_heavy(option: str) -> None:
    code = (
        "import sys\nfrom nrepl_py.cli.main import main\n"
        f"try: main({option.split()!r})\nexcept SystemExit as end: assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stderr == "[]\n"
    assert __version__ in result.stdout or "usage: nrepl-py" in result.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["no-such-command"], ["eval"], ["eval", "1", "--file", "x"], ["serve", "--port", "x"], ["close"]]
)
def test_usage_errors(shell: Shell, arguments: list[str]) -> None:
    result = shell.run(*arguments)
    assert result.returncode == 2
    assert "usage: nrepl-py" in result.stderr


@pytest.mark.parametrize("command", [["sessions"], ["close", "x"], ["interrupt", "x"], ["describe"], ["stop"]])
def test_without_a_server_one_line_says_what_to_do(shell: Shell, command: list[str]) -> None:
    result = shell.run(*command)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "nrepl-py serve" in result.stderr


def test_a_bad_interpreter_is_refused_at_the_start(shell: Shell) -> None:
    result = shell.run("serve", "--python", "/no/such/python")
    assert (result.returncode, result.stdout) == (2, "")
    assert "/no/such/python" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_standard_streams(shell: Shell) -> None:
    """As some start daemons: what is opened next must not become descriptor 0, 1 or 2."""
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *COMMAND]
    server = subprocess.Popen([*closed, "serve"], cwd=shell.directory, env=shell.env)
    deadline = time.monotonic() + PATIENCE
    while connection_file.find(str(shell.directory)) is None:
        assert server.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)  # its banner went nowhere
    assert shell.run("eval", "1 + 1").stdout == "2\n"
    assert (
        subprocess.run([*closed, "eval", "1 + 1"], cwd=shell.directory, env=shell.env, timeout=PATIENCE).returncode == 0
    )
    assert shell.run("stop").returncode == 0
    assert server.wait(PATIENCE) == 0
