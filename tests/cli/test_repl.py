"""`nrepl-py repl`, driven through a terminal as a person would, and through a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pexpect
import pytest

from tests.cli.conftest import COMMAND, PATIENCE, Shell


def test_a_pipe_is_evaluated_without_prompts(shell: Shell) -> None:
    code = "x = 1\ndef f():\n    return x + 1\n\nf()\nfor i in range(2):\n    i\n\n1/0\n'after'\n"
    result = shell.run("repl", stdin=code)
    assert (result.stdout, result.returncode) == ("2\n0\n1\n'after'\n", 0)
    assert "ZeroDivisionError" in result.stderr


def test_a_pipe_feeds_input(shell: Shell) -> None:
    assert "'typed'" in shell.run("repl", stdin="input()\ntyped\n").stdout


def test_restart(shell: Shell) -> None:
    assert shell.run("repl", stdin="x = 1\n%restart\n'x' in globals()\n").stdout == "False\n"


def test_snapshots(shell: Shell) -> None:
    typed = (
        "x = [1]\n%snapshot\nx.append(2)\n%snapshot two\nx.append(3)\nx\n"
        "%rollback\nx\n%rollback 1\nx\nx.append(9)\n%rollback 1\nx\n%rollback two\nx\n%rollback three\nx\n"
    )
    result = shell.run("repl", stdin=typed)
    assert result.stdout == "[1, 2, 3]\n[1, 2]\n[1]\n[1]\n[1, 2]\n[1, 2]\n"
    told = result.stderr.splitlines()
    assert told[:2] == ["[snapshot 1]", "[snapshot two]"]
    assert told[2:6] == ["[back at snapshot two]", *["[back at snapshot 1]"] * 2, "[back at snapshot two]"]
    assert told[6] == "nrepl-py: no snapshot 'three'; there are 1, two"


def test_snapshots_that_cannot_be(shell: Shell) -> None:
    typed = (
        "%rollback\nimport threading; flag = threading.Event()\n"
        "threading.Thread(target=flag.wait, name='mine', daemon=True).start()\n%snapshot\nflag.set()\n'on'\n"
    )
    result = shell.run("repl", stdin=typed)
    assert result.stdout == "'on'\n"
    assert "there is no snapshot; %snapshot takes one" in result.stderr
    assert "mine" in result.stderr


def test_snapshots_end_with_the_repl(served: Shell) -> None:
    served.run("repl", "--session", "kept", stdin="x = 1\n%snapshot\nx = 2\n%snapshot\n%rollback 1\n")
    assert served.run("eval", "--session", "kept", "x").stdout == "1\n"
    assert len(served.run("sessions").stdout.strip().splitlines()) == 2  # a heading, and that one
    served.run("close", "kept")


def test_a_session_by_name(served: Shell) -> None:
    served.run("repl", "--session", "shared", stdin="y = 5\n")
    assert served.run("eval", "--session", "shared", "y").stdout == "5\n"
    served.run("close", "shared")


@pytest.fixture
def terminal(shell: Shell) -> Iterator[Any]:
    env = {**shell.env, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    child = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "repl"], cwd=str(shell.directory), env=env, encoding="utf-8", timeout=PATIENCE,
        dimensions=(40, 120),
    )  # fmt: skip
    child.expect(">>>")
    yield child
    child.close(force=True)


def test_values_output_and_errors(terminal: Any) -> None:
    terminal.send("6 * 7\r")
    terminal.expect("42\r\n")
    terminal.send("print('hel' + 'lo')\r")
    terminal.expect("hello\r\n")
    terminal.send("1/0\r")
    terminal.expect("ZeroDivisionError: division by zero")


def test_a_block_goes_on_until_an_empty_line(terminal: Any) -> None:
    terminal.send("def double(n):\r")
    terminal.expect(r"\.\.\.")
    terminal.send("return n * 2\r\r")
    terminal.expect(">>>")
    terminal.send("double(21)\r")
    terminal.expect("42\r\n")


def test_ctrl_c_interrupts_and_the_session_lives(terminal: Any) -> None:
    terminal.send("kept = 'kept'\r")
    terminal.expect(">>>")
    terminal.send("while print('o' + 'n') or True: __import__('time').sleep(0.01)\r\r")
    terminal.expect("on\r\n")
    terminal.send("\x03")
    terminal.expect("KeyboardInterrupt")
    terminal.expect(">>>")
    terminal.send("kept.upper()\r")
    terminal.expect("'KEPT'")


def test_what_ignores_ctrl_c_is_left_and_the_session_restarted(terminal: Any) -> None:
    terminal.send("import signal; ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)\r")
    terminal.expect(">>>")
    terminal.send("while print('o' + 'n') or True: __import__('time').sleep(1000)\r\r")
    terminal.expect("on\r\n")
    for said in (None, "%restart starts the session afresh", "left running; %restart ends it"):
        terminal.send("\x03")
        if said:
            terminal.expect(said)
    terminal.expect(">>>")
    terminal.send("%restart\r")
    terminal.expect("a fresh worker")
    terminal.expect(">>>")
    terminal.send("'ignored' in globals()\r")
    terminal.expect("False\r\n")


def test_input_and_passwords(terminal: Any) -> None:
    terminal.send("name = input('Na' + 'me? ')\r")  # the prompt, and not the echo of the code, is waited for
    terminal.expect(r"Name\?")
    terminal.send("Ada\r")
    terminal.expect(">>>")
    terminal.send("name.upper()\r")
    terminal.expect("'ADA'")
    terminal.send("import getpass; len(getpass.getpass('Sec' + 'ret: '))\r")
    terminal.expect("Secret:")
    terminal.send("hunter2\r")
    terminal.expect("7\r\n")
    assert "hunter2" not in terminal.before


def test_completion(terminal: Any) -> None:
    terminal.send("import os\r")
    terminal.expect(">>>")
    terminal.send("os.getcw")
    terminal.expect("getcwdb")  # the menu, from the live session
    terminal.send("\t() and 'comp' + 'leted'\r")
    terminal.expect("'completed'")


def test_ctrl_d_ends(terminal: Any) -> None:
    terminal.send("\x04")
    terminal.expect(pexpect.EOF)
    terminal.wait()
    assert terminal.exitstatus == 0


def test_history_is_kept_between_runs(terminal: Any, shell: Shell) -> None:
    terminal.send("'remember ' + 'me'\r")
    terminal.expect("'remember me'")
    terminal.send("\x04")
    terminal.expect(pexpect.EOF)
    history = shell.directory / "state" / "nrepl-py" / "history"
    assert "remember" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0
