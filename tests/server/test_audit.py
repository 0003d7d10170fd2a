"""The audit file: a line for each request that matters, nothing that should not be in it, and no waiting."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed

from nrepl_py.config import ConfigError
from nrepl_py.evaluators.base import Exited
from nrepl_py.evaluators.frames import NeedInput, Output
from nrepl_py.ops import OPS, Cause
from nrepl_py.server import audit
from tests.server.fakes import FakeEvaluator, ask, dial, http, make_server, replies, request, tell


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def lines(path: Path) -> list[dict[str, Any]]:
    """What the file says; every line must be one object."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def requests(path: Path) -> list[tuple[str | None, str | None, list[str]]]:
    """Op, id and outcome of each request."""
    return [(line["op"], line["id"], line["outcome"]) for line in lines(path) if line["event"] == "request"]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.001)


# -- one line a request ---------------------------------------------------------------------------


async def test_each_request_has_one_line_with_its_outcome(path: Path) -> None:
    async with make_server(audit_file=str(path)) as server, dial(server) as client:
        session = (await ask(client, {"op": "clone", "id": "c", "name": "work"}))["new-session"]
        await ask(client, {"op": "eval", "id": "1", "session": "work", "code": "x"})
        await ask(client, {"op": "eval", "id": "1", "session": "work", "code": "again"})
        await ask(client, {"op": "eval", "id": "2", "session": "work", "code": "hang", "timeout": 0.001})
        await ask(client, {"op": "eval", "id": "3", "code": "alone"})
        await ask(client, {"op": "interrupt", "id": "i", "session": "work"})
        await ask(client, {"op": "stdin", "id": "s", "session": "work", "stdin": "typed"})
        await ask(client, {"op": "eval", "id": "4", "session": "work"})
        await ask(client, {"op": "close", "id": "e", "session": "work"})
    assert requests(path) == [
        ("clone", "c", ["done"]),
        ("eval", "1", ["done"]),
        ("eval", "1", ["error", "duplicate-id", "done"]),
        ("eval", "2", ["timeout", "interrupted", "done"]),
        ("eval", "3", ["done"]),
        ("interrupt", "i", ["session-idle", "done"]),
        ("stdin", "s", ["session-idle", "done"]),
        ("eval", "4", ["error", "invalid-message", "done"]),
        ("close", "e", ["session-closed", "done"]),
    ]
    said = lines(path)
    assert [line["event"] for line in said if line["event"] != "request"] == [
        "connected", "session-started", "session-closed", "disconnected",
    ]  # fmt: skip
    (first,) = [line for line in said if line.get("id") == "1" and line["outcome"] == ["done"]]
    assert list(first) == ["time", "event", "who", "connection", "peer", "op", "id", "session", "outcome", "seconds"]
    assert (first["who"], first["connection"], first["session"]) == ("owner", 1, session)
    assert first["time"].endswith("Z")
    assert first["peer"].startswith("127.0.0.1:")
    assert first["seconds"] >= 0
    assert {line["session"] for line in said if line.get("id") in ("c", "2", "e")} == {session}
    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_only_reads_has_a_line_where_it_reaches_too_far(path: Path) -> None:
    async with make_server(audit_file=str(path)) as server, dial(server) as client:
        session = (await ask(client, {"op": "clone", "id": "c"}))["new-session"]
        for op in sorted(audit.READING):
            fields: dict[str, Any] = {"code": "x", "cursor": 0, "id": op, "op": op}
            await tell(client, fields | {"session": session})
            if "session" in OPS[op].__struct_fields__:
                await ask(client, fields | {"id": f"no {op}", "session": "another's"})
    refused = [said for said in requests(path) if said[1] != "c"]
    assert refused == [(op, f"no {op}", ["error", "unknown-session", "done"]) for op in sorted(audit.READING)
                       if op not in ("describe", "ls-sessions")]  # fmt: skip


def test_every_op_that_can_change_something_is_audited() -> None:
    assert set(OPS) - audit.READING >= {"hello", "clone", "close", "eval", "load-file", "interrupt", "stdin"}


async def test_the_outcome_is_noted_though_its_asker_is_gone(path: Path) -> None:
    evaluator = FakeEvaluator()
    async with make_server(evaluator, audit_file=str(path)) as server:
        async with dial(server) as client:
            session = (await ask(client, {"op": "clone", "id": "c", "name": "n"}))["new-session"]
            await tell(client, {"op": "eval", "id": "1", "session": session, "code": "hang"})
            await until(lambda: bool(evaluator.running))
            await tell(client, {"op": "eval", "id": "alone", "code": "hang"})
            await until(lambda: len(evaluator.running) == 2)
        await until(lambda: "alone" in path.read_text())
        assert "1" not in [id for _, id, _ in requests(path)]
    ended = {line["id"]: line for line in lines(path) if line.get("op") == "eval"}
    assert ended["alone"]["outcome"] == ended["1"]["outcome"] == ["session-closed", "done"]
    assert ended["1"]["who"] == "owner"
    assert ended["1"]["peer"] == ended["alone"]["peer"] != None  # noqa: E711


async def test_a_death_says_its_cause_and_not_what_the_worker_wrote(path: Path) -> None:
    evaluator = FakeEvaluator()
    async with make_server(evaluator, audit_file=str(path)) as server, dial(server) as client:
        session = (await ask(client, {"op": "clone", "id": "c"}))["new-session"]
        await tell(client, {"op": "eval", "id": "1", "session": session, "code": "hang"})
        await until(lambda: bool(evaluator.running))
        (ref,) = evaluator.held
        evaluator._sink(Exited(ref, Cause(kind="signal", signal="SIGKILL", last_stderr="PRIVATE", trace="PRIVATE")))
        await replies(client, "1")
    (died,) = [line for line in lines(path) if line["event"] == "session-died"]
    assert died["cause"] == {"kind": "signal", "signal": "SIGKILL"}
    assert (died["session"], died["who"]) == (session, "owner")
    assert ("eval", "1", ["session-died", "done"]) in requests(path)
    assert "PRIVATE" not in path.read_text()


# -- connections ----------------------------------------------------------------------------------


async def test_who_was_not_let_in_and_why(path: Path) -> None:
    async with make_server(audit_file=str(path)) as server:
        await http(server, request(server, Host="evil.example"))
        await http(server, request(server, Origin="https://evil.example"))
        await http(server, request(server, Authorization="Bearer GUESS"))
        await http(server, request(server, "GET /metrics", False, Authorization=None))
        async with dial(server, token=None) as client:
            await tell(client, {"op": "hello", "id": "h", "token": "GUESS"})
            with pytest.raises(ConnectionClosed):
                while True:
                    await client.recv()
    refused = [line for line in lines(path) if line["event"] == "refused"]
    reasons = [line["reason"] for line in refused]
    assert reasons == ["forbidden", "forbidden", "unauthorized", "unauthorized", "unauthorized"]
    assert "--allow-host" in refused[0]["why"]
    assert "--allow-origin" in refused[1]["why"]
    assert all(line["peer"].startswith("127.0.0.1:") for line in refused)
    (hello,) = [line for line in lines(path) if line.get("op") == "hello"]
    assert (hello["who"], hello["outcome"]) == (None, ["error", "unauthorized", "done"])
    assert "GUESS" not in path.read_text()
    assert "evil" not in path.read_text()


async def test_a_peer_on_a_unix_socket_is_its_user(path: Path, tmp_path: Path) -> None:
    async with make_server(audit_file=str(path), unix=str(tmp_path / "s")) as server:
        token = {"Authorization": f"Bearer {server.token}"}
        async with unix_connect(server.unix, "ws://localhost", additional_headers=token, compression=None) as client:
            await ask(client, {"op": "clone", "id": "c"})
    assert {line["peer"] for line in lines(path) if "peer" in line} == {f"uid {os.getuid()}"}


# -- what must not be in it -----------------------------------------------------------------------


async def everything_private(path: Path, **settings: Any) -> str:
    """The file, after code, input, output and tokens have passed; each of these holds `PRIVATE` or the token."""
    evaluator = FakeEvaluator()
    async with make_server(evaluator, audit_file=str(path), **settings) as server, dial(server, token=None) as client:
        await ask(client, {"op": "hello", "id": "h", "token": server.token, "client-name": "PRIVATE"})
        session = (await ask(client, {"op": "clone", "id": "c", "env": {"KEY": "PRIVATE"}}))["new-session"]
        await tell(client, {"op": "eval", "id": "1", "session": session, "code": "hang", "file": "PRIVATE"})
        await until(lambda: bool(evaluator.running))
        (ref,) = evaluator.held
        evaluator.say(ref, Output(serial=1, text="PRIVATE"))
        evaluator.say(ref, NeedInput(serial=1, prompt="PRIVATE"))
        await ask(client, {"op": "stdin", "id": "s", "session": session, "stdin": "PRIVATE"})
        await ask(client, {"op": "interrupt", "id": "i", "session": session})
        await ask(client, {"op": "eval", "id": "2", "session": session, "code": f"PRIVATE {server.token}"})
        await ask(client, {"op": "load-file", "id": "3", "session": session, "code": "é" * 5000})
        await ask(client, {"op": "eval", "id": "4", "session": "none", "code": "PRIVATE refused"})
        await ask(client, {"op": "eval", "id": server.token, "session": session, "code": "1"})
    assert server.token not in path.read_text()
    return path.read_text()


async def test_code_input_output_and_tokens_are_not_in_it(path: Path) -> None:
    text = await everything_private(path)
    assert "PRIVATE" not in text
    assert '"code"' not in text


async def test_code_is_in_it_where_that_was_asked_for_up_to_a_bound(path: Path) -> None:
    await everything_private(path, audit_code=True)
    said = {line["id"]: line for line in lines(path) if line["event"] == "request"}
    assert said["2"]["code"] == "PRIVATE [redacted]"
    assert said["4"]["code"] == "PRIVATE refused"
    assert (said["3"]["code"], said["3"]["truncated"]) == ("é" * (audit.CODE_BYTES // 2), True)
    assert "truncated" not in said["2"]
    assert all("code" not in said[id] for id in ("h", "c", "s", "i"))


HOSTILE = [
    'x"}\n{"event":"request","who":"root"}',
    "a\r\nb",
    "\x00\x1b[2J",
    "line\u2028next\u2029\x85end",
    "\\",
    "\u202e",
]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_hostile_ids_and_sessions_forge_no_line(path: Path, codec: str) -> None:
    async with make_server(audit_file=str(path)) as server, dial(server, codec) as client:
        for name in HOSTILE:
            await ask(client, {"op": "eval", "id": name, "session": name, "code": "x"}, codec)
            await tell(client, {"op": name, "id": "bad op"}, codec)
        await tell(client, {"op": "close", "id": "i" * 100_000, "session": "x"}, codec)
        await ask(client, {"op": "close", "id": "long", "session": "s" * 100_000}, codec)
        await client.send("no message" if codec == "json" else b"\xc1", text=codec == "json")
        await ask(client, {"op": "clone", "id": "c"}, codec)
    said = [line for line in lines(path) if line["event"] == "request"]
    assert [line["id"] for line in said if line["op"] == "eval"] == HOSTILE
    assert [line["session"] for line in said if line["op"] == "eval"] == HOSTILE
    assert [line["outcome"][1] for line in said if line["op"] is None] == ["unknown-op"] * len(HOSTILE) + [
        "unparseable"
    ]
    assert [(line["id"], line["session"]) for line in said if line["op"] == "close"] == [(None, "x"), ("long", None)]
    assert len(said) == 2 * len(HOSTILE) + 4
    assert path.read_text().isascii()
    assert max(map(len, path.read_text().splitlines())) < 2000


# -- the file -------------------------------------------------------------------------------------


async def test_a_full_disk_stalls_nothing_and_the_loss_is_said(path: Path, tmp_path: Path) -> None:
    path.symlink_to("/dev/full")
    async with make_server(audit_file=str(path)) as server, dial(server) as client:
        assert server.watching.audit is not None
        for number in range(20):
            await ask(client, {"op": "eval", "id": f"{number}", "code": "x"})
        await until(lambda: server.watching.audit is not None and server.watching.audit.lost == 21)
        # There is room again.
        path.unlink()
        path.touch()
        server.watching.audit.reopen()
        await ask(client, {"op": "eval", "id": "after", "code": "x"})
        await until(lambda: "dropped" in path.read_text())
        assert server.watching.audit.lost == 21
    after, dropped, _ = lines(path)
    assert after["id"] == "after"
    assert (dropped["event"], dropped["lines"]) == ("dropped", 21)


async def test_reopened_it_goes_on_in_a_new_file(path: Path) -> None:
    async with make_server(audit_file=str(path)) as server, dial(server) as client:
        assert server.watching.audit is not None
        await ask(client, {"op": "clone", "id": "before"})
        await until(lambda: "before" in path.read_text())
        path.rename(path.with_name("old"))
        server.watching.audit.reopen()
        await ask(client, {"op": "clone", "id": "after"})
    assert [id for _, id, _ in requests(path.with_name("old"))] == ["before"]
    assert [id for _, id, _ in requests(path)] == ["after"]


async def test_it_is_added_to(path: Path) -> None:
    path.write_text('{"event":"older"}\n')
    async with make_server(audit_file=str(path)):
        pass
    async with make_server(audit_file=str(path)) as server, dial(server) as client:
        await ask(client, {"op": "clone", "id": "c"})
    assert [line["event"] for line in lines(path)][:2] == ["older", "connected"]


async def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    evaluator = FakeEvaluator()
    with pytest.raises(ConfigError, match="--audit-file: .*missing"):
        async with make_server(evaluator, audit_file=str(tmp_path / "missing" / "audit")):
            pass
    assert evaluator.closed
