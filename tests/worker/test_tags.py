"""Threads and pools have the tag of who started them."""

from __future__ import annotations

import concurrent.futures.thread as pools
import threading
from collections.abc import Iterator

import pytest

from nrepl_py.worker import tags

MINE = tags.Tag(None, 7)


@pytest.fixture
def tagged() -> Iterator[None]:
    token = tags.TAG.set(MINE)
    yield
    tags.TAG.reset(token)


@pytest.mark.usefixtures("tagged")
def test_threads_inherit_the_tag() -> None:
    seen: list[tags.Tag | None] = []
    undo = tags.carry_tags()
    thread = threading.Thread(target=lambda: seen.append(tags.TAG.get()))
    thread.start()
    thread.join()
    undo()
    thread = threading.Thread(target=lambda: seen.append(tags.TAG.get()))
    thread.start()
    thread.join()
    assert seen == [MINE, None]


@pytest.mark.usefixtures("tagged")
def test_what_a_pool_runs_has_the_tag_of_who_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools.ThreadPoolExecutor, "submit", pools.ThreadPoolExecutor.submit)  # put back afterwards
    tags.carry_through_pools(pools)
    with pools.ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()  # its thread is there
        theirs = tags.Tag(None, 8)
        token = tags.TAG.set(theirs)
        seen = [pool.submit(tags.TAG.get).result()]
        tags.TAG.reset(token)
        seen.append(pool.submit(tags.TAG.get).result())
    assert seen == [theirs, MINE]
