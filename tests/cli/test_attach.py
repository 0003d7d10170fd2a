"""`nrepl-py attach` beside another terminal, and what survives a connection that breaks."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator

import pytest

from tests.cli.conftest import PATIENCE, Shell
from tests.client.proxy import Proxy, proxy


def test_looking_on(served: Shell) -> None:
    served.run("eval", "--session", "watched", "x = 5")
    watching = served.start("attach", "watched", "--since", "0")
    assert watching.stdout is not None
    served.run("eval", "--session", "watched", "print('hel' + 'lo'); x + 1")
    assert [watching.stdout.readline() for _ in range(2)] == ["hello\n", "6\n"]
    served.run("close", "watched")
    out, err = watching.communicate(timeout=PATIENCE)
    assert (watching.returncode, out) == (0, "")
    lines = err.splitlines()
    assert ">>> x = 5" in lines
    assert ">>> print('hel' + 'lo'); x + 1" in lines
    assert lines[-1].startswith("[session closed")


def test_raw_messages_and_ctrl_c(served: Shell) -> None:
    served.run("eval", "--session", "raw", "1")
    watching = served.start("attach", "raw", "--since", "0", "--json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["event"] == "started"
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=PATIENCE)
    assert watching.returncode == 130
    served.run("close", "raw")


def test_no_such_session(served: Shell) -> None:
    result = served.run("attach", "nobody")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "no session 'nobody'" in result.stderr


@pytest.fixture
def way(served: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, asyncio.AbstractEventLoop]]:
    """A way to the server that can be cut, and the loop it runs in."""
    from nrepl_py.client.address import find

    server = find(str(served.directory))
    token = served.directory / "token"
    token.write_text(server.token)
    served.env["NREPL_PY_TOKEN_FILE"] = str(token)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = proxy(server.url)
    yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(PATIENCE), loop
    asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(PATIENCE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_an_eval_survives_a_connection_that_breaks(served: Shell, way: tuple[Proxy, asyncio.AbstractEventLoop]) -> None:
    through, loop = way
    code = "for i in range(200):\n    print(i, flush=True)\nimport time; time.sleep(0.2)\n'end'"
    running = served.start("eval", "--session", "kept", "--url", through.url, code)
    assert running.stdout is not None
    assert running.stderr is not None
    assert running.stdout.readline() == "0\n"
    loop.call_soon_threadsafe(through.cut)
    # Not `communicate`, which forgets what was read ahead of the first line.
    out, err = running.stdout.read(), running.stderr.read()
    assert running.wait(PATIENCE) == 0
    assert out == "".join(f"{i}\n" for i in range(1, 200)) + "'end'\n"
    assert err == f"nrepl-py: the connection to {through.url} broke; it is back\n"
    served.run("close", "kept")


def test_a_repl_survives_a_connection_that_breaks(served: Shell, way: tuple[Proxy, asyncio.AbstractEventLoop]) -> None:
    through, loop = way
    running = served.start("repl", "--session", "typed", "--url", through.url)
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write("x = 6\nx\n")
    running.stdin.flush()
    assert running.stdout.readline() == "6\n"
    loop.call_soon_threadsafe(through.cut)
    out, err = running.communicate("x * 7\n", timeout=PATIENCE)
    assert (out, running.returncode) == ("42\n", 0)
    assert err == f"nrepl-py: the connection to {through.url} broke; it is back\n"
    served.run("close", "typed")
