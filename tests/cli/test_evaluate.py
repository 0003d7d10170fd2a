"""`nrepl-py eval`, with a server of the directory's and without one."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from nrepl_py import connection_file
from tests.cli.conftest import PATIENCE, Shell


@pytest.fixture(params=["embedded", "served"])
def where(request: pytest.FixtureRequest) -> Shell:
    shell: Shell = request.getfixturevalue("shell" if request.param == "embedded" else "served")
    return shell


def test_output_and_value(where: Shell) -> None:
    result = where.run("eval", "import sys; print('out'); print('err', file=sys.stderr); 6 * 7")
    assert (result.stdout, result.stderr, result.returncode) == ("out\n42\n", "err\n", 0)


def test_an_error(where: Shell) -> None:
    result = where.run("eval", "1/0")
    assert (result.stdout, result.returncode) == ("", 1)
    assert result.stderr.startswith("Traceback")
    assert result.stderr.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(("code", "expected"), [("exit()", 0), ("exit(7)", 7), ("import sys; sys.exit('why')", 1)])
def test_exit_codes(where: Shell, code: str, expected: int) -> None:
    assert where.run("eval", code).returncode == expected


def test_code_from_standard_input(where: Shell) -> None:
    assert where.run("eval", "-", stdin="x = 'ü'\nx * 2\n").stdout == "'üü'\n"


def test_a_file(where: Shell) -> None:
    path = where.directory / "script.py"
    path.write_bytes("# -*- coding: latin-1 -*-\nname = 'é'\nprint(name)\n1/0\n".encode("latin-1"))
    result = where.run("eval", "--file", "script.py")
    assert result.stdout == "é\n"
    assert f'File "{path}", line 4' in result.stderr
    missing = where.run("eval", "--file", "missing.py")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)


def test_input_is_passed_through(where: Shell) -> None:
    result = where.run("eval", "[input(), input()]", stdin="a\nb\nc\n")
    assert "['a', 'b']" in result.stdout
    assert "EOFError" in where.run("eval", "input()").stderr


def test_raw_messages(where: Shell) -> None:
    result = where.run("eval", "--json", "print('x'); 1")
    messages = [json.loads(line) for line in result.stdout.splitlines()]
    assert "".join(message.get("out", "") for message in messages) == "x\n"
    assert messages[-1]["status"] == ["done"]


def test_the_working_directory_is_here(where: Shell) -> None:
    assert where.run("eval", "import os; print(os.getcwd())").stdout.strip() == str(where.directory.resolve())


def test_ctrl_c_interrupts(where: Shell) -> None:
    process = where.start("eval", "print('on', flush=True)\nwhile True: pass")
    assert process.stdout is not None
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "KeyboardInterrupt" in err
    assert "nrepl_py" not in err


def test_a_reader_that_goes_away(where: Shell) -> None:
    process = where.start("eval", "while True: print('x' * 1000)", stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    assert process.wait(PATIENCE) == 141
    for pipe in (process.stdin, process.stderr):
        assert pipe is not None
        pipe.close()


def test_a_session_lives_on(served: Shell) -> None:
    assert served.run("eval", "--session", "work", "x = 41").returncode == 0
    assert served.run("eval", "--session", "work", "x + 1").stdout == "42\n"
    assert "NameError" in served.run("eval", "x").stderr
    served.run("close", "work")
    assert "NameError" in served.run("eval", "--session", "work", "x").stderr
    served.run("close", "work")


def test_a_session_needs_a_server(shell: Shell) -> None:
    result = shell.run("eval", "--session", "work", "1")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "nrepl-py serve" in result.stderr


def test_a_bad_interpreter(where: Shell) -> None:
    result = where.run("eval", "--python", "/no/such/python", "1")
    assert result.returncode == 1
    assert "/no/such/python" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_directory_that_a_confined_session_may_not_have_is_said(served: Shell) -> None:
    run = served.run("eval", "import os; os.getcwd()")
    assert run.stdout == f"{str(served.directory)!r}\n"
    elsewhere = Shell(Path("/"))
    elsewhere.env |= {"NREPL_PY_TOKEN_FILE": str(served.directory / "token")}
    server = connection_file.find(str(served.directory))
    assert server is not None
    (served.directory / "token").write_text(server.token)
    run = elsewhere.run("eval", "--url", server.url, "1 + 1")
    assert run.stdout == "2\n"
    assert "holds the home directory" in run.stderr
    assert "works elsewhere" in run.stderr


def test_a_timeout_that_kills(shell: Shell) -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    result = shell.run("eval", "--timeout", "1", "--kill-after", "0.1", code)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "nrepl-py: session restarted\n"


def test_a_crash_is_explained(shell: Shell) -> None:
    result = shell.run("eval", "import ctypes; ctypes.string_at(0)")
    assert result.returncode == 1
    assert "Segmentation fault" in result.stderr
    assert result.stderr.endswith("nrepl-py: session died (signal SIGSEGV)\n")
