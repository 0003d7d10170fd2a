"""TLS: the same server under it, certificates that change, and what else knocks at the port."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from nrepl_py.config import ConfigError
from nrepl_py.server import app, handshake, tls
from nrepl_py.server.app import Server
from tests.server.fakes import FakeEvaluator, ask, dial, make_server, replies, request, tell

AUTHORITY = trustme.CA()


def issue(directory: Path, authority: trustme.CA = AUTHORITY) -> dict[str, str]:
    """A new certificate and its key, as settings."""
    made = authority.issue_cert("localhost", "127.0.0.1")
    made.private_key_pem.write_to_path(directory / "key.pem")
    with (directory / "cert.pem").open("wb") as file:
        for part in made.cert_chain_pems:
            file.write(part.bytes())
    return {"certfile": str(directory / "cert.pem"), "keyfile": str(directory / "key.pem")}


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@asynccontextmanager
async def serving(tmp_path: Path, evaluator: FakeEvaluator | None = None, **options: Any) -> AsyncIterator[Server]:
    async with make_server(evaluator, **issue(tmp_path), **options) as server:
        yield server


def dial_tls(server: Server, **options: Any) -> connect:
    return dial(server, ssl=trusting(), **options)


def shown(client: ClientConnection) -> bytes:
    """The certificate the server showed."""
    found: bytes = client.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return found


async def https(server: Server, text: str) -> bytes:
    """Everything the server answers to these bytes, to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting())
    try:
        writer.write(text.encode("latin-1"))
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.transport.abort()


async def test_all_the_way_and_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert server.url == f"wss://127.0.0.1:{server.port}"
        for codec in ("json", "msgpack"):
            async with dial_tls(server, codec_name=codec) as client:
                described = await ask(client, {"op": "describe", "id": "d"}, codec)
                assert (described["transports"], "insecure" in described) == (["tls"], False)
                assert (await ask(client, {"op": "eval", "id": "1", "code": "1+1"}, codec))["value"] == "1+1"
                big = "x" * (3 << 20)
                assert (await ask(client, {"op": "eval", "id": "2", "code": big}, codec))["status"][-1] == "done"


async def test_plain_http_over_tls_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "CLOSE_SECONDS", 60)  # not what ends it
    async with serving(tmp_path) as server:
        assert (await https(server, request(server, "GET /healthz", False))).endswith(b"\r\n\r\nok")
        assert (await https(server, request(server, Authorization="Bearer x"))).startswith(b"HTTP/1.1 401 ")
        assert (await https(server, "not even http\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_origins_are_https_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for origin, answer in (("https", b"101"), ("http", b"403")):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting())
            writer.write(request(server, Origin=f"{origin}://localhost:{server.port}").encode())
            assert (await reader.readline()).split()[1] == answer
            writer.transport.abort()


async def test_what_is_no_tls_reaches_nothing(tmp_path: Path) -> None:
    evaluator = FakeEvaluator()
    async with serving(tmp_path, evaluator) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(server).encode())
        with suppress(ConnectionError):
            assert b"HTTP" not in await reader.read()
        writer.transport.abort()
        with pytest.raises(ssl.SSLCertVerificationError):
            async with dial(server, ssl=ssl.create_default_context()):
                pass
        assert not server._open
        assert server.door.wrong_tokens == 0


async def test_old_versions_of_tls_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert server.listeners.certificate is not None
        assert server.listeners.certificate.context.minimum_version is ssl.TLSVersion.TLSv1_2
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = trusting()
            context.minimum_version = context.maximum_version = version
            async with dial(server, ssl=context) as client:
                assert (await ask(client, {"op": "describe", "id": "1"}))["status"] == ["done"]


async def test_a_handshake_never_finished_is_cut(tmp_path: Path) -> None:
    async with serving(tmp_path, limits={"handshake_seconds": 0.05}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\x16\x03\x01")
        with suppress(ConnectionError):
            await reader.read()
        assert reader.at_eof() or reader.exception()
        writer.transport.abort()


async def test_handshakes_count_as_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "OVER_CAP", 1)
    async with serving(tmp_path, limits={"max_connections": 2}) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        for _, other in [*silent, (reader, writer)]:
            other.transport.abort()
        async with asyncio.timeout(60):
            while True:
                try:
                    async with dial_tls(server) as client:
                        assert (await ask(client, {"op": "describe", "id": "1"}))["status"] == ["done"]
                        break
                except OSError:  # the others are not gone yet
                    await asyncio.sleep(0.01)


async def test_beyond_the_bound_there_is_503_here_too(tmp_path: Path) -> None:
    async with serving(tmp_path, limits={"max_connections": 1}) as server, dial_tls(server):
        with pytest.raises(InvalidStatus) as refused:
            async with dial_tls(server):
                pass
        assert refused.value.response.status_code == 503


async def test_who_cannot_be_accepted_is_a_moment_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "PAUSE_SECONDS", 0.01)
    async with serving(tmp_path) as server:
        (listener,) = server.listeners._open
        real, failures = listener._loop, [OSError(24, "Too many open files")]  # type: ignore[union-attr]

        class Failing:
            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            async def sock_accept(self, sock: Any) -> Any:
                if failures:
                    raise failures.pop()
                return await real.sock_accept(sock)

        listener._loop = Failing()  # type: ignore
        for _ in range(2):  # the first is accepted by the call that was under way
            async with dial_tls(server) as client:
                assert (await ask(client, {"op": "describe", "id": "1"}))["status"] == ["done"]
        assert not failures


async def test_a_wrong_token_and_a_revoked_one_are_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with dial_tls(server, token="wrong"):
                pass
        assert refused.value.response.status_code == 401
        async with dial_tls(server, token=None) as client:
            assert "unauthorized" in (await ask(client, {"op": "describe", "id": "1"}))["status"]
            await client.wait_closed()
            assert client.close_code == 4401


async def test_a_slow_reader_holds_its_worker_and_loses_nothing(tmp_path: Path) -> None:
    evaluator = FakeEvaluator()
    limits = {"outbox_bytes": 1 << 20}
    async with serving(tmp_path, evaluator, limits=limits) as server, dial_tls(server, max_queue=1) as client:
        session = (await ask(client, {"op": "clone", "id": "c"}))["new-session"]
        await tell(client, {"op": "eval", "id": "e", "session": session, "code": "print 200"})
        async with asyncio.timeout(60):
            while not any(evaluator.held.values()):
                await asyncio.sleep(0.01)
        got = await replies(client, "e")
        assert sum(len(message.get("out", "")) for message in got) == 200 * (64 << 10)


async def test_the_end_is_said_and_waits_for_no_handshake(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with dial_tls(server) as client:
            await ask(client, {"op": "describe", "id": "1"})
            async with asyncio.timeout(60):
                await server.aclose()
                await client.wait_closed()
            assert client.close_code == 1001
        writer.transport.abort()


# -- certificates ---------------------------------------------------------------------------------


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_stay(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, dial_tls(server) as old:
        issue(tmp_path)
        async with dial_tls(server) as same:
            assert shown(same) == shown(old)
        server.reload()
        async with dial_tls(server) as new:
            assert shown(new) != shown(old)
            for client in (old, new):
                assert (await ask(client, {"op": "describe", "id": "1"}))["status"] == ["done"]


@pytest.mark.parametrize("how", ["garbage", "another key", "missing", "half"])
async def test_a_broken_one_keeps_the_old_and_is_logged(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as server, dial_tls(server) as old:
        key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
        if how == "garbage":
            cert.write_text("garbage")
        elif how == "another key":
            before = key.read_bytes()
            issue(tmp_path)
            key.write_bytes(before)
        elif how == "missing":
            key.unlink()
        else:
            key.write_bytes(key.read_bytes()[:100])
        with caplog.at_level(logging.ERROR):
            server.reload()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "--certfile" in caplog.records[0].why  # type: ignore[attr-defined]
        async with dial_tls(server) as new:
            assert shown(new) == shown(old)
        issue(tmp_path)
        server.reload()
        async with dial_tls(server) as new:
            assert shown(new) != shown(old)
        assert (await ask(old, {"op": "describe", "id": "1"}))["status"] == ["done"]


@pytest.mark.parametrize("how", ["garbage", "missing", "encrypted"])
def test_a_certificate_that_cannot_be_used_keeps_the_server_from_starting(tmp_path: Path, how: str) -> None:
    from cryptography.hazmat.primitives import serialization as pem

    files = issue(tmp_path)
    key = tmp_path / "key.pem"
    if how == "garbage":
        key.write_text("garbage")
    elif how == "missing":
        key.unlink()
    else:
        plain: Any = pem.load_pem_private_key(key.read_bytes(), None)
        form = pem.PrivateFormat.TraditionalOpenSSL
        key.write_bytes(plain.private_bytes(pem.Encoding.PEM, form, pem.BestAvailableEncryption(b"secret")))
    with pytest.raises(ConfigError, match=r"--certfile .*cert\.pem, --keyfile .*key\.pem"):
        make_server(**files)


def test_one_file_may_hold_both(tmp_path: Path) -> None:
    issue(tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "key.pem").read_bytes() + (tmp_path / "cert.pem").read_bytes())
    assert make_server(certfile=str(both)).listeners.certificate is not None


# -- beyond loopback ------------------------------------------------------------------------------


async def test_with_tls_it_may_listen_anywhere(tmp_path: Path) -> None:
    async with serving(tmp_path, host="0.0.0.0") as server, dial_tls(server) as client:
        assert "insecure" not in await ask(client, {"op": "describe", "id": "1"})


async def test_insecure_is_said_to_everyone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with make_server(host="0.0.0.0", insecure=True) as server, dial(server) as client:
            assert (await ask(client, {"op": "describe", "id": "1"}))["insecure"] is True
    assert "insecure" in caplog.text


async def test_insecure_without_need_is_not_said() -> None:
    async with make_server(insecure=True) as server, dial(server) as client:
        assert "insecure" not in await ask(client, {"op": "describe", "id": "1"})
