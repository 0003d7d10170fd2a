"""The server as a whole around an evaluator without workers: instructions carried out, and the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from nrepl_py import codec as codecs
from nrepl_py.config import ConfigError
from nrepl_py.evaluators.base import Exited, Ref, Spec
from nrepl_py.evaluators.frames import Ready
from nrepl_py.limits import MIN_FRAME
from nrepl_py.ops import Cause
from nrepl_py.server import app
from tests.server.fakes import FakeEvaluator, ask, dial, make_server, replies, tell


async def clone(client: Any, codec: str = "json") -> str:
    return str((await ask(client, {"op": "clone", "id": "clone"}, codec))["new-session"])


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_an_eval_goes_all_the_way_and_back(codec: str) -> None:
    async with make_server() as server, dial(server, codec) as client:
        session = await clone(client, codec)
        await tell(client, {"op": "eval", "id": "1", "session": session, "code": "1+1"}, codec)
        (reply,) = await replies(client, "1", codec)
        assert reply["started"]["code"] == "1+1"
        assert (reply["value"], reply["status"]) == ("1+1", ["done"])
        assert server.url == f"ws://127.0.0.1:{server.port}"


async def test_a_short_eval_is_one_write() -> None:
    async with make_server(limits={"coalesce_seconds": 60}) as server, dial(server) as client:
        session = await clone(client)
        (connection,) = server._open.values()
        writes: list[bytes] = []
        real = connection._outbox._transport
        connection._outbox._transport = Recorder(real, writes)  # type: ignore[assignment]
        await ask(client, {"op": "eval", "id": "1", "session": session, "code": "1"})
        (write,) = writes
        assert write.count(b'"id":"1"') == 1


class Recorder:
    """A transport that keeps what is written through it."""

    def __init__(self, transport: Any, writes: list[bytes]) -> None:
        self._transport = transport
        self._writes = writes

    def write(self, data: bytes) -> None:
        self._writes.append(data)
        self._transport.write(data)


async def test_started_comes_by_itself_where_nothing_follows() -> None:
    async with make_server() as server, dial(server) as client:
        session = await clone(client)
        await tell(client, {"op": "eval", "id": "1", "session": session, "code": "hang"})
        while "started" not in (message := codecs.decode(await client.recv(), "json")):
            pass
        assert message["id"] == "1"


async def test_timers_fire_and_interrupts_arrive() -> None:
    async with make_server() as server, dial(server) as client:
        session = await clone(client)
        timed = await ask(client, {"op": "eval", "id": "1", "session": session, "code": "hang", "timeout": 0.01})
        assert timed["status"] == ["timeout", "interrupted", "done"]
        await tell(client, {"op": "eval", "id": "2", "session": session, "code": "hang"})
        reply = await ask(client, {"op": "interrupt", "id": "i", "session": session})
        assert (reply["status"], reply["stages"]) == (["done"], ["sigint"])
        assert not [key for key in server._timers if key[0] not in ("tick", "idle")]


async def test_hello_lowers_the_frame_and_raises_the_value() -> None:
    async with make_server() as server, dial(server) as client:
        await ask(client, {"op": "hello", "id": "h", "max-frame": MIN_FRAME})
        session = await clone(client)
        code = "x" * 200_000
        await tell(client, {"op": "eval", "id": "1", "session": session, "code": code})
        async for frame in client:
            assert len(frame) <= MIN_FRAME
            message = codecs.decode(frame, "json")
            if message.get("id") == "1" and "done" in message.get("status", ()):
                break
        assert message["status"] == ["truncated", "done"]
        assert code.startswith(message["value"])


async def test_observers_of_both_codecs_are_sent_the_same() -> None:
    async with make_server() as server, dial(server) as asker, dial(server, "msgpack") as other:
        session = await clone(asker)
        await ask(other, {"op": "eval", "id": "o", "session": session, "code": "1"}, "msgpack")
        await tell(other, {"op": "eval", "id": "p", "session": session, "code": "2"}, "msgpack")
        # The one who cloned is attached and sees it too.
        seen, sent = await replies(asker, "p"), await replies(other, "p", "msgpack")
        assert seen == sent


async def test_a_worker_that_does_not_start_is_said() -> None:
    evaluator = FakeEvaluator(fail="no such interpreter")
    async with make_server(evaluator) as server, dial(server) as client:
        reply = await ask(client, {"op": "clone", "id": "1"})
        assert reply["status"] == ["error", "start-failed", "done"]
        assert "no such interpreter" in reply["message"]


async def test_an_evaluator_that_breaks_breaks_no_one_else(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeEvaluator):
        async def start(self, spec: Spec) -> Ready:
            raise ZeroDivisionError

    async with make_server(Broken()) as server, dial(server) as client:
        with caplog.at_level(logging.ERROR):
            reply = await ask(client, {"op": "clone", "id": "1"})
        assert reply["status"] == ["error", "internal", "done"]
        assert "ZeroDivisionError" in caplog.text
        assert (await ask(client, {"op": "describe", "id": "2"}))["status"] == ["done"]


async def test_an_instruction_that_fails_is_logged_and_the_next_one_carried_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(FakeEvaluator):
        def send(self, ref: Ref, message: Any) -> None:
            raise ZeroDivisionError

    async with make_server(Broken()) as server, dial(server) as client:
        session = await clone(client)
        await tell(client, {"op": "eval", "id": "1", "session": session, "code": "1"})
        assert (await ask(client, {"op": "describe", "id": "2"}))["status"] == ["done"]
        assert "Tell" in str([record.__dict__.get("instruction") for record in caplog.records])


async def test_a_router_that_fails_is_logged_and_the_connection_lives(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_server() as server, dial(server) as client:
        with monkeypatch.context() as patch:
            patch.setattr(server._router, "received", lambda connection, message: 1 / 0)
            await tell(client, {"op": "describe", "id": "1"})
            async with asyncio.timeout(60):
                while "the router failed" not in caplog.text:
                    await asyncio.sleep(0)
        assert (await ask(client, {"op": "describe", "id": "2"}))["status"] == ["done"]


async def test_what_a_worker_says_before_it_is_known_to_have_started_waits() -> None:
    class Hasty(FakeEvaluator):
        async def start(self, spec: Spec) -> Ready:
            ready = await super().start(spec)
            self._sink(Exited(spec.ref, Cause(kind="exit", code=3)))
            return ready

    async with make_server(Hasty()) as server, dial(server) as client:
        session = await clone(client)
        events = []
        while "died" not in events:
            events.append(codecs.decode(await client.recv(), "json").get("event"))
        assert events == ["started", "died"]
        listed = (await ask(client, {"op": "ls-sessions", "id": "l"}))["sessions"]
        assert [(entry["id"], entry["state"]) for entry in listed] == [(session, "dead")]


async def test_a_connection_lost_ends_its_eval_without_session() -> None:
    evaluator = FakeEvaluator()
    async with make_server(evaluator) as server:
        async with dial(server) as client:
            await tell(client, {"op": "eval", "id": "1", "code": "hang"})
            while not evaluator.running:
                await asyncio.sleep(0)
            client.transport.abort()
        async with asyncio.timeout(60):
            while not evaluator.stopped:
                await asyncio.sleep(0)


# -- the end --------------------------------------------------------------------------------------


async def test_the_end_tells_running_evals_and_stops_the_workers() -> None:
    evaluator = FakeEvaluator()
    server = make_server(evaluator)
    async with server, dial(server) as client:
        session = await clone(client)
        await tell(client, {"op": "eval", "id": "1", "session": session, "code": "hang"})
        await tell(client, {"op": "eval", "id": "2", "session": session, "code": "1"})
        while not evaluator.running:
            await asyncio.sleep(0)
        closing = asyncio.create_task(server.aclose())
        assert (await replies(client, "1"))[-1]["status"] == ["session-closed", "done"]
        assert (await replies(client, "2"))[-1]["status"] == ["session-closed", "done"]
        await client.wait_closed()
        assert client.close_code == 1001
        await closing
    assert evaluator.closed
    assert [ref.id for ref in evaluator.stopped] == [session]
    assert not server._sockets
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", server.port)


async def test_the_end_waits_for_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "DRAIN_SECONDS", 0.3)

    class Stuck(FakeEvaluator):
        async def stop(self, ref: Ref, grace: float) -> bool:
            await asyncio.Event().wait()
            return True

        async def aclose(self) -> None:
            await asyncio.Event().wait()

    async with make_server(Stuck()) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        client = await dial(server)
        await clone(client)
        client.transport.pause_reading()
        async with asyncio.timeout(60):
            await asyncio.gather(server.aclose(), server.aclose())
        assert not server._sockets
        client.transport.abort()
        writer.close()


# -- where it listens -----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
async def test_beyond_loopback_is_refused_without_tls(host: str) -> None:
    evaluator = FakeEvaluator()
    with pytest.raises(ConfigError, match="--insecure"):
        async with make_server(evaluator, host=host):
            pass
    assert evaluator.closed


async def test_insecure_is_taken_at_its_word() -> None:
    async with make_server(host="0.0.0.0", insecure=True) as server, dial(server) as client:
        assert server.url == f"ws://127.0.0.1:{server.port}"
        assert (await ask(client, {"op": "describe", "id": "1"}))["status"] == ["done"]


async def test_ipv6_and_names() -> None:
    async with make_server(host="localhost") as server, dial(server):
        pass
    try:
        async with make_server(host="::1") as server, dial(server):
            assert server.url == f"ws://[::1]:{server.port}"
    except ConfigError as error:
        pytest.skip(f"no IPv6 here: {error}")


async def test_a_port_in_use_is_an_error() -> None:
    async with make_server() as first:
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1, port {first.port}: "):
            async with make_server(port=first.port):
                pass


async def test_unix_and_tcp_together(tmp_path: Path) -> None:
    async with make_server(unix=str(tmp_path / "s"), port=0) as server, dial(server) as client:
        assert (await ask(client, {"op": "describe", "id": "1"}))["transports"] == ["tcp", "unix"]


async def test_a_stale_socket_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()
    async with make_server(unix=path):
        with pytest.raises(ConfigError, match="another server listens"):
            async with make_server(unix=path):
                pass
        assert os.path.exists(path)
    Path(path).write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        async with make_server(unix=path):
            pass
    assert Path(path).read_text() == "precious"


async def test_another_servers_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with make_server(unix=str(path)):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"
