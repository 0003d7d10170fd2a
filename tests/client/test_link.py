"""Connections that break, against a real server behind a way that is cut; and against a scripted one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from nrepl_py import errors
from nrepl_py.client import ConnectionLost, aio, link
from nrepl_py.client.connection import ReplayGap
from nrepl_py.embed import Embedded, serve_in_thread
from nrepl_py.limits import Limits
from tests.client.proxy import Proxy, proxy
from tests.client.scripted import Peer, scripted

PATIENCE = 60  # seconds for anything awaited here


@pytest.fixture
async def way(server: Embedded) -> AsyncIterator[Proxy]:
    async with proxy(server.url) as way:
        yield way


@pytest.fixture(params=["msgpack", "json"])
async def client(way: Proxy, server: Embedded, request: pytest.FixtureRequest) -> AsyncIterator[aio.Client]:
    async with aio.connect(way.url, server.token, codec=request.param) as client:
        yield client


@pytest.fixture
async def session(client: aio.Client) -> AsyncIterator[aio.Session]:
    async with await client.clone() as session:
        yield session


async def test_an_eval_goes_on_and_nothing_is_missed(way, client, session):
    resumed: asyncio.Queue[str] = asyncio.Queue()
    client.on_resumed = resumed.put_nowait
    seen = []
    async with asyncio.timeout(PATIENCE):
        async for message in session.stream("for i in range(300): print(i, flush=True)\n'end'"):
            seen.append(message)
            if len(seen) in (3, 50, 51, 200):
                way.cut()
        # All may have been here before the first cut: that is told nevertheless.
        assert "broke" in await resumed.get()
    assert "".join(message.get("out", "") for message in seen) == "".join(f"{i}\n" for i in range(300))
    assert [message["value"] for message in seen if "value" in message] == ["'end'"]
    assert len([message for message in seen if "done" in message.get("status", ())]) == 1
    numbers = [message["seq"] for message in seen]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("seed", range(5))
async def test_cut_at_any_byte(way, server, seed):
    """Each connection is cut after some thousand bytes, in the middle of a handshake or a message as it comes."""
    source = random.Random(seed)
    async with aio.connect(way.url, server.token, codec="json") as client, await client.clone() as session:
        await session.eval("ran = []")
        way.after = [source.choice([50, 200, 1000, 3000, 9000]) + source.randrange(300) for _ in range(25)]
        way.cut()
        async with asyncio.timeout(PATIENCE):
            codes = [f"ran.append({n}); print('{n}' * 3000); {n}" for n in range(20)]
            results = await asyncio.gather(*map(session.eval, codes))
        for n, result in enumerate(results):
            assert (result.value, result.out) == (str(n), f"{n}" * 3000 + "\n")
            assert "replay-gap" not in result.status
        assert (await session.eval("ran")).value == str(list(range(20)))


async def test_input_is_asked_for_across_a_break(way, session):
    async def answer(prompt: str, password: bool) -> str:
        way.arrived.clear()
        way.cut()
        await way.arrived.wait()
        return "ada"

    async with asyncio.timeout(PATIENCE):
        # An answer on its way when the connection breaks would be lost, and say so: this one is not.
        result = await session.eval("'hello ' + input('who? ')", on_input=answer)
    assert result.value == "'hello ada'"


async def test_what_may_not_be_asked_twice_is_lost(way, client, session):
    task = asyncio.create_task(client.eval("import time; time.sleep(60)"))
    stream = session.stream("input()")
    while "need-input" not in (await stream.__anext__()).get("status", ()):
        pass
    way.cut()
    with pytest.raises(ConnectionLost, match="broke"):
        await task
    async with asyncio.timeout(PATIENCE):
        await stream.stdin("x\n")
        assert [message.get("value") async for message in stream][-1] == "'x'"


async def test_what_changes_nothing_is_asked_again(way, client, session):
    way.refuses = True
    way.cut()
    tasks = [asyncio.create_task(client.describe()), asyncio.create_task(session.completions("imp"))]
    running = asyncio.create_task(session.eval("6 * 7"))
    await asyncio.sleep(0)
    way.refuses = False
    async with asyncio.timeout(PATIENCE):
        described, completions = await asyncio.gather(*tasks)
        assert (await running).value == "42"
    assert "ops" in described
    assert "import" in [one["candidate"] for one in completions]


async def test_an_eval_in_a_session_of_others_is_found_again(way, client, server):
    """It attaches for it, and leaves when it has ended."""
    async with aio.connect(server.url, server.token) as owner, await owner.clone() as theirs:
        mine = client.session(theirs.id)
        stream = mine.stream("print('on', flush=True); input(); 'end'")
        await stream.__anext__()
        way.cut()
        async with asyncio.timeout(PATIENCE):
            while "value" not in (message := await stream.__anext__()):
                if "need-input" in message.get("status", ()):
                    await theirs.stdin("\n")
            assert message["value"] == "'end'"
            while [one["clients"] for one in await owner.sessions() if one["id"] == theirs.id] != [1]:
                await asyncio.sleep(0.01)


async def test_dropped_streams_are_interrupted_when_it_is_back(way, session):
    way.refuses = True
    stream = session.stream("while True: print('x', flush=True)")
    await stream.__anext__()
    way.cut()
    stream.leave()
    way.refuses = False
    async with asyncio.timeout(PATIENCE):
        assert (await session.eval("'free'")).value == "'free'"


async def test_it_gives_up_after_a_while(way, server):
    async with aio.connect(way.url, server.token, resume=0.3) as client:
        session = await client.clone()
        task = asyncio.create_task(session.eval("input()", allow_stdin=True))
        way.refuses = True
        way.cut()
        for _ in range(2):
            with pytest.raises(ConnectionLost, match=r"the connection to .* broke, and could not be had again: "):
                await (task if not task.done() else client.describe())
    async with aio.connect(server.url, server.token) as client:
        await client.session(session.id).close()


async def test_it_gives_up_at_once_where_there_is_no_use(server):
    async def script(peer: Peer) -> None:
        await peer.next("eval")
        await peer.websocket.close(1001, "the server stops")

    async with scripted(script) as ending, aio.connect(ending.url) as client:
        with pytest.raises(ConnectionLost, match="1001, the server stops"):
            await client.session("s").eval("1")
        assert len(ending.headers) == 1


async def test_a_token_that_is_no_longer_good_ends_it(monkeypatch):
    async def script(peer: Peer) -> None:
        await peer.next("eval")
        peer.websocket.transport.abort()

    async with scripted(script) as server, aio.connect(server.url) as client:
        refused = errors.Unauthorized("this token was revoked")

        async def open(self: Any) -> None:
            raise refused

        monkeypatch.setattr(link.Dial, "open", open)
        with pytest.raises(ConnectionLost, match="this token was revoked"):
            await client.session("s").eval("1")


async def test_a_server_that_lets_in_and_breaks_at_once_is_given_up():
    async def script(peer: Peer) -> None:
        peer.websocket.transport.abort()

    async with scripted(script) as server, aio.connect(server.url, resume=0.5) as client:
        with pytest.raises(ConnectionLost):
            await client.session("s").eval("1")
        assert 2 < len(server.headers) < 50


async def test_a_client_that_is_closed_does_not_come_back(way, client):
    way.refuses = True
    way.cut()
    task = asyncio.create_task(client.describe())
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(ConnectionLost):
        await task


@pytest.fixture(scope="module")
def forgetful() -> Iterator[Embedded]:
    """A server whose log holds next to nothing."""
    with serve_in_thread(kind="local", limits=Limits(log_bytes=4096)) as running:
        yield running


async def test_what_the_log_has_lost_is_said(forgetful):
    async with proxy(forgetful.url) as way, aio.connect(way.url, forgetful.token) as client:
        others: list[dict[str, Any]] = []
        client.on_other = others.append
        async with await client.clone() as session, aio.connect(forgetful.url, forgetful.token) as other:
            stream = session.stream("input()\nfor i in range(100): print(i, flush=True)\ninput()\n'end'")
            while "need-input" not in (await stream.__anext__()).get("status", ()):
                pass
            way.refuses = True
            way.cut()
            await other.session(session.id).stdin("\n")
            async with asyncio.timeout(PATIENCE):
                async for message in (observer := other.session(session.id).attach(0)):
                    if message.get("prompt") is not None or "99\n" in message.get("out", ""):
                        break
                await observer.aclose()
                way.refuses = False
                seen = []
                async for message in stream:
                    seen.append(message)
                    if "need-input" in message.get("status", ()):
                        await session.stdin("\n")
            assert ["replay-gap"] in [message.get("status") for message in seen]
            assert seen[-1]["value"] == "'end'"
            assert any("replay-gap" in message.get("status", ()) for message in others)


async def test_an_eval_whose_end_is_gone_says_so(forgetful):
    async with proxy(forgetful.url) as way, aio.connect(way.url, forgetful.token) as client:  # noqa: SIM117
        async with await client.clone() as session, aio.connect(forgetful.url, forgetful.token) as other:
            stream = session.stream("input()")
            while "need-input" not in (await stream.__anext__()).get("status", ()):
                pass
            way.refuses = True
            way.cut()
            theirs = other.session(session.id)
            await theirs.stdin("\n")
            await theirs.eval("for i in range(100): print(i, flush=True)")
            way.refuses = False
            async with asyncio.timeout(PATIENCE):
                with pytest.raises(ReplayGap):
                    while True:
                        await stream.__anext__()


# -- looking on -----------------------------------------------------------------------------------


async def test_an_observer_sees_everything_once(way, client, session):
    await session.eval("print('before')")
    numbers: list[int] = []
    async with asyncio.timeout(PATIENCE), session.attach(since=0) as observer:
        running = asyncio.create_task(session.eval("for i in range(200): print(i, flush=True)\n'end'"))
        async for message in observer:
            numbers.append(message["seq"])
            if len(numbers) % 40 == 0:
                way.cut()
            if message.get("value") == "'end'":
                break
        assert (await running).value == "'end'"
    assert numbers == list(range(1, numbers[-1] + 1))
    with pytest.raises(StopAsyncIteration):
        await observer.__anext__()


async def test_an_observer_ends_with_its_session(client):
    session = await client.clone()
    observer = session.attach()
    first = asyncio.create_task(observer.__anext__())
    async with asyncio.timeout(PATIENCE):
        while [one["clients"] for one in await client.sessions() if one["id"] == session.id] != [2]:
            await asyncio.sleep(0.01)
        await session.close()
        events = [(await first)["event"], *[message["event"] async for message in observer]]
    assert events[-1] == "closed"


async def test_an_observer_that_is_refused(client, session):
    with pytest.raises(errors.UnknownSession):
        await client.session("nobody").attach().__anext__()
    with pytest.raises(errors.BadSince):
        await session.attach(since=1000).__anext__()


async def test_an_observer_that_does_not_read_is_not_sent_everything(client, session, monkeypatch):
    """What it has no place for stays with the server, which drops it; and it comes back for the rest."""
    monkeypatch.setattr("nrepl_py.client.observer.AHEAD", 10)
    async with asyncio.timeout(PATIENCE), session.attach(since=0) as observer:
        first = await observer.__anext__()
        result = await session.eval("for i in range(3000): print(i, 'x' * 8000)")
        assert "done" in result.status
        assert observer._queue.qsize() < 30
        seen = [first["seq"]]
        async for message in observer:
            seen.append(message["seq"])
            if "done" in message.get("status", ()):
                break
    assert seen == list(range(1, seen[-1] + 1))


async def test_observers_are_closed_with_their_client(way, server):
    async with aio.connect(way.url, server.token) as client, await client.clone() as session:
        observer = session.attach(since=0)
        await observer.__anext__()
    with pytest.raises(StopAsyncIteration):
        await observer.__anext__()
