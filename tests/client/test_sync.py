"""The blocking client, as a program uses it."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from nrepl_py import connect, errors
from nrepl_py.client import Client, ConnectionLost, EvalError, Interrupted, NoServer, aio
from nrepl_py.client.portal import Portal
from nrepl_py.embed import Embedded, serve_in_thread
from nrepl_py.errors import UnknownSession
from tests.client.proxy import proxy

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60  # seconds before a silent process fails a test
FOREVER = "import time\nprint('running', flush=True)\nwhile True: time.sleep(3600)"


@pytest.fixture
def s(server: Embedded) -> Iterator[Client]:
    with connect(server.url, server.token) as s:
        yield s


def test_clones_and_going_back(s: Client) -> None:
    s.eval("x = [1]")
    own = s.session(s.id)
    copy = own.clone(name="copy")
    assert copy.info["start"] == "clone"
    own.eval("x.append(2)")
    assert (copy.eval("x").value, own.eval("x").value) == ("[1]", "[1, 2]")
    assert own.restart(copy)["epoch"] == 2
    assert own.eval("x").value == "[1]"
    assert s.restart("copy")["epoch"] == 3
    with s.clone(session="copy") as another:
        assert another.eval("x").value == "[1]"
    copy.close()


def test_the_shortest_program(server: Embedded) -> None:
    with connect(server.url, server.token) as s:
        assert s.eval("1+1").value == "2"


def test_every_eval_of_a_client_is_in_one_session_of_its_own(server: Embedded, s: Client) -> None:
    assert s.sessions() == []
    s.eval("x = 1")
    assert s.eval("x").value == "1"
    assert [entry["id"] for entry in s.sessions()] == [s.id]
    with connect(server.url, server.token) as other:
        assert other.id != s.id
        assert other.eval("x").error["type"] == "NameError"
        assert len(other.sessions()) == 2
    assert len(s.sessions()) == 1


def test_an_idle_client_makes_no_session_and_closes_twice(server: Embedded) -> None:
    s = connect(server.url, server.token)
    s.close()
    s.close()
    with pytest.raises(RuntimeError, match="this client was closed"):
        s.eval("1")


def test_nothing_of_a_closed_client_runs_on(server: Embedded) -> None:
    with connect(server.url, server.token) as s:
        s.eval("1")
        assert "nrepl-py client" in {thread.name for thread in threading.enumerate()}
    assert "nrepl-py client" not in {thread.name for thread in threading.enumerate()}


def test_results_and_errors(s: Client) -> None:
    result = s.eval("print('o')\n[1, b'x']", data=True)
    assert (result.out, result.data) == ("o\n", [1, b"x"])
    assert s.eval("1 / 0").error["type"] == "ZeroDivisionError"
    with pytest.raises(EvalError, match="ZeroDivisionError"):
        s.eval("1 / 0", check=True)
    with pytest.raises(errors.UnknownOp):
        s.request("conquer")
    with pytest.raises(errors.UnknownSession):
        s.session("nobody").eval("1")


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("option", [{"line": 2**70}, {"timeout": float("inf")}, {"timeout": float("nan")}])
def test_a_number_that_no_codec_carries_is_refused_and_nothing_waits(
    server: Embedded, codec: Any, option: dict[str, Any]
) -> None:
    with connect(server.url, server.token, codec=codec) as s:
        with pytest.raises(errors.InvalidMessage, match="eval: the request cannot be encoded: "):
            s.eval("1", **option)
        assert s.eval("1").value == "1"


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_bytes_in_values_by_each_codec(server: Embedded, codec: Any) -> None:
    code = "class P:\n    def _repr_png_(self): return b'\\x89PNG'\nP()"
    with connect(server.url, server.token, codec=codec) as s:
        assert s.eval("{'b': [b'\\x00\\xff'], 'n': 2**63 - 1}", data=True).data == {"b": [b"\x00\xff"], "n": 2**63 - 1}
        assert s.eval(code, mime=["image/png"]).mime == {"image/png": b"\x89PNG"}


def test_the_other_methods(s: Client, tmp_path: Path) -> None:
    path = tmp_path / "lib.py"
    path.write_text("def greet(name): 'Say hello.'")
    assert s.load_file(path).ok
    assert [found["candidate"] for found in s.completions("gree")] == ["greet"]
    assert s.signature("greet(")[0]["parameters"][0]["label"] == "name"
    assert s.lookup("greet")["doc"] == "Say hello."
    assert s.is_complete("if x:")["state"] == "incomplete"
    assert "session-idle" in s.interrupt()["status"]
    assert "session-idle" in s.interrupt(kill_after=1)["status"]
    assert s.restart()["epoch"] == 2
    assert "eval" in s.describe()["ops"]
    assert s.address.url.startswith("ws://127.0.0.1:")


def test_more_sessions(s: Client) -> None:
    with s.clone(name="other") as other:
        other.eval("x = 2")
        assert s.session("other").eval("x").value == "2"
        assert s.eval("x").error["type"] == "NameError"
    with pytest.raises(errors.UnknownSession):
        other.eval("1")


def test_callbacks_run_in_the_calling_thread(s: Client) -> None:
    threads: set[threading.Thread] = set()

    def said(message: dict[str, Any]) -> None:
        threads.add(threading.current_thread())

    def answer(prompt: str, password: bool) -> str:
        threads.add(threading.current_thread())
        return prompt + "!"

    assert s.eval("input('a')", on_message=said, on_input=answer).value == "'a!'"
    assert threads == {threading.current_thread()}


def test_failing_callbacks_end_the_eval(s: Client) -> None:
    def fail(*_: object) -> str:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        s.eval(FOREVER, on_message=fail)
    with pytest.raises(LookupError, match="mine"):
        s.eval("input()", on_input=fail)
    assert s.eval("1").value == "1"


def test_a_stream_read_to_its_end(s: Client) -> None:
    messages = list(s.stream("print('a')\n1"))
    assert "".join(message.get("out", "") for message in messages) == "a\n"
    assert "done" in messages[-1]["status"]


def test_leaving_a_stream_early_interrupts_the_eval(s: Client) -> None:
    for message in s.stream(FOREVER):
        if "out" in message:
            break
    assert s.eval("1").value == "1"


def test_a_stream_left_behind_by_a_closed_client(server: Embedded) -> None:
    with connect(server.url, server.token) as s:
        stream = s.stream(FOREVER)
        next(stream)
    stream.close()


def test_several_threads_share_a_client(s: Client) -> None:
    values: dict[int, str | None] = {}
    threads = [threading.Thread(target=lambda n=n: values.update({n: s.eval(str(n)).value})) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == {n: str(n) for n in range(8)}
    assert len(s.sessions()) == 1


def test_no_server_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoServer, match=f"^no server runs for {tmp_path}; start one there with: nrepl-py serve$"):
        connect(directory=str(tmp_path))
    with pytest.raises(NoServer, match="^no server answers at ws://127.0.0.1:1: "):
        connect("ws://127.0.0.1:1", "token")
    assert "nrepl-py client" not in {thread.name for thread in threading.enumerate()}


def test_connect_tells_its_arguments() -> None:
    assert inspect.signature(connect) == inspect.signature(aio.connect)


def test_a_server_that_stopped() -> None:
    with serve_in_thread(kind="local") as server, connect(server.url, server.token) as s:
        s.eval("1")
        server.stop()
        with pytest.raises(ConnectionLost):
            s.eval("1")


def test_a_server_that_was_killed_in_an_eval(tmp_path: Path) -> None:
    with Program(
        """
        from nrepl_py.embed import serve_in_thread
        with serve_in_thread(kind="inprocess") as server:
            say(server.url, server.token)
            sys.stdin.read()
        """,
        ROOT,
    ) as host:
        url, token = host.hear().split()
        with connect(url, token, resume=1) as s, pytest.raises(ConnectionLost, match=f"the connection to {url} broke"):
            s.eval(FOREVER, on_message=lambda message: "out" in message and host.process.kill())


def test_a_connection_that_breaks_is_had_again_by_itself(server: Embedded) -> None:
    elsewhere = Portal()
    stack = AsyncExitStack()
    way = elsewhere.call(stack.enter_async_context, proxy(server.url))

    async def cut() -> None:
        way.cut()

    try:
        with connect(way.url, server.token) as client:
            client.eval("1")
            for _ in range(3):
                elsewhere.call(cut)
                assert client.eval("6 * 7").value == "42"
            result = client.eval(
                "for i in range(100): print(i, flush=True)",
                on_message=lambda message: "out" in message and message["seq"] % 30 == 0 and elsewhere.call(cut),
            )
            assert result.out == "".join(f"{i}\n" for i in range(100))
    finally:
        elsewhere.call(stack.aclose)
        elsewhere.close()


def test_looking_on(server: Embedded) -> None:
    with connect(server.url, server.token) as client, client.clone() as session:
        session.eval("1 + 1")
        seen = []
        for message in session.attach(since=0):
            seen.append(message["seq"])
            if message.get("value") == "2":
                break
        assert seen == list(range(1, len(seen) + 1))
        looking = session.attach()
        client.session(session.id).close()
        with pytest.raises(UnknownSession):
            next(looking)


class Program:
    """A Python program in a process of its own; `say(...)` in it writes a line that `hear` reads."""

    def __init__(self, code: str, cwd: Path, *arguments: str, **env: str) -> None:
        head = "import sys\ndef say(*words): print(*words, flush=True)\n"
        self.process = subprocess.Popen(
            [sys.executable, "-c", head + inspect.cleandoc(code), *arguments],
            cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), **env}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def press_ctrl_c(self) -> None:
        self.process.send_signal(signal.SIGINT)


def test_ctrl_c_interrupts_the_eval_and_then_the_program(server: Embedded, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(server.token)
    code = f"""
        from nrepl_py.client import connect, Interrupted
        with connect(sys.argv[1]) as s:
            try:
                s.eval({FOREVER!r}, on_message=lambda message: "out" in message and say("running"))
            except KeyboardInterrupt as error:
                say(type(error) is Interrupted, "interrupted" in error.result.status, error.result.out.strip())
            say(s.eval("1 + 1").value)
    """
    with Program(code, tmp_path, server.url, NREPL_PY_TOKEN_FILE=str(tmp_path / "token")) as user:
        assert user.hear() == "running"
        user.press_ctrl_c()
        assert user.hear() == "True True running"
        assert user.hear() == "2"
        user.process.communicate(timeout=PATIENCE)
        assert user.process.returncode == 0


def test_ctrl_c_in_a_callback_is_one_like_any_other(s: Client) -> None:
    def press(*_: object) -> str:
        signal.raise_signal(signal.SIGINT)
        return "never sent"

    for code, callbacks in (
        (FOREVER, {"on_message": lambda message: "out" in message and press()}),
        ("input()", {"on_input": press}),
    ):
        with pytest.raises(Interrupted) as caught:
            s.eval(code, **callbacks)
        assert {"interrupted", "done"} <= caught.value.result.status
    assert s.eval("1 + 1").value == "2"


def test_a_second_ctrl_c_gives_up(server: Embedded, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(server.token)
    stubborn = (
        "import time\nwhile True:\n"
        "    try:\n        print('running', flush=True)\n        while True: time.sleep(3600)\n"
        "    except KeyboardInterrupt: pass"
    )
    code = f"""
        from nrepl_py.client import connect, Interrupted
        with connect(sys.argv[1]) as s:
            try:
                s.eval({stubborn!r}, on_message=lambda message: "out" in message and say(message["out"].strip()))
            except KeyboardInterrupt as error:
                say(type(error) is Interrupted)
    """
    with Program(code, tmp_path, server.url, NREPL_PY_TOKEN_FILE=str(tmp_path / "token")) as user:
        assert user.hear() == "running"
        user.press_ctrl_c()
        assert user.hear() == "running", "the code ignored it"
        user.press_ctrl_c()
        while (heard := user.hear()) == "running":
            pass  # the server asks again after a while
        assert heard == "False"
        user.process.communicate(timeout=PATIENCE)
        assert user.process.returncode == 0
