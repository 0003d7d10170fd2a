"""The connection: handshakes (hostile ones too), frames, deadlines, and readers that do not read."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from nrepl_py.server import connection, handshake, routes
from nrepl_py.server.app import Server
from tests.server.fakes import FakeEvaluator, ask, dial, http, make_server, replies, request, tell

HELLO = {"op": "hello", "id": "h"}


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def frame(opcode: int, data: bytes, *, fin: bool = True, length: int | None = None) -> bytes:
    """A client's frame, masked with zeros."""
    size = len(data) if length is None else length
    head = bytes([opcode | (0x80 if fin else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += struct.pack("!BH", 0x80 | 126, size)
    else:
        head += struct.pack("!BQ", 0x80 | 127, size)
    return head + bytes(4) + data


@asynccontextmanager
async def upgraded(server: Server, **headers: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A raw connection after its handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(request(server, **headers).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert status(head) == 101
        yield reader, writer
    finally:
        writer.transport.abort()


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Opcode and payload of the next frame."""
    first, size = await reader.readexactly(2)
    if size >= 126:
        form, length = ("!H", 2) if size == 126 else ("!Q", 8)
        (size,) = struct.unpack(form, await reader.readexactly(length))
    return first & 0x0F, await reader.readexactly(size)


async def close_code(reader: asyncio.StreamReader) -> int:
    """The code of the close frame, after whatever else comes."""
    while True:
        opcode, data = await read_frame(reader)
        if opcode == 8:
            return int(struct.unpack("!H", data[:2])[0])


# -- every route is guarded -----------------------------------------------------------------------


FOREIGN_ORIGINS = ["https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:{port}.evil.example",
                   "http://evil127.0.0.1:{port}", "http://127.0.0.1:{port}0", "https://127.0.0.1:{port}",
                   "http://localhost:{port}/", ""]  # fmt: skip
FOREIGN_HOSTS = ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}0",
                 "localhost.evil.example:{port}", "", None]  # fmt: skip


NEEDS_NO_TOKEN = {
    "/": b"nREPL server",
    "/page.js": b"WebSocket",
    "/page.css": b"prefers-color-scheme",
    "/frame": b"<title>Output</title>",
    "/healthz": b"ok",
}
"""What plain HTTP may read without one, and what it says."""


async def test_every_route_is_open_on_purpose() -> None:
    assert NEEDS_NO_TOKEN.keys() | {routes.METRICS_PATH} == routes.ROUTES.keys()  # that one has tests of its own
    async with make_server() as server:
        for path, says in NEEDS_NO_TOKEN.items():
            answer = await http(server, request(server, f"GET {path}", False, Authorization=None))
            assert status(answer) == 200
            assert says in answer
            assert server.token.encode() not in answer
            for header, value in routes.SECURITY_HEADERS:
                assert f"{header}: {value}".encode() in answer
        # Only one can become a WebSocket, and with a wrong token it does not.
        for path in NEEDS_NO_TOKEN:
            upgraded = await http(server, request(server, f"GET {path}", Authorization="Bearer wrong"))
            assert status(upgraded) == (401 if path == routes.WEBSOCKET_PATH else 200)
        assert not server._open


@pytest.mark.parametrize("path", [*routes.ROUTES, "/nothing"])
@pytest.mark.parametrize("upgrade", [True, False])
async def test_every_route_is_guarded(path: str, upgrade: bool) -> None:
    async with make_server() as server:
        for origin in FOREIGN_ORIGINS:
            text = request(server, f"GET {path}", upgrade, Origin=origin.format(port=server.port))
            assert status(await http(server, text)) == 403, origin
        for host in FOREIGN_HOSTS:
            given = host and host.format(port=server.port)
            assert status(await http(server, request(server, f"GET {path}", upgrade, Host=given))) == 403, host
        for method in ("POST", "PUT", "OPTIONS", "HEAD", "TRACE"):
            text = request(server, f"{method} {path}", upgrade, Origin="https://evil.example")
            assert status(await http(server, text)) == 403


async def test_own_allowed_and_absent_origins_and_hosts_pass() -> None:
    async with make_server(allow_origins=("vscode-webview://abc",), allow_hosts=("repl.example",)) as server:
        own = [f"http://127.0.0.1:{server.port}", f"http://localhost:{server.port}", f"http://[::1]:{server.port}"]
        for origin in (None, "vscode-webview://abc", *own):
            async with upgraded(server, Origin=origin):
                pass
        for host in (f"LOCALHOST:{server.port}", f"[::1]:{server.port}", "repl.example", f"repl.example:{server.port}"):
            async with upgraded(server, Host=host):
                pass


async def test_two_hosts_or_two_origins_are_refused() -> None:
    async with make_server(allow_origins=("http://a",)) as server:
        right = request(server)
        assert status(await http(server, right.replace("\r\n", f"\r\nHost: 127.0.0.1:{server.port}\r\n", 1))) == 403
        assert (
            status(await http(server, right.replace("\r\n", "\r\nOrigin: http://a\r\nOrigin: http://a\r\n", 1))) == 403
        )


# -- plain HTTP -----------------------------------------------------------------------------------


async def test_healthz_page_and_nothing_else() -> None:
    async with make_server() as server:
        healthy = await http(server, request(server, "GET /healthz", False, Authorization=None))
        assert status(healthy) == 200
        assert healthy.endswith(b"\r\n\r\nok")
        page = await http(server, request(server, "GET /", False, Authorization=None))
        assert status(page) == 200
        assert b"nREPL server" in page
        assert b"frame-ancestors 'none'" in page
        assert b"X-Content-Type-Options: nosniff" in page
        for path in ("/x", "/healthz/", "/?token=x", "//", "/../", "*", "http://127.0.0.1/"):
            assert status(await http(server, request(server, f"GET {path}"))) == 404
        for method in ("POST", "HEAD", "PUT", "DELETE", "OPTIONS"):
            answer = await http(server, request(server, f"{method} /", False))
            assert status(answer) == 405
            assert b"Allow: GET" in answer


async def test_plain_http_reaches_no_op() -> None:
    evaluator = FakeEvaluator()
    async with make_server(evaluator) as server:
        body = json.dumps({"op": "eval", "id": "1", "code": "1"})
        text = request(server, "POST /", False, Content_Length=str(len(body))) + body
        assert status(await http(server, text)) == 400
        assert status(await http(server, body + "\n")) == 400
        assert status(await http(server, "\x16\x03\x01 a TLS client hello")) == 400
    assert not evaluator.told


@pytest.mark.parametrize(
    "text",
    ["GET\r\n\r\n", "GET / HTTP/9\r\n\r\n", "GET /\x00\xff HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nbad header\r\n\r\n",
     "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"],
)  # fmt: skip
async def test_malformed_requests_get_400(text: str) -> None:
    async with make_server() as server:
        assert status(await http(server, text)) == 400


async def test_a_head_too_long_is_refused_while_it_grows() -> None:
    async with make_server() as server:
        assert status(await http(server, "GET / HTTP/1.1\r\n" + "a: b\r\n" * 10_000)) == 431
        assert status(await http(server, "G" * (handshake.MAX_HEAD + 1))) == 431


async def test_a_bad_upgrade_is_refused() -> None:
    async with make_server() as server:
        assert status(await http(server, request(server, Upgrade="h2c"))) == 426
        assert status(await http(server, request(server, Sec_WebSocket_Key="short"))) == 400
        assert status(await http(server, request(server, Sec_WebSocket_Version="8"))) == 400
        http10 = request(server).replace("HTTP/1.1", "HTTP/1.0")
        assert status(await http(server, http10)) == 505


async def test_frames_sent_ahead_of_a_refused_handshake_do_nothing() -> None:
    evaluator = FakeEvaluator()
    frames = frame(1, b'{"op":"eval","id":"1","code":"1"}') + frame(8, b"") + frame(9, b"")
    async with make_server(evaluator) as server:
        for ahead in (request(server, Origin="null"), request(server, Authorization="Bearer wrong")):
            assert status(await http(server, ahead + frames.decode("latin-1"))) in (401, 403)
        assert not evaluator.told


async def test_frames_sent_ahead_of_an_accepted_handshake_are_taken() -> None:
    async with make_server() as server:
        frames = frame(1, json.dumps({"op": "describe", "id": "1"}).encode()) + frame(8, b"\x03\xe8")
        answer = await http(server, request(server) + frames.decode("latin-1"))
        assert status(answer) == 101
        assert b'"id":"1"' in answer
        assert answer.endswith(b"\x88\x02\x03\xe8")


# -- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Bearer", "Basic {token}", "{token}", "Bearer {token}x"])
async def test_a_wrong_token_gets_401(header: str) -> None:
    async with make_server() as server:
        answer = await http(server, request(server, Authorization=header.format(token=server.token)))
        assert status(answer) == 401
        assert b"WWW-Authenticate: Bearer" in answer


async def test_a_token_in_the_query_is_worth_nothing() -> None:
    async with make_server() as server:
        assert status(await http(server, request(server, f"GET /?token={server.token}", Authorization=None))) == 404


async def test_hello_shows_the_token_instead() -> None:
    async with make_server() as server, dial(server, token=None) as client:
        reply = await ask(client, HELLO | {"token": server.token})
        assert reply["status"] == ["done"]


@pytest.mark.parametrize("message", [{"op": "describe", "id": "1"}, HELLO, HELLO | {"token": "wrong"}])
async def test_anything_else_first_is_closed_with_4401(message: dict[str, Any]) -> None:
    async with make_server() as server, dial(server, token=None) as client:
        assert "unauthorized" in (await ask(client, {"id": "1"} | message))["status"]
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 4401


async def test_no_hello_in_time_is_closed() -> None:
    async with make_server(limits={"handshake_seconds": 2}) as server, dial(server, token=None) as client:
        await client.wait_closed()
        assert client.close_code == 4401


async def test_a_stranger_cannot_make_us_hold_much() -> None:
    async with make_server() as server, upgraded(server, Authorization=None) as (reader, writer):
        writer.write(frame(1, b"", length=handshake.HELLO_BYTES + 1))
        assert await close_code(reader) == 1009


async def test_a_stranger_cannot_talk_for_long() -> None:
    async with make_server() as server, upgraded(server, Authorization=None) as (reader, writer):
        writer.write(frame(9, b"") * connection.STRANGER_BYTES)
        assert await close_code(reader) == 1008


async def test_what_follows_hello_at_once_may_be_large() -> None:
    async with make_server() as server, upgraded(server, Authorization=None) as (reader, writer):
        hello = frame(1, json.dumps(HELLO | {"token": server.token}).encode())
        large = {"op": "is-complete", "id": "1", "code": "1 + 1\n" * 50_000}
        writer.write(hello + frame(1, json.dumps(large).encode()))
        assert json.loads((await read_frame(reader))[1])["id"] == "h"
        assert json.loads((await read_frame(reader))[1])["id"] == "1"


# -- codecs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "selected", "codec"),
    [(["nrepl.v1.json"], "nrepl.v1.json", "json"), (["nrepl.v1.msgpack"], "nrepl.v1.msgpack", "msgpack"),
     (["x", "nrepl.v1.msgpack", "nrepl.v1.json"], "nrepl.v1.msgpack", "msgpack"),
     (["other"], None, "json"), (None, None, "json")],
)  # fmt: skip
async def test_the_subprotocol_selects_the_codec(offered: Any, selected: str | None, codec: str) -> None:
    async with make_server() as server, dial(server, subprotocols=offered) as client:
        assert client.subprotocol == selected
        assert (await ask(client, {"op": "describe", "id": "1"}, codec))["status"] == ["done"]


async def test_compression_is_never_agreed_on() -> None:
    async with make_server() as server, dial(server, compression="deflate") as client:
        assert client.protocol.extensions == []


@pytest.mark.parametrize(("codec", "wrong"), [("json", b"\x80"), ("msgpack", "{}")])
async def test_a_frame_of_the_other_kind_closes_with_1003(codec: str, wrong: Any) -> None:
    async with make_server() as server, dial(server, codec) as client:
        await client.send(wrong)
        await client.wait_closed()
        assert client.close_code == 1003


@pytest.mark.parametrize("data", [b"\xff\xfe{}", b"{", b"[1]", b"NaN", b'{"a":1,"a":2}', b"[" * 1000])
async def test_a_frame_that_is_no_message_gets_an_error_and_the_connection_lives(data: bytes) -> None:
    async with make_server() as server, upgraded(server, Sec_WebSocket_Protocol="nrepl.v1.json") as (reader, writer):
        writer.write(frame(1, data) + frame(1, b'{"op":"describe","id":"1"}'))
        error = json.loads((await read_frame(reader))[1])
        assert "id" not in error
        assert error["status"][1] in ("unparseable", "invalid-message")
        assert json.loads((await read_frame(reader))[1])["id"] == "1"


# -- sizes and fragments --------------------------------------------------------------------------


async def test_an_oversized_frame_closes_with_1009_before_it_is_read() -> None:
    async with make_server(limits={"max_frame_bytes": 1 << 17}) as server, upgraded(server) as (reader, writer):
        writer.write(frame(1, b"", length=1 << 30))
        assert await close_code(reader) == 1009


async def test_fragments_make_one_message_within_the_bound() -> None:
    async with make_server(limits={"max_frame_bytes": 1 << 17}) as server, upgraded(server) as (reader, writer):
        text = b'{"op":"describe","id":"1"}'
        pieces = [frame(1, text[:1], fin=False), *(frame(0, text[i : i + 1], fin=False) for i in range(1, len(text)))]
        writer.write(b"".join(pieces) + frame(9, b"p") + frame(0, b""))
        assert json.loads((await read_frame(reader))[1])["id"] == "1"
        writer.write(frame(1, b"x" * 1000, fin=False) + frame(0, b"", fin=False) * 1000)
        for _ in range(200):
            writer.write(frame(0, b"x" * 1000, fin=False))
        assert await close_code(reader) == 1009


async def test_a_message_inside_another_ones_fragments_is_a_protocol_error() -> None:
    async with make_server() as server, upgraded(server) as (reader, writer):
        writer.write(frame(1, b'{"op":"describe","id":"1"}'))
        assert json.loads((await read_frame(reader))[1])["id"] == "1"
        writer.write(frame(1, b"{", fin=False) + frame(9, b"p"))
        assert (await read_frame(reader))[1] == b"p"
        writer.write(frame(1, b'{"op":"describe","id":"2"}'))
        assert await close_code(reader) == 1002


@pytest.mark.parametrize("start", [frame(1, b"{", fin=False), frame(1, b"{", length=100)[:-1], b"\x81"])
async def test_a_message_never_finished_is_closed(start: bytes) -> None:
    async with make_server(limits={"stall_seconds": 0.05}) as server, upgraded(server) as (reader, writer):
        writer.write(start)
        assert await close_code(reader) == 1008


@pytest.mark.parametrize("known", [1, 2, 3])
async def test_half_a_header_read_with_the_message_before_is_no_end(known: int) -> None:
    """The rest of such a frame may look like a frame, and is none."""
    inner = b'{"op":"describe","id":"forged"}'
    disguised = frame(1, inner)  # read as a mask and a payload, where the header before it has gone already
    first, second = frame(1, b'{"op":"describe","id":"1"}'), b"\x81" + bytes([0x80 | (len(disguised) - 4)]) + disguised
    async with make_server() as server, upgraded(server) as (reader, writer):
        writer.write(first + second[:known])
        assert json.loads((await read_frame(reader))[1])["id"] == "1"
        writer.write(second[known:])
        assert json.loads((await read_frame(reader))[1])["status"] == ["error", "unparseable", "done"]


async def test_unmasked_frames_are_a_protocol_error() -> None:
    async with make_server() as server, upgraded(server) as (reader, writer):
        writer.write(b"\x81\x02{}")
        assert await close_code(reader) == 1002


# -- deadlines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", b"GET / HT"])
async def test_a_slow_handshake_is_cut(start: bytes) -> None:
    async with make_server(limits={"handshake_seconds": 0.05}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(start)
        with suppress(OSError):
            assert await reader.read() == b""
        writer.close()


async def test_a_silent_peer_is_pinged_then_given_up() -> None:
    async with make_server(limits={"ping_seconds": 0.5}) as server, upgraded(server) as (reader, writer):
        assert await reader.readexactly(2) == b"\x89\x00"
        writer.write(frame(10, b""))
        assert await reader.readexactly(2) == b"\x89\x00"
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(2)


async def test_a_peer_that_answers_pings_stays() -> None:
    async with make_server(limits={"ping_seconds": 0.2}) as server, dial(server, ping_interval=None) as client:
        for _ in range(5):
            await (await client.ping())
            await asyncio.sleep(0.3)  # the pings between are the server's
        assert (await ask(client, {"op": "describe", "id": "1"}))["status"] == ["done"]


async def test_a_close_that_is_not_answered_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "CLOSE_SECONDS", 0.05)
    async with make_server() as server, upgraded(server) as (reader, writer):
        writer.write(frame(2, b"x"))
        assert await close_code(reader) == 1003
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)


async def test_a_client_that_closes_gets_its_close_echoed() -> None:
    async with make_server() as server:
        async with dial(server) as client:
            pass
        assert client.close_code == 1000
        assert not server._open


# -- many connections, and readers that do not read ------------------------------------------------


async def test_beyond_the_bound_on_connections_there_is_503() -> None:
    async with make_server(limits={"max_connections": 2}) as server:
        async with dial(server), dial(server):
            with pytest.raises(InvalidStatus) as refused:
                async with dial(server):
                    pass
            assert refused.value.response.status_code == 503
        async with asyncio.timeout(60):
            while True:
                try:
                    async with dial(server):
                        break
                except InvalidStatus:  # the two are not gone yet
                    await asyncio.sleep(0.01)


async def test_a_client_that_does_not_read_stalls_its_worker_only_and_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handshake, "CLOSE_SECONDS", 0.2)
    evaluator = FakeEvaluator()
    limits = {"outbox_bytes": 1 << 20, "stall_seconds": 2}
    async with make_server(evaluator, limits=limits) as server, upgraded(server) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(frame(1, b'{"op":"clone","id":"c"}'))
        async with dial(server) as other:
            mine = (await ask(other, {"op": "clone", "id": "c"}))["new-session"]
            while len(evaluator.held) < 2:
                await asyncio.sleep(0.01)
            (theirs,) = [ref for ref in evaluator.held if ref.id != mine]
            writer.write(
                frame(1, json.dumps({"op": "eval", "id": "e", "session": theirs.id, "code": "print 500"}).encode())
            )
            async with asyncio.timeout(60):
                while not evaluator.held[theirs]:
                    await asyncio.sleep(0.01)
            connection = next(c for c in server._open.values() if c._full)
            assert connection._transport.get_write_buffer_size() < 2 << 20
            # The other session never notices.
            assert (await ask(other, {"op": "eval", "id": "1", "session": mine, "code": "42"}))["value"] == "42"
            # Nobody reads, so the worker is let go on without its reader in the end.
            async with asyncio.timeout(60):
                while evaluator.held[theirs]:
                    await asyncio.sleep(0.01)
            assert connection.number not in server._open


async def test_a_slow_reader_that_reads_again_loses_nothing() -> None:
    evaluator = FakeEvaluator()
    async with make_server(evaluator, limits={"outbox_bytes": 1 << 20}) as server, dial(server, max_queue=1) as client:
        session = (await ask(client, {"op": "clone", "id": "c"}))["new-session"]
        await tell(client, {"op": "eval", "id": "e", "session": session, "code": "print 200"})
        async with asyncio.timeout(60):
            while not any(evaluator.held.values()):
                await asyncio.sleep(0.01)
        got = await replies(client, "e")
        assert sum(len(message.get("out", "")) for message in got) == 200 * (64 << 10)
        assert [message["seq"] for message in got] == list(range(got[0]["seq"], got[0]["seq"] + len(got)))


async def test_a_slow_reader_can_still_interrupt() -> None:
    evaluator = FakeEvaluator()
    async with make_server(evaluator, limits={"outbox_bytes": 1 << 20}) as server, dial(server, max_queue=1) as client:
        session = (await ask(client, {"op": "clone", "id": "c"}))["new-session"]
        await tell(client, {"op": "eval", "id": "e", "session": session, "code": "print 200"})
        async with asyncio.timeout(60):
            while not any(evaluator.held.values()):
                await asyncio.sleep(0.01)
            await tell(client, {"op": "interrupt", "id": "i", "session": session})
            while evaluator.running:
                await asyncio.sleep(0.01)
            await replies(client, "i")


async def test_requests_without_end_and_nobody_to_read_the_replies() -> None:
    limits = {"outbox_bytes": 1 << 20, "stall_seconds": 2}
    async with make_server(limits=limits) as server, upgraded(server) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        (connection,) = server._open.values()
        request = frame(1, b'{"op":"describe","id":"1"}')
        peak = 0
        while connection.open:
            writer.write(request * 100)
            peak = max(peak, connection._transport.get_write_buffer_size())
            await asyncio.sleep(0)
        assert 1 << 20 < peak < 3 << 20


async def test_a_replay_larger_than_the_outbox_is_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an outbox and a portion: it never makes a connection full, nor keeps it from anything else."""
    limits = {"outbox_bytes": 1 << 20, "log_bytes": 64 << 20, "stall_seconds": 60}
    full: list[bool] = []
    async with make_server(limits=limits) as server, dial(server) as asker:
        session = (await ask(asker, {"op": "clone", "id": "c"}))["new-session"]
        last = (await ask(asker, {"op": "eval", "id": "e", "session": session, "code": "print 500"}))["seq"]
        monkeypatch.setattr(server, "congested", lambda connection, is_full: full.append(is_full))
        async with dial(server, max_queue=1) as client:
            connection = server._open[max(server._open)]
            await tell(client, {"op": "attach", "id": "a", "session": session, "since": 0})
            async with asyncio.timeout(60):
                while connection.waiting < 1 << 19:
                    await asyncio.sleep(0)
                await tell(client, {"op": "describe", "id": "d"})
                seen, peak = [], 0
                async for text in client:
                    peak = max(peak, connection.waiting)
                    seen.append(json.loads(text))
                    if seen[-1].get("id") == "a":
                        break
            assert [message["seq"] for message in seen if "seq" in message] == list(range(1, last + 2))
            assert sum(len(message.get("out", "")) for message in seen) == 500 * (64 << 10)
            assert "d" in [message.get("id") for message in seen[:-100]], "what else it asks waits for it all"
            assert peak < 1 << 20
            assert full == []


async def test_who_attaches_and_does_not_read_is_dropped_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "CLOSE_SECONDS", 0.2)
    limits = {"outbox_bytes": 1 << 20, "log_bytes": 64 << 20, "stall_seconds": 1, "ping_seconds": 0.5}
    async with make_server(limits=limits) as server, dial(server) as asker:
        session = (await ask(asker, {"op": "clone", "id": "c"}))["new-session"]
        await ask(asker, {"op": "eval", "id": "e", "session": session, "code": "print 500"})
        async with upgraded(server) as (reader, writer):
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            connection = server._open[max(server._open)]
            writer.write(frame(1, json.dumps({"op": "attach", "id": "a", "session": session, "since": 0}).encode()))
            async with asyncio.timeout(60):
                while connection.open:
                    await asyncio.sleep(0.01)
            reader._transport.resume_reading()  # type: ignore[attr-defined]
            assert await close_code(reader) == 4408


async def test_an_observer_that_does_not_read_is_dropped_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "CLOSE_SECONDS", 0.2)
    limits = {"outbox_bytes": 1 << 20, "log_bytes": 64 << 20}
    async with make_server(limits=limits) as server, dial(server) as asker:
        session = (await ask(asker, {"op": "clone", "id": "c"}))["new-session"]
        async with upgraded(server) as (reader, writer):
            connection = server._open[max(server._open)]
            writer.write(frame(1, json.dumps({"op": "attach", "id": "a", "session": session}).encode()))
            await read_frame(reader)
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            async with asyncio.timeout(60):
                done = await ask(asker, {"op": "eval", "id": "e", "session": session, "code": "print 500"})
                while connection.open:
                    await asyncio.sleep(0.01)
            # What it missed it finds by its last number.
            async with dial(server) as again:
                reply = await ask(again, {"op": "attach", "id": "a", "session": session, "since": done["seq"] - 10})
                assert reply["status"] == ["done"]


# -- senders that send too fast -------------------------------------------------------------------


async def test_past_the_rate_a_connection_is_read_no_further_and_loses_nothing() -> None:
    limits = {"max_messages_per_second": 40, "max_messages_burst": 5}
    async with make_server(limits=limits) as server, upgraded(server) as (reader, writer), dial(server) as other:
        connection = server._open[1]
        writer.write(b"".join(frame(1, b'{"op":"ls-sessions","id":"%d"}' % n) for n in range(40)))
        assert json.loads((await read_frame(reader))[1])["id"] == "0"
        assert connection._inbox
        assert not connection._transport.is_reading()
        # Nobody else waits.
        assert (await ask(other, {"op": "describe", "id": "1"}))["status"] == ["done"]
        assert connection._inbox
        for n in range(1, 40):
            assert json.loads((await read_frame(reader))[1])["id"] == str(n)
        async with asyncio.timeout(60):
            while not connection._transport.is_reading():
                await asyncio.sleep(0.01)
        writer.write(frame(1, b'{"op":"ls-sessions","id":"last"}'))
        assert json.loads((await read_frame(reader))[1])["id"] == "last"


async def test_messages_one_after_the_other_are_slowed_down_too() -> None:
    limits = {"max_messages_per_second": 100, "max_messages_burst": 1}
    async with make_server(limits=limits) as server, dial(server) as client:
        (connection,) = server._open.values()
        paused = 0
        for n in range(10):
            await tell(client, {"op": "ls-sessions", "id": str(n)})
            async with asyncio.timeout(60):
                while not (connection._inbox or await arrived(client)):
                    pass
            paused += bool(connection._inbox)
            assert [one["id"] for one in await replies(client, str(n))] == [str(n)]
        assert paused > 0


async def arrived(client: Any) -> bool:
    """Whether a message waits to be received, after a turn of the loop."""
    await asyncio.sleep(0)
    return bool(client.recv_messages.frames.queue)


async def test_who_is_slowed_down_is_not_taken_for_dead_and_can_close() -> None:
    limits = {"max_messages_per_second": 20, "max_messages_burst": 1, "ping_seconds": 0.05}
    async with make_server(limits=limits) as server, upgraded(server) as (reader, writer):
        writer.write(frame(1, b'{"op":"ls-sessions","id":"1"}') * 10 + frame(8, struct.pack("!H", 1000)))
        texts = 0
        while (got := await read_frame(reader))[0] != 8:
            texts += got[0] == 1
        assert (texts, struct.unpack("!H", got[1][:2])) == (10, (1000,))


async def test_a_slow_connection_that_is_closed_leaves_no_timer() -> None:
    limits = {"max_messages_per_second": 1, "max_messages_burst": 1}
    async with make_server(limits=limits) as server, upgraded(server) as (reader, writer):
        (connection,) = server._open.values()
        writer.write(frame(1, b'{"op":"ls-sessions","id":"1"}') * 10)
        await read_frame(reader)
        assert "pace" in connection._timers
        connection.close(1001, "enough")
        assert "pace" not in connection._timers


# -- Unix sockets ---------------------------------------------------------------------------------


async def test_the_same_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with make_server(unix=str(path)) as server:
        assert server.port is None
        assert path.stat().st_mode & 0o777 == 0o600
        headers = {"Authorization": f"Bearer {server.token}"}
        async with unix_connect(str(path), "ws://localhost/", additional_headers=headers) as client:
            assert (await ask(client, {"op": "describe", "id": "1"}))["transports"] == ["unix"]
        text = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert status(await http(server, text, unix=True)) == 200
        assert status(await http(server, text.replace("localhost", "evil"), unix=True)) == 403
        assert status(await http(server, request(server, Host="localhost", Origin="null"), unix=True)) == 403
        assert status(await http(server, request(server, Host="localhost", Authorization="Bearer x"), unix=True)) == 401
    assert not path.exists()


async def test_nagle_is_off() -> None:
    async with make_server() as server, dial(server):
        (connection,) = server._open.values()
        tcp = connection._transport.get_extra_info("socket")
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
