"""Tokens that come, go and expire while the server runs, and those that are wrong."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from nrepl_py.config import ConfigError
from nrepl_py.limits import Limits
from nrepl_py.server import door as module
from nrepl_py.server import handshake
from nrepl_py.server.app import Server
from nrepl_py.server.door import Door, TooMany
from nrepl_py.server.principals import Principal
from tests.server.fakes import FakeEvaluator, add_token, ask, dial, drop_token, make_server


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "WRONG_TOKEN_SECONDS", 0.001)


async def closed(client: ClientConnection) -> int | None:
    """The code of the close, which comes by itself."""
    async with asyncio.timeout(60):
        with pytest.raises(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code


async def status(server: Server, token: str, **options: Any) -> int:
    """What the handshake with that token is answered."""
    try:
        async with dial(server, token=token, **options):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


# -- a file that changes --------------------------------------------------------------------------


async def test_tokens_work_beside_the_owners_from_when_they_are_made(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    async with make_server(tokens=str(path)) as server:
        assert await status(server, "x" * 43) == 401
        ann = add_token(path, "ann")
        async with dial(server, token=ann) as client, dial(server) as owner, dial(server, token=None) as late:
            assert (await ask(client, {"op": "hello", "id": "h"}))["principal"] == "ann"
            assert (await ask(owner, {"op": "hello", "id": "h"}))["principal"] == "owner"
            bob = add_token(path, "bob")
            assert (await ask(late, {"op": "hello", "id": "h", "token": bob}))["principal"] == "bob"
            assert (await ask(late, {"op": "eval", "id": "e", "code": "1"}))["value"] == "1"


async def test_a_revoked_token_closes_its_connections_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    ann, bob = add_token(path, "ann"), add_token(path, "bob")
    async with (
        make_server(tokens=str(path)) as server, dial(server, token=ann) as first, dial(server, token=None) as second,
        dial(server, token=bob) as other, dial(server) as owner,
    ):  # fmt: skip
        session = (await ask(first, {"op": "clone", "id": "c"}))["new-session"]
        await ask(second, {"op": "hello", "id": "h", "token": ann})
        drop_token(path, "ann")
        server.reload()
        assert [await closed(first), await closed(second)] == [4401, 4401]
        assert await status(server, ann) == 401
        for client in (other, owner):
            assert (await ask(client, {"op": "describe", "id": "1"}))["status"] == ["done"]
        # As after any disconnection its sessions live on, for an admin to see and close.
        (entry,) = (await ask(owner, {"op": "ls-sessions", "id": "l", "all": True}))["sessions"]
        assert (entry["id"], entry["principal"]) == (session, "ann")


async def test_without_a_signal_the_next_token_shown_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    ann = add_token(path, "ann")
    async with make_server(tokens=str(path)) as server, dial(server, token=ann) as client:
        drop_token(path, "ann")
        assert await status(server, "wrong") == 401
        assert await closed(client) == 4401


async def test_a_token_made_anew_under_the_same_name_is_another(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    ann = add_token(path, "ann")
    async with make_server(tokens=str(path)) as server, dial(server, token=ann) as client:
        drop_token(path, "ann")
        again = add_token(path, "ann")
        server.reload()
        assert await closed(client) == 4401
        assert (await status(server, ann), await status(server, again)) == (401, 101)


async def test_changed_rights_hold_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    ann = add_token(path, "ann")
    async with make_server(tokens=str(path)) as server, dial(server, token=ann) as client:
        path.write_text(path.read_text().replace('"eval"', '"observe"'))
        server.reload()
        assert await closed(client) == 4401
        async with dial(server, token=ann) as client:
            assert (await ask(client, {"op": "hello", "id": "h"}))["capabilities"] == ["observe"]


async def test_a_token_expires_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    ann, old = add_token(path, "ann", expires=time.time() + 0.5), add_token(path, "old", expires=1.0)
    async with make_server(tokens=str(path)) as server:
        assert await status(server, old) == 401
        async with dial(server, token=ann) as client:
            assert await closed(client) == 4401
        assert await status(server, ann) == 401


async def test_a_token_that_expires_while_the_tokens_are_looked_at_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.json"
    ann = add_token(path, "ann", expires=1000.0)
    now = [999.99]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    async with make_server(tokens=str(path)) as server, dial(server, token=ann) as client:

        def stands(principal: Principal, real: Any = server.door.stands) -> bool:
            before: bool = real(principal)
            now[0] = 1000.0
            return before

        monkeypatch.setattr(server.door, "stands", stands)
        server._recheck()
        assert await closed(client) == 4401


async def test_a_file_that_cannot_be_believed_keeps_the_server_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    add_token(path, "ann")
    path.chmod(0o640)
    evaluator = FakeEvaluator()
    with pytest.raises(ConfigError, match="chmod 600"):
        async with make_server(evaluator, tokens=str(path)):
            pass
    assert evaluator.closed


@pytest.mark.parametrize("how", ["mode", "contents"])
async def test_a_file_that_can_no_longer_be_believed_changes_nothing(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens.json"
    ann = add_token(path, "ann")
    async with make_server(tokens=str(path)) as server, dial(server, token=ann) as client:
        right = path.read_text()
        if how == "mode":
            path.chmod(0o644)
        else:
            path.write_text(right[:-5])
        with caplog.at_level(logging.ERROR):
            server.reload()
        assert str(path) in caplog.records[-1].why  # type: ignore[attr-defined]
        assert await status(server, ann) == 101
        assert (await ask(client, {"op": "describe", "id": "1"}))["status"] == ["done"]
        path.chmod(0o600)
        path.write_text(right)
        drop_token(path, "ann")
        server.reload()
        assert await closed(client) == 4401


async def test_a_file_that_is_gone_lets_nobody_in_but_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    ann = add_token(path, "ann")
    async with make_server(tokens=str(path)) as server, dial(server, token=ann) as client:
        path.unlink()
        server.reload()
        assert await closed(client) == 4401
        assert (await status(server, ann), await status(server, server.token)) == (401, 101)


# -- wrong tokens ---------------------------------------------------------------------------------


async def wrong(server: Server, times: int) -> list[int]:
    return [await status(server, f"wrong-{n}") for n in range(times)]


async def test_wrong_tokens_are_counted_and_then_told_to_wait(tmp_path: Path) -> None:
    limits = {"max_wrong_tokens_per_minute": 3}
    async with make_server(limits=limits, unix=str(tmp_path / "s"), port=0) as server:
        assert await wrong(server, 5) == [401, 401, 401, 429, 429]
        assert (server.door.wrong_tokens, server.door.too_many) == (3, 2)
        with pytest.raises(InvalidStatus) as refused:
            async with dial(server, token="wrong"):
                pass
        assert refused.value.response.status_code == 429
        assert 1 <= int(refused.value.response.headers["Retry-After"]) <= 20
        assert "try again in" in (refused.value.response.body or b"").decode()
        async with dial(server, token=None) as client:
            reply = await ask(client, {"op": "hello", "id": "h", "token": "wrong"})
            assert reply["status"] == ["error", "unauthorized", "done"]
            assert "too many wrong tokens" in reply["message"]
            assert await closed(client) == 4401
        # Who shows a right one gets in, from there and from elsewhere.
        assert await status(server, server.token) == 101
        headers = {"Authorization": f"Bearer {server.token}"}
        async with unix_connect(server.unix, "ws://localhost/", additional_headers=headers) as client:
            assert (await ask(client, {"op": "describe", "id": "1"}))["status"] == ["done"]
        if sys.platform == "linux":  # where all of 127.0.0.0/8 is ours
            assert await status(server, server.token, local_addr=("127.0.0.2", 0)) == 101


async def test_it_heals_by_itself() -> None:
    async with make_server(limits={"max_wrong_tokens_per_minute": 600}) as server:
        answers = await asyncio.gather(*(status(server, "wrong") for _ in range(40)))
        assert {401, 429} == set(answers)
        async with asyncio.timeout(60):
            while await status(server, "wrong") != 401:
                await asyncio.sleep(0.01)


async def test_guesses_in_hello_and_on_a_unix_socket_count_too(tmp_path: Path) -> None:
    async with make_server(limits={"max_wrong_tokens_per_minute": 2}, unix=str(tmp_path / "s"), port=0) as server:
        for attempt in range(3):
            async with unix_connect(server.unix, "ws://localhost/") as client:
                reply = await ask(client, {"op": "hello", "id": "h", "token": "guess"})
                assert ("too many" in reply["message"]) == (attempt == 2)
                assert await closed(client) == 4401
        assert server.door.wrong_tokens == 2
        assert list(server.door._paces._of) == [f"uid {os.geteuid()}"]
        assert await status(server, server.token) == 101


async def test_right_tokens_cost_nothing() -> None:
    async with make_server(limits={"max_wrong_tokens_per_minute": 1}) as server:
        assert [await status(server, server.token) for _ in range(5)] == [101] * 5
        assert len(server.door._paces) == 0


def test_peers_are_remembered_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PEERS", 100)
    door = Door("right", None, Limits(max_wrong_tokens_per_minute=1), lambda: None)
    for n in range(1000):
        assert door.authenticate("wrong", f"192.0.2.{n}") is None
    assert len(door._paces) == 100
    with pytest.raises(TooMany):
        door.authenticate("wrong", "192.0.2.999")
    assert door.authenticate("right", "192.0.2.999") is not None


def test_every_token_is_compared_whichever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens.json"
    given = ["owners", add_token(path, "ann"), add_token(path, "bob"), "wrong", "", "\ud800", "x" * 10_000]
    door = Door("owners", str(path), Limits(), lambda: None)
    door.open()
    compared: list[tuple[str, str]] = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    names = [getattr(door.authenticate(token, "peer"), "name", None) for token in given]
    assert names == ["owner", "ann", "bob", None, None, None, None]
    assert len(compared) == 3 * len(given)
    assert all(len(a) == len(b) == 64 for a, b in compared)


def test_a_token_longer_than_any_is_wrong_even_if_it_begins_right() -> None:
    door = Door("x" * module.MAX_TOKEN, None, Limits(), lambda: None)
    assert door.authenticate("x" * module.MAX_TOKEN, "peer") is not None
    assert door.authenticate("x" * (module.MAX_TOKEN + 1), "peer") is None
