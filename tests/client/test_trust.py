"""Which certificates a client believes: those of authorities, and the very one of a server it found by its file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from nrepl_py import connection_file, serve_in_thread
from nrepl_py.client import NoServer, aio
from nrepl_py.client.address import Address
from nrepl_py.client.sync import connect
from nrepl_py.client.trust import CAFILE, context
from nrepl_py.connection_file import ServerFile
from nrepl_py.embed import Embedded

NAME = "repl.example"


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv(CAFILE, raising=False)


def issue(directory: Path, *names: str) -> Path:
    """A certificate with its key, and its authority beside it."""
    directory.mkdir(exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(directory / "cert.pem")
    return directory / "cert.pem"


@pytest.fixture
def certfile(tmp_path: Path) -> Path:
    return issue(tmp_path / "tls", "localhost")


@pytest.fixture
def server(certfile: Path) -> Iterator[Embedded]:
    with serve_in_thread(certfile=str(certfile)) as running:
        yield running


def by_name(server: Embedded) -> dict[str, Any]:
    """Its address by the name in its certificate, and its token."""
    return {"url": server.url.replace("127.0.0.1", "localhost"), "token": server.token}


def announce(server: Embedded, certfile: Path, cwd: Path) -> None:
    """Write the connection file that `nrepl-py serve` would."""
    cwd.mkdir(exist_ok=True)
    start = connection_file.process_start(os.getpid()) or ""
    connection_file.write(
        ServerFile(server.url, server.token, os.getpid(), start, str(cwd), 1.0, {}, certfile=str(certfile))
    )


def test_an_authority_is_named_by_argument_or_variable(
    server: Embedded, certfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cafile = str(certfile.with_name("ca.pem"))
    with connect(**by_name(server), cafile=cafile) as session:
        assert session.eval("6 * 7").value == "42"
    monkeypatch.setenv(CAFILE, cafile)
    with connect(**by_name(server)) as session:
        assert session.eval("6 * 7").value == "42"


async def test_the_same_for_asyncio(server: Embedded, certfile: Path) -> None:
    async with aio.connect(**by_name(server), cafile=str(certfile.with_name("ca.pem"))) as client:
        assert client.principal == "owner"


def test_strangers_are_not_believed_and_get_no_token(server: Embedded, tmp_path: Path) -> None:
    with pytest.raises(NoServer, match=f"not to be trusted.*--cafile, {CAFILE}"):
        connect(**by_name(server))
    other = issue(tmp_path / "other", "localhost").with_name("ca.pem")
    with pytest.raises(NoServer, match="not to be trusted"):
        connect(**by_name(server), cafile=str(other))


def test_another_name_is_not_believed(server: Embedded, certfile: Path) -> None:
    cafile = str(certfile.with_name("ca.pem"))
    with pytest.raises(NoServer, match="not to be trusted"):
        connect(server.url, server.token, cafile=cafile)


def test_a_file_without_certificates_is_named(server: Embedded, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(NoServer, match=f"{name} has no certificates"):
            connect(**by_name(server), cafile=str(tmp_path / name))


def test_a_server_found_by_its_file_is_known_by_its_certificate(
    server: Embedded, certfile: Path, tmp_path: Path
) -> None:
    announce(server, certfile, tmp_path)
    # Neither is the authority known, nor is the certificate for 127.0.0.1.
    with connect(directory=str(tmp_path)) as session:
        assert session.eval("6 * 7").value == "42"
    with connect(server.url) as session:
        assert session.eval("6 * 7").value == "42"


def test_another_certificate_of_the_same_authority_is_not_it(tmp_path: Path) -> None:
    authority = trustme.CA()
    for name in ("ours", "theirs"):
        chain = authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.bytes()
        (tmp_path / name).write_bytes(chain + authority.cert_pem.bytes())
    with serve_in_thread(certfile=str(tmp_path / "theirs")) as impostor:
        announce(impostor, tmp_path / "ours", tmp_path / "a")
        with pytest.raises(NoServer, match="not to be trusted"):
            connect(directory=str(tmp_path / "a"))
        (tmp_path / "empty").write_text("no PEM")
        announce(impostor, tmp_path / "empty", tmp_path / "b")
        with pytest.raises(NoServer, match="empty has no certificates"):
            connect(directory=str(tmp_path / "b"))


def test_without_tls_nothing_is_checked(certfile: Path) -> None:
    assert context(Address("ws://127.0.0.1:1", "t"), "/missing") is None
    assert context(Address("wss://127.0.0.1:1", "t", unix="/s"), "/missing") is None
