"""Which session an editor's code runs in, and what becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nrepl_py.client import aio
from nrepl_py.client.address import NoServer
from nrepl_py.errors import NotFound, UnknownSession
from nrepl_py.lsp.live import Live, Where
from tests.lsp.conftest import Recorder, living


async def names(where: Where) -> set[str]:
    """The sessions that the server has."""
    async with await aio.connect(where.url) as client:
        return {one["name"] or one["id"] for one in await client.sessions()}


async def test_nothing_is_started_for_who_only_looks(tmp_path: Path) -> None:
    async with living(Where(directory=None)) as (live, recorder):
        live.root = str(tmp_path)
        assert await live.session(start=False) is None
        assert live.current is None
        assert recorder.told == []


async def test_a_session_by_name_needs_a_server(tmp_path: Path) -> None:
    async with living(Where(session="work")) as (live, _):
        live.root = str(tmp_path)
        with pytest.raises(NoServer, match="the session 'work' needs a server"):
            await live.session()


async def test_an_own_session_ends_with_the_editor_and_a_named_one_does_not(where: Where) -> None:
    before = await names(where)
    async with living(where) as (live, recorder):
        own = await live.session()
        assert own is not None
        assert own is await live.session()
        assert await names(where) == before | {own.id}
    assert await names(where) == before
    assert recorder.told == []  # that it was closed was the editor's wish
    async with living(where._replace(session="kept")) as (live, _):
        await live.session()
    assert "kept" in await names(where)


async def test_going_elsewhere_and_back(where: Where) -> None:
    async with living(where) as (live, recorder):
        here = await live.session()
        assert here is not None
        await here.eval("place = 'here'")
        await (await live.snapshots()).take("before")
        there = await here.client.clone(name="there")
        await there.eval("place = 'there'")
        assert (await live.attach("there")).id == there.id  # by its name, known by its id
        assert [one["name"] for one in await live.sessions() if one["current"]] == ["there"]
        with pytest.raises(UnknownSession):
            await live.attach("nowhere")
        assert live.current is not None
        assert live.current.id == there.id
        with pytest.raises(NotFound):
            await (await live.snapshots()).go_back()  # its branches are its own
        await live.attach(here.id or "")
        assert await (await live.snapshots()).go_back() == "before"
        async with await aio.connect(where.url) as other:
            await other.session(here.id or "").eval("print('beside')")
            await other.session("there").eval("print('unheard')")
            await recorder.until(lambda: any(message.get("out") == "beside\n" for message in recorder.beside))
            await other.session("there").close()
        assert not any("unheard" in message.get("out", "") for message in recorder.beside)


async def test_a_session_that_somebody_closes_is_followed_by_another(where: Where) -> None:
    async with living(where) as (live, recorder):
        first = await live.session()
        assert first is not None
        async with await aio.connect(where.url) as other:
            await other.session(first.id or "").close()
        await recorder.until(lambda: recorder.told)
        assert "the session was closed" in recorder.told[0][0]
        second = await live.session()
        assert second is not None
        assert second.id != first.id


async def test_what_is_made_twice_is_made_once(where: Where) -> None:
    recorder = Recorder()
    live = Live(where, recorder.tell, recorder.observed)
    sessions = await asyncio.gather(*(live.session() for _ in range(5)))
    assert len({session.id for session in sessions if session}) == 1
    await live.aclose()
    await live.aclose()
