"""`GET /metrics`: who may see it, what it says after what happened, and what it never says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nrepl_py.errors import ERRORS
from nrepl_py.evaluators.base import Exited
from nrepl_py.evaluators.frames import Output
from nrepl_py.ops import OPS, Cause
from nrepl_py.server.app import Server
from nrepl_py.server.counters import OUTCOMES, UNKNOWN
from nrepl_py.server.principals import Principal
from tests.server.fakes import FakeEvaluator, ask, dial, http, make_server, replies, request, tell

Samples = dict[tuple[str, ...], float]


async def get(server: Server, **headers: str | None) -> tuple[int, str, str]:
    """Status, head and body."""
    answer = (await http(server, request(server, "GET /metrics", False, **headers))).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), head, body


async def scrape(server: Server) -> Samples:
    """Each number by its name and its labels' values."""
    status, head, body = await get(server)
    assert status == 200
    assert "Content-Type: text/plain; version=" in head
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.001)


# -- who may see it -------------------------------------------------------------------------------


async def test_only_an_admin_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with make_server() as server:
        status, head, body = await get(server, Authorization=None)
        assert (status, "WWW-Authenticate: Bearer" in head, "nrepl_" in body) == (401, True, False)
        for wrong in ("Bearer wrong", "Basic x", "Bearer", f"Bearer {server.token}x"):
            assert (await get(server, Authorization=wrong))[0] == 401, wrong
        assert (await get(server))[0] == 200
        monkeypatch.setattr(
            server, "authenticate", lambda token, peer: Principal("ann", frozenset({"eval", "observe"}))
        )
        status, _, body = await get(server)
        assert (status, "nrepl_" in body) == (403, False)


async def test_it_is_there_when_no_connection_is_left() -> None:
    async with make_server(limits={"max_connections": 1}) as server, dial(server):
        assert b" 503 " in await http(server, request(server))
        found = await scrape(server)
        assert found["nrepl_connections",] == 1
        assert found["nrepl_refused_total", "service-unavailable"] == 1


# -- what it says ---------------------------------------------------------------------------------


async def test_evals_and_requests_are_counted_by_what_came_of_them() -> None:
    evaluator = FakeEvaluator()
    async with make_server(evaluator) as server, dial(server) as client:
        session = (await ask(client, {"op": "clone", "id": "c"}))["new-session"]
        await ask(client, {"op": "eval", "id": "1", "session": session, "code": "x"})
        await ask(client, {"op": "eval", "id": "1", "session": session, "code": "x"})
        await ask(client, {"op": "eval", "id": "2", "session": session, "code": "hang", "timeout": 0.001})
        await ask(client, {"op": "eval", "id": "3", "code": "alone"})
        await tell(client, {"op": "eval", "id": "4", "session": session, "code": "hang"})
        await tell(client, {"op": "eval", "id": "5", "session": session, "code": "queued"})
        await until(lambda: bool(evaluator.running))
        found = await scrape(server)
        assert (found["nrepl_sessions", "busy"], found["nrepl_evals_queued",]) == (1, 1)
        await ask(client, {"op": "interrupt", "id": "i", "session": session, "all": True})
        await ask(client, {"op": "interrupt", "id": "j", "session": session})
        found = await scrape(server)
    assert found["nrepl_requests_total", "eval", "done"] == 2
    assert found["nrepl_requests_total", "eval", "duplicate-id"] == 1
    assert found["nrepl_requests_total", "clone", "done"] == 1
    assert found["nrepl_requests_total", "interrupt", "session-idle"] == 1
    assert found["nrepl_evals_started_total",] == 4
    ended = {key[1]: n for key, n in found.items() if key[0] == "nrepl_evals_ended_total"}
    assert {word: n for word, n in ended.items() if n} == {"done": 2, "timeout": 1, "interrupted": 1, "cancelled": 1}
    assert set(ended) == {"done", *OUTCOMES}
    assert found["nrepl_interrupts_total", "sigint"] == found["nrepl_interrupts_total", "none"] == 1
    assert found["nrepl_eval_seconds_count",] == 5
    assert found["nrepl_eval_seconds_bucket", "+Inf"] == 5
    assert found["nrepl_eval_seconds_bucket", "0.0005"] <= found["nrepl_eval_seconds_bucket", "1.0"] <= 5
    assert found["nrepl_eval_queue_seconds_count",] == 4
    assert found["nrepl_worker_start_seconds_count",] == 2
    assert found["nrepl_sessions", "ready"] == 1


async def test_sessions_connections_and_deaths() -> None:
    evaluator = FakeEvaluator()
    async with make_server(evaluator) as server, dial(server) as client, dial(server):
        for number in range(3):
            await ask(client, {"op": "clone", "id": f"{number}"})
        first, second, _ = evaluator.held
        evaluator._sink(Exited(first, Cause(kind="oom")))
        evaluator._sink(Exited(second, Cause(kind="lost")))
        evaluator.fail = "no interpreter"
        await ask(client, {"op": "clone", "id": "f"})
        found = await scrape(server)
    assert {state: found["nrepl_sessions", state] for state in ("starting", "ready", "busy", "dead")} == {
        "starting": 0,
        "ready": 1,
        "busy": 0,
        "dead": 2,
    }
    assert found["nrepl_worker_deaths_total", "oom"] == found["nrepl_worker_deaths_total", "lost"] == 1
    assert found["nrepl_worker_starts_failed_total", "start-failed"] == 1
    assert found["nrepl_connections",] == found["nrepl_connections_opened_total",] == 2
    assert found["nrepl_stream_log_bytes",] > 0


async def test_a_death_of_an_eval_without_session_counts() -> None:
    evaluator = FakeEvaluator()
    async with make_server(evaluator) as server, dial(server) as client:
        await tell(client, {"op": "eval", "id": "1", "code": "hang"})
        await until(lambda: bool(evaluator.running))
        (ref,) = evaluator.held
        evaluator._sink(Exited(ref, Cause(kind="exit", code=1)))
        await replies(client, "1")
        found = await scrape(server)
    assert found["nrepl_worker_deaths_total", "exit"] == 1
    assert found["nrepl_evals_ended_total", "session-died"] == 1


async def test_output_and_what_waits_for_slow_readers() -> None:
    evaluator = FakeEvaluator()
    async with make_server(evaluator) as server, dial(server) as client, dial(server) as slow:
        session = (await ask(client, {"op": "clone", "id": "c"}))["new-session"]
        await tell(client, {"op": "eval", "id": "1", "session": session, "code": "hang"})
        await until(lambda: bool(evaluator.running))
        (ref,) = evaluator.held
        evaluator.say(ref, Output(serial=1, text="abc"))
        evaluator.say(ref, Output(serial=None, text="é" * 10, blobs=(20,)))
        await ask(client, {"op": "describe", "id": "d"})
        assert (await scrape(server))["nrepl_output_bytes_total",] == 23
        slow.transport.pause_reading()
        await tell(slow, {"op": "eval", "id": "2", "code": "print 400"})
        while (found := await scrape(server))["nrepl_outbox_bytes",] == 0:
            await asyncio.sleep(0)
        assert found["nrepl_outbox_max_bytes",] == found["nrepl_outbox_bytes",]
        slow.transport.abort()


async def test_who_was_turned_away_is_counted_by_reason() -> None:
    async with make_server() as server:
        await http(server, request(server, Host="evil.example"))
        await http(server, request(server, "GET /x"))
        await http(server, request(server, "POST /"))
        await http(server, request(server, Authorization="Bearer wrong"))
        await http(server, "nonsense\r\n\r\n")
        await http(server, request(server, Sec_WebSocket_Version="1"))
        async with dial(server, token=None) as client:
            server._timer_fired(("hello", 1))
            await client.wait_closed()
        found = await scrape(server)
    turned = {key[1]: n for key, n in found.items() if key[0] == "nrepl_refused_total"}
    assert turned == {
        "forbidden": 1,
        "not-found": 1,
        "method-not-allowed": 1,
        "unauthorized": 1,
        "bad-request": 2,
        "no-hello-in-time": 1,
    }


async def test_who_says_nothing_is_turned_away_too() -> None:
    async with make_server(limits={"handshake_seconds": 0.001}) as server:
        assert await http(server, "") == b""
        assert server.watching.counters.refusals == {"request-timeout": 1}


async def test_lines_that_were_dropped_are_counted(tmp_path: Any) -> None:
    async with make_server(audit_file="/dev/full") as server, dial(server) as client:
        await ask(client, {"op": "clone", "id": "1"})
        await until(lambda: server.watching.audit is not None and server.watching.audit.lost == 3)
        found = await scrape(server)
    assert found["nrepl_lines_dropped_total", "audit"] == 3
    assert found["nrepl_lines_dropped_total", "log"] == 0


async def test_the_process_is_there_too() -> None:
    async with make_server() as server:
        found = await scrape(server)
    assert found["process_resident_memory_bytes",] > 1 << 20
    assert found["process_open_fds",] > 0


async def test_the_protocol_page_names_every_metric() -> None:
    page = (Path(__file__).resolve().parents[2] / "protocol.md").read_text("utf-8")
    async with make_server() as server:
        families = list(text_string_to_metric_families((await get(server))[2]))
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    told = set(re.findall(r"`(nrepl_\w+)`", page.partition("### Metrics and audit")[2]))
    assert {name for name in names if name.startswith("nrepl_")} == told


# -- what it never says ---------------------------------------------------------------------------


async def test_labels_are_words_of_ours_whatever_clients_say() -> None:
    async with make_server() as server, dial(server) as client:
        for number, hostile in enumerate(['"} 1\nforged 1', "\\", "\n", "x" * 100]):
            await ask(client, {"op": "clone", "id": f"{hostile}{number}", "name": hostile})
            await ask(client, {"op": hostile, "id": hostile})
            await ask(client, {"op": "close", "id": hostile, "session": f"not {hostile}"})
            await ask(client, {"op": "eval", "id": hostile, "session": hostile, "code": hostile})
            await http(server, request(server, f"GET /x{'x' * number}", False))
        found = await scrape(server)
        _, _, body = await get(server)
    words = {
        "nrepl_requests_total": {*OPS, UNKNOWN, "done", *OUTCOMES, *ERRORS},
        "nrepl_worker_deaths_total": set(get_args(Cause.__annotations__["kind"])),
        "nrepl_refused_total": {"not-found"},
        "nrepl_sessions": {"starting", "ready", "busy", "dead"},
    }
    for name, *labels in found:
        assert set(labels) <= words.get(name, set(labels)), name
    assert found["nrepl_requests_total", UNKNOWN, "unknown-op"] == 4
    assert "forged" not in body
    assert "xxxx" not in body


async def test_each_server_counts_for_itself() -> None:
    async with make_server() as one, make_server() as other, dial(one) as client:
        await ask(client, {"op": "clone", "id": "1"})
        assert (await scrape(one))["nrepl_requests_total", "clone", "done"] == 1
        assert ("nrepl_requests_total", "clone", "done") not in await scrape(other)
        assert (await scrape(other))["nrepl_connections",] == 0


async def test_a_thousand_sessions_are_one_sample() -> None:
    async with make_server() as server, dial(server) as client:
        for number in range(1000):
            await tell(client, {"op": "clone", "id": f"{number}"})
        await replies(client, "999")
        assert (await scrape(server))["nrepl_sessions", "ready"] == 1000


def test_the_library_is_loaded_by_the_first_scrape() -> None:
    program = "import sys, nrepl_py.server.main; sys.exit('prometheus_client' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ).returncode
        == 0
    )
