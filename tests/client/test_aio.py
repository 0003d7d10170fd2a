"""The asyncio client, against a real server; and against a scripted one for what that never does."""

from __future__ import annotations

import asyncio
import gc
import http
from pathlib import Path
from typing import Any

import pytest

from nrepl_py import errors
from nrepl_py.client import ConnectionLost, EvalError, NoServer, aio
from nrepl_py.client.results import EvalResult
from nrepl_py.embed import Embedded, serve_in_thread
from tests.client.scripted import Peer, scripted

PATIENCE = 60  # seconds for anything awaited here; none of it takes one


@pytest.fixture(autouse=True)
async def patience():
    async with asyncio.timeout(PATIENCE):
        yield


@pytest.fixture(params=["msgpack", "json"])
async def client(server: Embedded, request: pytest.FixtureRequest):
    async with aio.connect(server.url, server.token, codec=request.param) as client:
        yield client


@pytest.fixture
async def session(client: aio.Client):
    async with await client.clone() as session:
        yield session


# -- connecting ---------------------------------------------------------------------------------


async def test_hello_says_who_is_there(client):
    assert client.principal == "owner"
    assert "eval" in client.capabilities
    assert client.server["name"]


async def test_connect_can_be_awaited(server):
    client = await aio.connect(server.url, server.token)
    assert (await client.describe())["limits"]["max-frame"] > 0
    await client.aclose()
    await client.aclose()


async def test_a_wrong_token_is_unauthorized(server):
    with pytest.raises(errors.Unauthorized):
        await aio.connect(server.url, "wrong")


async def test_nobody_there(unused_tcp_port):
    with pytest.raises(NoServer, match=r"no server answers at ws://127\.0\.0\.1"):
        await aio.connect(f"ws://127.0.0.1:{unused_tcp_port}", "token")


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "nonsense", "ws://"])
async def test_an_address_that_is_none(url):
    with pytest.raises(NoServer):
        await aio.connect(url, "token")


async def test_no_server_for_a_directory(tmp_path):
    with pytest.raises(NoServer, match="nrepl-py serve"):
        await aio.connect(directory=str(tmp_path))


async def test_a_forbidden_host_says_so():
    async def refuse(connection: Any, request: Any) -> Any:
        return connection.respond(http.HTTPStatus.FORBIDDEN, "not by this name\n")

    async with scripted(_silent, process_request=refuse) as server:
        with pytest.raises(errors.Forbidden, match="not by this name"):
            await aio.connect(server.url, "token")


async def test_the_token_is_a_header_and_from_the_environment_s_file(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("s3cret\n")
    monkeypatch.setenv("NREPL_PY_TOKEN_FILE", str(tmp_path / "token"))
    async with scripted(_silent) as server, aio.connect(server.url):
        assert server.headers[0]["Authorization"] == "Bearer s3cret"
        hello = server.received[0]
        assert hello["client-name"] == "nrepl-py"
        assert {"max-frame", "max-value"} < hello.keys()
        assert "token" not in hello


async def test_a_token_file_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("NREPL_PY_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(NoServer, match="NREPL_PY_TOKEN_FILE"):
        await aio.connect("ws://127.0.0.1:1")


async def test_a_unix_socket(tmp_path):
    path = str(tmp_path / "s")
    with serve_in_thread(unix=path, port=None) as server:
        async with aio.connect(unix=path, token=server.token) as client:
            assert (await client.eval("40 + 2")).value == "42"


async def test_an_unsupported_version_is_raised_and_the_connection_closed():
    async def handler(peer: Peer) -> None:
        raise AssertionError("hello was refused")

    async def refusing(websocket: Any) -> None:
        peer = Peer(websocket, [])
        await peer.reply(await peer.next(), "error", "unsupported-version", message="speak 2")
        await websocket.wait_closed()

    from websockets.asyncio.server import serve

    async with serve(refusing, "127.0.0.1", 0, subprotocols=["nrepl.v1.msgpack"]) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(errors.UnsupportedVersion, match="speak 2"):
            await aio.connect(f"ws://127.0.0.1:{port}")


# -- evaluating ---------------------------------------------------------------------------------


async def test_a_result_has_everything_said(session):
    result = await session.eval("import sys; print('a'); print('b', file=sys.stderr); 6 * 7")
    assert (result.value, result.out, result.err, result.ok) == ("42", "a\n", "b\n", True)
    assert result.session == session.id
    assert result.raise_for_error() is result


async def test_a_result_is_never_false():
    assert EvalResult(id="1")
    assert bool(EvalResult(id="1", error={"type": "E"}))


async def test_state_lives_in_the_session(session):
    await session.eval("x = 41")
    assert (await session.eval("x + 1")).value == "42"
    assert (await session.client.session(session.id).eval("x + 2")).value == "43"


async def test_all_values(session):
    result = await session.eval("1\n2\n3", values="all")
    assert (result.values, result.value) == (["1", "2", "3"], "3")


async def test_plain_data_is_the_value_itself(session):
    result = await session.eval("{'a': [1, 2.5, None, b'\\xff', 'ü']}", data=True)
    assert result.data == {"a": [1, 2.5, None, b"\xff", "ü"]}


async def test_mime_bytes_are_bytes(session):
    code = "class P:\n  def _repr_png_(self): return b'\\x89PNG'\n  def _repr_html_(self): return '<p>'\nP()"
    result = await session.eval(code, mime=["image/png", "text/html"])
    assert result.mime == {"image/png": b"\x89PNG", "text/html": "<p>"}


async def test_an_error_of_the_code_is_in_the_result(session):
    result = await session.eval("1/0")
    assert result.error["type"] == "ZeroDivisionError"
    assert not result.ok
    with pytest.raises(EvalError, match="ZeroDivisionError: division by zero") as raised:
        result.raise_for_error()
    assert raised.value.result is result
    with pytest.raises(EvalError, match="Traceback"):
        await session.eval("1/0", check=True)


async def test_exit_is_no_error_unless_its_code_is_one(session):
    assert (await session.eval("exit(0)")).ok
    result = await session.eval("exit(3)")
    assert (result.exit_code, result.ok) == (3, False)
    with pytest.raises(EvalError, match="3"):
        result.raise_for_error()


async def test_a_died_session_says_how(session):
    result = await session.eval("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "session-died" in result.status
    with pytest.raises(EvalError, match="session-died: signal SIGKILL"):
        result.raise_for_error()


async def test_a_fresh_session_for_one_eval(client):
    await client.eval("x = 1")
    assert (await client.eval("x")).error["type"] == "NameError"
    messages = [message async for message in client.stream("print(1)")]
    assert messages[-1]["status"] == ["done"]


async def test_refusals_are_their_class(client):
    with pytest.raises(errors.UnknownSession):
        await client.session("nobody").eval("1")
    with pytest.raises(errors.UnknownSession):
        async for _ in client.session("nobody").stream("1"):
            pass
    with pytest.raises(errors.StartFailed):
        await client.clone(python="/nonexistent/python")
    with pytest.raises(errors.UnknownOp):
        await client.request("dance")
    with pytest.raises(errors.InvalidMessage):
        await client.eval("1", line="one")
    assert (await client.eval("1")).value == "1"


async def test_what_cannot_be_encoded_is_refused_here(client):
    for bad in ({"code": object()}, {"code": "1", "line": 2**70}):
        with pytest.raises(errors.InvalidMessage, match="eval"):
            await client.request("eval", **bad)
    assert not client._connection.open
    assert (await client.eval("1")).value == "1"


async def test_requests_overlap(client):
    async with await client.clone() as one, await client.clone() as two:
        busy = asyncio.create_task(one.eval("input()", on_input=_never))
        assert (await two.eval("2")).value == "2"
        queued = asyncio.create_task(one.eval("3"))
        await asyncio.sleep(0)
        await one.stdin("x\n")
        assert (await busy).value == "'x'"
        assert (await queued).value == "3"


async def test_messages_come_as_they_are(session):
    seen: list[dict[str, Any]] = []

    async def later(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        seen.append(message)

    await session.eval("print(1)\n2", on_message=later)
    assert [key for message in seen for key in ("started", "out", "value") if key in message] == [
        "started",
        "out",
        "value",
    ]


async def test_load_file(session, tmp_path):
    path = tmp_path / "m.py"
    path.write_bytes("# -*- coding: latin-1 -*-\nname = 'ü'\n1/0\n".encode("latin-1"))
    result = await session.load_file(path)
    assert (result.error["traceback"][0]["file"], result.error["traceback"][0]["line"]) == (str(path), 3)
    assert (await session.eval("name")).value == "'ü'"
    assert (await session.load_file("untitled:1", "5", values="last")).value == "5"
    with pytest.raises(FileNotFoundError):
        await session.load_file(tmp_path / "none.py")


# -- input --------------------------------------------------------------------------------------


async def test_input_is_asked_for(session):
    asked: list[tuple[str, bool]] = []

    async def answer(prompt: str, password: bool) -> str | None:
        asked.append((prompt, password))
        return {"a? ": "one", "b? ": "two\n"}.get(prompt)

    code = "import getpass\n[input('a? '), getpass.getpass('b? ')]\n"
    assert (await session.eval(code, on_input=answer)).value == "['one', 'two']"
    assert asked == [("a? ", False), ("b? ", True)]
    assert (await session.eval("input('c? ')", on_input=answer)).error["type"] == "EOFError"


async def test_a_blocking_answer_does_not_block_the_client(session):
    import threading

    asked, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def answer(prompt: str, password: bool) -> str:
        loop.call_soon_threadsafe(asked.set)
        assert go.wait(PATIENCE)
        return "x"

    task = asyncio.create_task(session.eval("input()", on_input=answer))
    await asked.wait()
    assert (await session.client.eval("1")).value == "1"
    go.set()
    assert (await task).value == "'x'"


async def test_without_anyone_to_ask_there_is_no_input(session):
    assert (await session.eval("input()")).error["type"] == "EOFError"


async def test_the_end_of_the_eval_cancels_who_answers(session):
    cancelled = asyncio.Event()
    asked = asyncio.Event()

    async def answer(prompt: str, password: bool) -> str:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    task = asyncio.create_task(session.eval("input()", on_input=answer))
    await asked.wait()
    await session.interrupt()
    assert "interrupted" in (await task).status
    assert cancelled.is_set()


@pytest.mark.parametrize("callback", ["on_input", "on_message"])
async def test_a_failing_callback_ends_the_eval(session, callback):
    def fail(*args: object) -> Any:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await session.eval(
            "print(1); input()",
            on_input=fail if callback == "on_input" else _never,
            **({"on_message": fail} if callback == "on_message" else {}),
        )
    assert (await session.eval("2")).value == "2"


async def test_input_of_a_fresh_session(client):
    async def answer(prompt: str, password: bool) -> str:
        return "x"

    assert (await client.eval("input()", on_input=answer)).value == "'x'"


# -- interrupts, and leaving early --------------------------------------------------------------


LOOP = "print('on'); exec('while True: pass')"


async def test_interrupt(session):
    stream = session.stream(LOOP)
    async for message in stream:
        if "out" in message:
            reply = await session.interrupt(stream.id)
            assert "sigint" in reply["stages"]
    assert "interrupted" in message["status"]
    assert "session-idle" in (await session.interrupt())["status"]
    assert "interrupt-id-mismatch" in (await session.interrupt("nothing"))["status"]


DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True)\nwhile True: pass"


async def test_what_ignores_interrupts_is_killed(session):
    stream = session.stream(DEAF)
    async for message in stream:
        if "out" in message:
            interrupting = asyncio.create_task(session.interrupt(stream.id, kill_after=0.1))
    assert {"interrupted", "session-restarted"} <= set(message["status"])
    assert (await interrupting)["stages"] == ["sigint", "kill"]
    result = await session.eval(DEAF, timeout=1, kill_after=0.1)
    assert {"timeout", "session-restarted"} <= result.status
    assert not result.ok


async def test_a_clone(session):
    await session.eval("x = 1")
    async with await session.clone() as copy:
        await copy.eval("x = 2")
        assert (await session.eval("x")).value == "1"
        stream = session.stream("print('on'); input()")
        async for message in stream:
            if "prompt" in message:
                with pytest.raises(errors.Busy, match="between two"):
                    await session.clone()
                await session.stdin("\n")
        assert (await session.restart(copy))["epoch"] == 2
        assert session.info["start"] == "clone"
        assert (await session.eval("x")).value == "2"
        with pytest.raises(errors.InvalidMessage, match="itself"):
            await session.restart(session)


async def test_restart(session):
    await session.eval("x = 1")
    before = session.info["pid"]
    reply = await session.restart()
    assert reply["epoch"] == 2
    assert session.info["pid"] not in (before, None)
    assert (await session.eval("'x' in globals()")).value == "False"


async def test_interrupt_of_a_fresh_session(client):
    stream = client.stream(LOOP)
    async for message in stream:
        if "out" in message:
            await stream.interrupt()
    assert "interrupted" in message["status"]


async def test_leaving_a_stream_interrupts_and_leaves_nothing_behind(session):
    async for message in session.stream(LOOP):
        if "out" in message:
            break
    # The next eval would wait for ever behind the one left.
    assert (await session.eval("1 + 1")).value == "2"
    gc.collect()
    assert not session.client._inboxes
    assert not session.client._connection.open


async def test_a_cancelled_eval_is_interrupted(session):
    on = asyncio.Event()
    task = asyncio.create_task(session.eval(LOOP, on_message=lambda message: "out" in message and on.set()))
    await on.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await session.eval("1 + 1")).value == "2"


async def test_a_stream_left_as_its_client_closes_is_interrupted_too(server):
    async with aio.connect(server.url, server.token) as watcher, await watcher.clone() as session:
        async with aio.connect(server.url, server.token) as client:
            async for message in client.session(session.id).stream(LOOP):
                if "out" in message:
                    break
        assert (await session.eval("1 + 1")).value == "2"


async def test_a_stream_never_begun_sends_nothing(session):
    stream = session.stream("x = 1")
    await stream.aclose()
    assert [message async for message in stream] == []
    assert (await session.eval("x")).error["type"] == "NameError"


# -- the rest of a session ----------------------------------------------------------------------


async def test_introspection(session):
    await session.eval("import collections\ndef f(alpha, beta=2): 'Doc.'")
    assert "OrderedDict" in [one["candidate"] for one in await session.completions("collections.Ord")]
    assert "alpha" in (await session.signature("f("))[0]["label"]
    assert (await session.lookup("f"))["doc"] == "Doc."
    assert await session.lookup("no_such_name") is None
    assert await session.is_complete("if x:") == {"state": "incomplete", "indent": "    "}
    assert await session.is_complete("x") == {"state": "complete", "indent": ""}


async def test_sessions_and_their_end(client):
    session = await client.clone(name="mine")
    assert "mine" in [one["name"] for one in await client.sessions()]
    assert (await client.session("mine").eval("1")).value == "1"
    await session.close()
    with pytest.raises(errors.UnknownSession):
        await session.close()
    async with session:
        pass  # already closed: not an error at the end of a block


async def test_events_and_late_output_go_elsewhere(session):
    others: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    session.client.on_other = others.put_nowait
    code = "import threading, sys\ngo = threading.Event()\n"
    code += "threading.Thread(target=lambda: (go.wait(), print('late'))).start()"
    await session.eval(code)
    await session.eval("go.set()")
    while "out" not in (message := await others.get()):
        pass
    assert (message["out"], message["late"]) == ("late\n", True)


# -- what a real server never does --------------------------------------------------------------


async def test_a_lost_connection_ends_every_open_request():
    async def script(peer: Peer) -> None:
        await peer.next("eval")
        await peer.next("describe")
        peer.websocket.transport.abort()

    async with scripted(script) as server, aio.connect(server.url, resume=0) as client:
        asked = [asyncio.create_task(client.eval("1")), asyncio.create_task(client.describe())]
        for task in asked:
            with pytest.raises(ConnectionLost, match="broke"):
                await task
        with pytest.raises(ConnectionLost):
            await client.describe()


async def test_what_came_before_the_loss_is_still_read():
    async def script(peer: Peer) -> None:
        request = await peer.next("eval")
        await peer.send(id=request["id"], out="said")
        await peer.websocket.close(4408, "too slow")

    async with scripted(script) as server, aio.connect(server.url) as client:
        said = []
        with pytest.raises(ConnectionLost, match="4408, too slow"):
            async for message in client.stream("1"):
                said.append(message["out"])
        assert said == ["said"]


@pytest.mark.parametrize("frame", [b"\xc1", "{", b"\x90"])
async def test_a_frame_that_is_no_message_ends_the_connection(frame):
    async def script(peer: Peer) -> None:
        await peer.next("eval")
        await peer.websocket.send(frame)
        await peer.websocket.wait_closed()

    async with scripted(script) as server, aio.connect(server.url) as client:
        with pytest.raises(ConnectionLost, match="broke the protocol"):
            await client.eval("1")


async def test_unknown_things_are_ignored():
    async def script(peer: Peer) -> None:
        request = await peer.next("eval")
        await peer.send(event="of-tomorrow", session="s", seq=1)
        await peer.send(id="never-asked", status=["done"])
        await peer.send(id=request["id"], news=1, status=["of-tomorrow"])
        await peer.reply(request, value="1")
        await peer.reply(request, value="2")
        await peer.websocket.wait_closed()

    async with scripted(script) as server, aio.connect(server.url) as client:
        client.on_other = lambda message: 1 / 0
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context["message"]))
        result = await client.eval("1")
        assert (result.value, "of-tomorrow" in result.status) == ("1", True)
        assert set(problems) == {"on_other failed"}


async def test_a_large_answer_is_taken():
    async def script(peer: Peer) -> None:
        request = await peer.next("eval")
        await peer.reply(request, value="b''", data=bytes(8 << 20))
        await peer.websocket.wait_closed()

    async with scripted(script) as server, aio.connect(server.url, codec="json") as client:
        assert len((await client.eval("1", data=True)).data) == 8 << 20


async def test_an_answer_above_the_limits_ends_the_connection():
    async def script(peer: Peer) -> None:
        await peer.reply(await peer.next("eval"), value="x" * (1 << 20))
        await peer.websocket.wait_closed()

    async with scripted(script) as server, aio.connect(server.url, max_frame=1 << 16, max_value=0) as client:
        with pytest.raises(ConnectionLost):
            await client.eval("1")


async def test_an_open_request_ends_when_its_client_closes():
    async with scripted(_silent) as server:
        client = await aio.connect(server.url)
        task = asyncio.create_task(client.describe())
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(ConnectionLost, match="closed"):
            await task


async def test_the_interrupt_of_a_left_eval_names_it():
    interrupted = asyncio.Event()

    async def script(peer: Peer) -> None:
        request = await peer.next("eval")
        await peer.send(id=request["id"], session="s", out="x")
        interrupt = await peer.next("interrupt")
        assert (interrupt["interrupt-id"], interrupt["session"]) == (request["id"], "s")
        interrupted.set()
        await peer.websocket.wait_closed()

    async with scripted(script) as server, aio.connect(server.url) as client:
        async for _ in client.session("s").stream("1"):
            break
        await interrupted.wait()


async def test_finding_by_connection_file(tmp_path: Path):
    import os
    import time

    from nrepl_py import connection_file

    with serve_in_thread() as server:
        written = connection_file.write(
            connection_file.ServerFile(
                url=server.url,
                token=server.token,
                pid=os.getpid(),
                pid_start=connection_file.process_start(os.getpid()) or "",
                cwd=str(tmp_path),
                started=time.time(),
                versions={},
            )
        )
        try:
            (tmp_path / "below").mkdir()
            for where in ({"directory": str(tmp_path / "below")}, {"file": written.path}, {"url": server.url}):
                async with aio.connect(**where) as client:
                    assert (await client.eval("1")).value == "1"
        finally:
            connection_file.remove(written)
        with pytest.raises(NoServer, match="no connection file"):
            await aio.connect(file=written.path)


async def _silent(peer: Peer) -> None:
    await peer.websocket.wait_closed()


async def _never(prompt: str, password: bool) -> str:
    await asyncio.Event().wait()
    raise AssertionError
