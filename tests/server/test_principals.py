"""Principals over real sockets: what a token allows, whose sessions there are, and how much may be had at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from nrepl_py.ops import CAPABILITIES, OPS
from nrepl_py.server.app import Server
from tests.server.fakes import FakeEvaluator, add_token, ask, dial, make_server, replies, tell
from tests.test_ops import LEAST

NEEDS: dict[str, set[str]] = {
    "hello": set(), "describe": set(), "ls-sessions": set(), "is-complete": set(),
    "clone": {"eval"}, "eval": {"eval"}, "load-file": {"eval"}, "interrupt": {"eval"}, "stdin": {"eval"},
    "restart": {"eval"}, "close": {"eval", "admin"},
    "attach": {"eval", "observe"}, "detach": {"eval", "observe"},
    "completions": {"eval", "observe"}, "signature": {"eval", "observe"}, "lookup": {"eval", "observe"},
}  # fmt: skip
"""Any one of these is enough for the op; for some a token is."""

SETS = [set(chosen) for size in (1, 2, 3) for chosen in combinations(sorted(CAPABILITIES), size)]
LIMITS = {"answer_seconds": 0.01}  # the fake worker answers no question


def request(op: str, session: str, id: str = "x") -> dict[str, Any]:
    """A right request of the op, about that session where it can be about one."""
    about = {"session": session} if takes_session(op) else {}
    more = {"lookup": {"sym": "x"}}.get(op, {})
    return {"op": op, "id": id} | LEAST[op] | about | more


def takes_session(op: str) -> bool:
    return any(field.encode_name == "session" for field in msgspec.structs.fields(OPS[op])) and op != "clone"


@asynccontextmanager
async def serving(tmp_path: Path, **limits: Any) -> AsyncIterator[tuple[Server, Path]]:
    path = tmp_path / "tokens.json"
    async with make_server(limits=LIMITS | limits, tokens=str(path)) as server:
        yield server, path


async def clone(client: ClientConnection, **fields: Any) -> str:
    return str((await ask(client, {"op": "clone", "id": "c", **fields}))["new-session"])


# -- every op and its guard -----------------------------------------------------------------------


def test_every_op_is_enumerated_here() -> None:
    assert sorted(NEEDS) == sorted(OPS)
    for op, kind in OPS.items():
        assert {kind.capability, kind.also} - {None} == NEEDS[op], op


@pytest.mark.parametrize("op", OPS)
async def test_without_a_token_no_op_but_hello_is_heard(tmp_path: Path, op: str) -> None:
    async with serving(tmp_path) as (server, _), dial(server) as owner, dial(server, token=None) as nobody:
        session = await clone(owner)
        reply = await ask(nobody, request(op, session))
        assert reply["status"] == ["error", "unauthorized", "done"]
        with pytest.raises(ConnectionClosed):
            await nobody.recv()
        assert nobody.close_code == 4401
        (entry,) = (await ask(owner, {"op": "ls-sessions", "id": "l"}))["sessions"]
        assert entry["state"] == "ready"


@pytest.mark.parametrize("capabilities", SETS, ids=lambda chosen: "+".join(sorted(chosen)))
async def test_every_op_is_open_to_its_capabilities_alone(tmp_path: Path, capabilities: set[str]) -> None:
    async with serving(tmp_path) as (server, path):
        maker = add_token(path, "maker", principal="ann")
        token = add_token(path, "under-test", principal="ann", capabilities=sorted(capabilities))
        async with dial(server, token=maker) as ann, dial(server, token=token) as client:
            for op in OPS:
                reply = await ask(client, request(op, await clone(ann), op))
                allowed = not NEEDS[op] or bool(NEEDS[op] & capabilities)
                assert ("forbidden" in reply["status"]) == (not allowed), (op, reply)
                assert allowed or "capability" in reply["message"]
            hello = await ask(client, {"op": "hello", "id": "h"})
            assert (hello["principal"], hello["capabilities"]) == ("ann", sorted(capabilities))


async def test_describe_says_what_each_op_needs(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, _), dial(server) as client:
        described = (await ask(client, {"op": "describe", "id": "d"}))["ops"]
    for op, needed in NEEDS.items():
        assert {described[op].get("capability"), described[op].get("also")} - {None} == needed


# -- whose sessions -------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [op for op in OPS if takes_session(op)])
async def test_another_principals_session_is_unknown_to_every_op(tmp_path: Path, op: str) -> None:
    async with serving(tmp_path) as (server, path):
        ann, bob = add_token(path, "ann"), add_token(path, "bob")
        async with dial(server, token=ann) as hers, dial(server, token=bob) as his:
            session = await clone(hers, name="work")
            none = await ask(his, request(op, "0123456789abcdef"))
            for ref in (session, "work"):
                reply = await ask(his, request(op, ref))
                assert reply["status"] == ["error", "unknown-session", "done"]
                assert reply["message"] == none["message"].replace("0123456789abcdef", ref)
            assert (await ask(his, {"op": "ls-sessions", "id": "l"}))["sessions"] == []
            (entry,) = (await ask(hers, {"op": "ls-sessions", "id": "l"}))["sessions"]
            assert (entry["id"], entry["state"], entry["principal"]) == (session, "ready", "ann")


async def test_another_principals_transient_eval_is_out_of_reach(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        ann, bob = add_token(path, "ann"), add_token(path, "bob", capabilities=["eval", "admin"])
        async with dial(server, token=ann) as hers, dial(server, token=bob) as his:
            await tell(hers, {"op": "eval", "id": "e", "code": "hang"})
            assert (await hers.recv(decode=False)).count(b"started")
            assert (
                "interrupt-id-mismatch"
                in (await ask(his, {"op": "interrupt", "id": "i", "interrupt-id": "e"}))["status"]
            )
            assert "session-idle" in (await ask(his, {"op": "stdin", "id": "s", "eval": "e", "stdin": "x"}))["status"]
            (hidden,) = server.evaluator.held  # type: ignore[attr-defined]
            assert "unknown-session" in (await ask(his, {"op": "close", "id": "c", "session": hidden.id}))["status"]


async def test_both_may_use_the_same_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        ann, bob = add_token(path, "ann"), add_token(path, "bob")
        async with dial(server, token=ann) as hers, dial(server, token=bob) as his:
            assert await clone(hers, name="work") != await clone(his, name="work")
            await ask(his, {"op": "close", "id": "x", "session": "work"})
            assert len((await ask(hers, {"op": "ls-sessions", "id": "l"}))["sessions"]) == 1


async def test_admin_sees_and_closes_everybodys_sessions_and_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        ann, eve = add_token(path, "ann"), add_token(path, "eve", capabilities=["admin"])
        async with dial(server, token=ann) as hers, dial(server, token=eve) as admin, dial(server) as owner:
            session, own = await clone(hers, name="work"), await clone(owner)
            for client in (admin, owner):
                listed = (await ask(client, {"op": "ls-sessions", "id": "l", "all": True}))["sessions"]
                assert {(one["id"], one["principal"]) for one in listed} == {(session, "ann"), (own, "owner")}
                refused = await ask(client, request("completions", session))
                assert refused["status"][1] in ("forbidden", "unknown-session")
            assert (await ask(admin, {"op": "ls-sessions", "id": "m"}))["sessions"] == []
            refused = await ask(hers, {"op": "ls-sessions", "id": "l", "all": True})
            assert refused["status"] == ["error", "forbidden", "done"]
            # Names are each principal's own; an id is meant by itself.
            assert "unknown-session" in (await ask(admin, {"op": "close", "id": "c", "session": "work"}))["status"]
            assert (await ask(admin, {"op": "close", "id": "d", "session": session}))["status"] == [
                "session-closed",
                "done",
            ]
            assert (await ask(hers, {"op": "ls-sessions", "id": "n"}))["sessions"] == []


async def test_two_tokens_can_stand_for_one_principal(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        watcher = add_token(path, "dashboard", principal="owner", capabilities=["observe"])
        async with dial(server) as owner, dial(server, token=watcher) as client:
            session = await clone(owner)
            (entry,) = (await ask(client, {"op": "ls-sessions", "id": "l"}))["sessions"]
            assert entry["id"] == session
            assert "forbidden" in (await ask(client, {"op": "close", "id": "c", "session": session}))["status"]
            # Another token of the same principal changes nothing on a connection; another principal's is refused.
            hello = await ask(client, {"op": "hello", "id": "h", "token": server.token})
            assert hello["capabilities"] == ["observe"]
            other = add_token(path, "ann")
            assert "forbidden" in (await ask(client, {"op": "hello", "id": "i", "token": other}))["status"]


# -- quotas ---------------------------------------------------------------------------------------


async def test_more_sessions_than_the_quota_are_refused_until_one_is_closed(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        token = add_token(path, "ann", quota={"sessions": 2})
        async with dial(server, token=token) as client, dial(server, token=token) as again, dial(server) as owner:
            assert (await ask(client, {"op": "hello", "id": "h"}))["quota"] == {"sessions": 2}
            first = await clone(client)
            await clone(again)
            for one in (client, again):
                assert (await ask(one, {"op": "clone", "id": "d"}))["status"] == ["error", "quota-exceeded", "done"]
                assert (await ask(one, {"op": "eval", "id": "e", "code": "1"}))["status"] == ["error", "busy", "done"]
            await clone(owner)  # others do not notice
            await ask(again, {"op": "close", "id": "x", "session": first})
            assert (await ask(client, {"op": "eval", "id": "e", "code": "1"}))["value"] == "1"
            await clone(client)


async def test_more_evals_than_the_quota_are_refused_until_one_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        token = add_token(path, "ann", quota={"evals": 3})
        async with dial(server, token=token) as client, dial(server) as owner:
            one, two = await clone(client), await clone(client)
            for id, session in (("a", one), ("b", one), ("c", two)):
                await tell(client, {"op": "eval", "id": id, "session": session, "code": "hang"})
            for request in ({"session": two}, {"session": one}, {}):
                refused = await ask(client, {"op": "eval", "id": "d", "code": "1", **request})
                assert refused["status"] == ["error", "quota-exceeded", "done"]
            refused = await ask(client, {"op": "load-file", "id": "d", "code": "1", "session": two})
            assert refused["status"] == ["error", "quota-exceeded", "done"]
            assert (await ask(owner, {"op": "eval", "id": "d", "code": "1"}))["value"] == "1"
            await tell(client, {"op": "interrupt", "id": "i", "session": two})
            await replies(client, "i")
            assert (await ask(client, {"op": "eval", "id": "d", "session": two, "code": "1"}))["value"] == "1"


async def test_a_quota_never_widens_the_servers_own_bound(tmp_path: Path) -> None:
    async with serving(tmp_path, max_sessions_per_principal=1) as (server, path):
        token = add_token(path, "ann", quota={"sessions": 1000})
        async with dial(server, token=token) as client:
            await clone(client)
            assert "quota-exceeded" in (await ask(client, {"op": "clone", "id": "d"}))["status"]


async def test_a_full_queue_is_busy_until_it_moves(tmp_path: Path) -> None:
    async with serving(tmp_path, max_queue_evals=1) as (server, _), dial(server) as client:
        session = await clone(client)
        for id in "ab":
            await tell(client, {"op": "eval", "id": id, "session": session, "code": "hang"})
        refused = await ask(client, {"op": "eval", "id": "c", "session": session, "code": "1"})
        assert refused["status"] == ["error", "busy", "done"]
        await ask(client, {"op": "interrupt", "id": "i", "session": session, "all": True})
        assert (await ask(client, {"op": "eval", "id": "c", "session": session, "code": "1"}))["value"] == "1"


# -- what the principal carries -------------------------------------------------------------------


async def test_tiers_are_carried(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        token = add_token(path, "ann", tiers=["sandbox", "strict"])
        principal = server.authenticate(token, "test")
        assert principal is not None
        assert principal.tiers == {"sandbox", "strict"}
        owner = server.authenticate(server.token, "test")
        assert owner is not None
        assert (owner.name, owner.tiers, owner.capabilities) == ("owner", None, set(CAPABILITIES))
    assert isinstance(server.evaluator, FakeEvaluator)


async def test_a_token_may_be_good_for_some_tiers_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        strict, plain = add_token(path, "ann", tiers=["strict"]), add_token(path, "bob", tiers=["none"])
        for token, fields, allowed in (
            (strict, {}, False),  # what this server gives by itself is `none`
            (strict, {"sandbox": {"tier": "sandbox"}}, False),
            (strict, {"sandbox": {"tier": "strict"}}, True),
            (plain, {}, True),
        ):
            async with dial(server, token=token) as client:
                reply = await ask(client, {"op": "clone", "id": "c", **fields})
                assert ("new-session" in reply) is allowed, reply
                if not allowed:
                    assert reply["status"] == ["error", "forbidden", "done"]
                    assert "'ann' may have sessions in strict only" in reply["message"]
        async with dial(server, token=strict) as client:
            reply = await ask(client, {"op": "eval", "id": "e", "code": "1"})
            assert reply["status"] == ["error", "forbidden", "done"]


async def test_the_memory_of_a_quota_bounds_its_sessions(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, path):
        evaluator = server.evaluator
        assert isinstance(evaluator, FakeEvaluator)
        token = add_token(path, "ann", quota={"memory-bytes": 1 << 28})
        async with dial(server, token=token) as client:
            for asked, given in ((None, 1 << 28), (1 << 27, 1 << 27), (1 << 29, 1 << 28)):
                limits = {} if asked is None else {"limits": {"memory-bytes": asked}}
                await clone(client, **limits)
                assert evaluator.started[-1].limits.memory_bytes == given
