"""Tokens, and the exact lists of Host and Origin."""

from __future__ import annotations

import pytest

from nrepl_py.server import auth


@pytest.mark.parametrize(
    ("values", "token"),
    [(["Bearer abc"], "abc"), (["bearer abc"], "abc"), (["Bearer  abc "], "abc"), ([], None), (["Bearer"], None),
     (["Bearer "], None), (["Basic abc"], None), (["Bearer a b"], None), (["abc"], None),
     (["Bearer abc", "Bearer abc"], None)],
)  # fmt: skip
def test_bearer(values: list[str], token: str | None) -> None:
    assert auth.bearer(values) == token


HOST = "127.0.0.1:4000"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2", "[::1]", "LOCALHOST"])
def test_loopback_is_reached_by_its_three_names(host: str) -> None:
    guard = auth.tcp_guard(host, 4000)
    assert {"127.0.0.1:4000", "localhost:4000", "[::1]:4000"} <= guard.hosts
    assert guard.refusal(["LocalHost:4000"], []) is None


@pytest.mark.parametrize(
    "hosts",
    [[], [HOST, HOST], ["127.0.0.1"], ["127.0.0.1:40000"], ["127.0.0.1:400"], ["127.0.0.1:4000.evil"], ["evil:4000"],
     ["x127.0.0.1:4000"], ["0.0.0.0:4000"], ["127.1:4000"], ["localhost.:4000"], ["127.0.0.1:4000 "], [""]],
)  # fmt: skip
def test_other_hosts_are_refused(hosts: list[str]) -> None:
    assert auth.tcp_guard("127.0.0.1", 4000).refusal(hosts, []) is not None


@pytest.mark.parametrize(
    "origins",
    [["null"], [""], ["http://evil"], ["http://127.0.0.1"], ["http://127.0.0.1:40000"], ["http://127.0.0.1:4000/"],
     ["https://127.0.0.1:4000"], ["http://127.0.0.1:4000.evil"], ["http://evil/http://127.0.0.1:4000"],
     ["http://allowed", "http://allowed"], ["HTTP://allowed"], ["http://allowed.evil"], ["http://xallowed"]],
)  # fmt: skip
def test_other_origins_are_refused(origins: list[str]) -> None:
    guard = auth.tcp_guard("127.0.0.1", 4000, allow_origins=["http://allowed"])
    assert guard.refusal([HOST], origins) is not None
    assert guard.refusal([HOST], ["http://allowed"]) is None
    assert guard.refusal([HOST], ["http://localhost:4000"]) is None
    assert guard.refusal([HOST], []) is None


def test_allowed_hosts_may_name_a_port() -> None:
    guard = auth.tcp_guard("127.0.0.1", 4000, ["Repl.example", "proxy.example:8443", "[fd00::1]"])
    for host in ("repl.example", "repl.example:4000", "proxy.example:8443", "[fd00::1]", "[fd00::1]:4000"):
        assert guard.refusal([host], []) is None
    for host in ("repl.example:8443", "proxy.example", "proxy.example:4000"):
        assert guard.refusal([host], []) is not None
    # A name this server is reached by is not thereby an origin.
    assert guard.refusal(["repl.example"], ["http://repl.example"]) is not None


def test_the_default_port_may_be_left_out() -> None:
    guard = auth.tcp_guard("127.0.0.1", 80)
    assert guard.refusal(["localhost"], ["http://localhost"]) is None
    assert auth.tcp_guard("127.0.0.1", 443, tls=True).refusal(["localhost"], ["https://localhost"]) is None


def test_with_tls_the_own_origin_is_https() -> None:
    guard = auth.tcp_guard("127.0.0.1", 4000, tls=True)
    assert guard.refusal([HOST], [f"https://{HOST}"]) is None
    assert guard.refusal([HOST], [f"http://{HOST}"]) is not None


def test_an_address_of_the_network_is_reached_by_itself_only() -> None:
    guard = auth.tcp_guard("192.0.2.1", 4000)
    assert guard.hosts == {"192.0.2.1:4000"}
    assert auth.tcp_guard("2001:db8::1", 4000).hosts == {"[2001:db8::1]:4000"}
    assert "0.0.0.0:4000" not in auth.tcp_guard("0.0.0.0", 4000).hosts


def test_unix_sockets_are_localhost() -> None:
    guard = auth.unix_guard(frozenset({0}), ["repl.example"])
    assert guard.refusal(["localhost"], []) is None
    assert guard.refusal(["repl.example"], []) is None
    assert guard.refusal(["evil"], []) is not None
    assert guard.refusal(["localhost"], ["http://localhost"]) is not None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "", "localhost.evil"])
def test_listening_beyond_loopback_needs_to_be_asked_for(host: str) -> None:
    sentence = auth.exposure(host, insecure=False)
    assert sentence is not None
    assert "--insecure" in sentence
    assert "--certfile" in sentence
    assert auth.exposure(host, insecure=True) is None
    assert auth.exposure(host, insecure=False, tls=True) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    assert auth.exposure(host, insecure=False) is None
