"""The shape of the program, kept: who may import whom, how large the core is, what is documented.

The rules are those of the README's picture. The last tests show that the checker catches what it should.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.imports import Rule, broken, contract_methods, cycles, graph, packages, public_names, source_lines, sources

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sources(ROOT, "nrepl_py")
IMPORTS = graph(SOURCES, packages(ROOT, "nrepl_py"))

IO = (
    "asyncio", "concurrent", "ctypes", "multiprocessing", "os", "pathlib", "secrets", "select", "selectors", "signal",
    "socket", "ssl", "subprocess", "tempfile", "threading", "time", "uuid", "random", "websockets", "uvloop",
)  # fmt: skip
SHELL = (
    "app", "assets", "auth", "connection", "door", "framing", "handshake", "listen", "listeners", "logs", "main", "outbox",
    "peers", "routes", "tls", "audit", "counters", "metrics", "observers", "watching",
)  # fmt: skip
CORE = tuple(
    name for name in IMPORTS if name.startswith("nrepl_py.server.") and name.rpartition(".")[2] not in SHELL
)  # whatever is new in the server is core until it is named above
SANS_IO = (
    *CORE,
    "nrepl_py.client.connection",
    "nrepl_py.client.seen",
    "nrepl_py.ops",
    "nrepl_py.errors",
    "nrepl_py.codec",
    "nrepl_py.limits",
)

HANDED_OVER = ("nrepl_py.worker", "nrepl_py.introspection", "nrepl_py.sandbox")
RULES = [
    Rule(HANDED_OVER, ("*",), ("stdlib", *HANDED_OVER, "_nrepl_py")),  # the last is their name once handed over
    Rule(("nrepl_py.introspection",), ("nrepl_py.worker",)),
    Rule(("nrepl_py.sandbox",), ("nrepl_py.worker", "nrepl_py.introspection")),
    Rule(SANS_IO, IO),
    Rule(CORE, tuple(f"nrepl_py.server.{name}" for name in SHELL)),
    Rule(CORE, ("nrepl_py.evaluators",), ("nrepl_py.evaluators.base", "nrepl_py.evaluators.frames")),
    Rule(CORE, HANDED_OVER, ("nrepl_py.introspection.completeness",)),  # is-complete asks no session
    Rule(("nrepl_py.cli",), ("nrepl_py.server", "nrepl_py.evaluators", "nrepl_py.worker"), ("nrepl_py.server.main",)),
    Rule(
        ("nrepl_py.lsp",),
        ("nrepl_py.*",),
        ("nrepl_py.lsp", "nrepl_py.client", "nrepl_py.embed", "nrepl_py.errors", "nrepl_py.version"),
    ),
    Rule(
        ("nrepl_py.lsp.text", "nrepl_py.lsp.cells", "nrepl_py.lsp.results"),
        (*IO, "pygls", "lsprotocol", "nrepl_py.client"),
    ),
    Rule(("nrepl_py.client",), ("nrepl_py.server", "nrepl_py.evaluators", "nrepl_py.worker")),
    Rule(("nrepl_py.client",), ("nrepl_py.cli", "nrepl_py.embed")),
    Rule(("nrepl_py.server", "nrepl_py.evaluators"), ("nrepl_py.client", "nrepl_py.cli", "nrepl_py.embed")),
    Rule(("nrepl_py.evaluators",), ("nrepl_py.server",)),
]
MAY_IMPORT = {
    "websockets": (
        "nrepl_py.server.app",
        "nrepl_py.server.connection",
        "nrepl_py.server.handshake",
        "nrepl_py.server.framing",
        "nrepl_py.client",
    ),
    "msgpack": ("nrepl_py.codec",),
    "nrepl_py.sandbox": ("nrepl_py.sandbox", "nrepl_py.evaluators", "nrepl_py.worker"),
    "prometheus_client": ("nrepl_py.server.metrics",),
    "nrepl_py.lsp": ("nrepl_py.lsp", "nrepl_py.cli.lsp"),
    "pygls": ("nrepl_py.lsp",),
    "lsprotocol": ("nrepl_py.lsp",),
}
MAX_CORE = 4000  # source lines, about what one sitting can read
CORE_PARTS = ("nrepl_py.server", "nrepl_py.worker", "nrepl_py.codec", "nrepl_py.ops")
ASIDE = tuple(
    f"nrepl_py.{name}"
    for names in (
        "server.assets server.auth server.describe server.listen server.listeners server.logs server.main server.routes server.tls",
        "server.door server.handshake server.pace server.peers server.principals",  # a program, and who may come in
        "server.audit server.counters server.metrics server.observers server.watching",  # who watches
        "server.faults",  # what is wrong with a message
        "server.audience server.crashes server.idle server.life server.waiting",  # how workers and readers come and go
        "worker.boot worker.zygote worker.hooks worker.children worker.lend worker.tags",  # how a worker is started, and threads
        "worker.process worker.hosted worker.clone worker.lineage",  # or made otherwise, and how it lives in its process
    )
    for name in names.split()
)
"""What stands beside the way of a message, from a client's frame to the worker's words and back."""
MAX_MODULE = 400  # source lines


def within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def test_nobody_imports_what_is_not_theirs_to_know() -> None:
    assert broken(IMPORTS, RULES) == []


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_each_format_transport_and_wall_has_one_place(library: str) -> None:
    users = {name for name, targets in IMPORTS.items() if any(within(target, (library,)) for target in targets)}
    assert users
    assert [name for name in users if not within(name, MAY_IMPORT[library])] == []


def test_there_is_no_cycle() -> None:
    assert cycles(IMPORTS) == []


def test_the_way_of_a_message_is_readable_in_one_sitting() -> None:
    sizes = {
        name: source_lines(source) for name, source in SOURCES.items() if within(name, CORE_PARTS) and name not in ASIDE
    }
    assert set(ASIDE) <= set(SOURCES)
    assert sum(sizes.values()) < MAX_CORE, sorted(sizes.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("module", SOURCES)
def test_each_module_is_one_room_and_says_what_for(module: str) -> None:
    assert source_lines(SOURCES[module]) <= MAX_MODULE
    assert SOURCES[module].lstrip().startswith('"""')


def test_what_is_public_is_documented() -> None:
    names = {f"{module}.{name}": told for module, text in SOURCES.items() for name, told in public_names(text).items()}
    # What carries out a method of a documented contract is documented there.
    contracts = set().union(*map(contract_methods, SOURCES.values()))
    missing = [name for name, told in names.items() if not told and name.rpartition(".")[2] not in contracts]
    assert len(missing) <= len(names) / 10, missing


# -- the checker itself -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nrepl_py.worker.main", "import msgspec"),
        ("nrepl_py.worker.main", "def lazy():\n    from nrepl_py import ops"),
        ("nrepl_py.worker.main", "from .. import ops"),
        ("nrepl_py.server.router", "import asyncio"),
        ("nrepl_py.server.router", "from time import monotonic"),
        ("nrepl_py.server.router", "import os.path"),
        ("nrepl_py.server.router", "if TYPE_CHECKING:\n    import socket"),
        ("nrepl_py.server.router", "from . import app"),
        ("nrepl_py.server.router", "from nrepl_py.evaluators import local"),
        ("nrepl_py.client.connection", "import asyncio"),
        ("nrepl_py.client.aio", "from nrepl_py.server.router import Router"),
        ("nrepl_py.cli.main", "from nrepl_py.server import app"),
        ("nrepl_py.server.app", "from nrepl_py.client import connect"),
        ("nrepl_py.lsp.live", "from nrepl_py.server import app"),
        ("nrepl_py.lsp.server", "from nrepl_py.cli import console"),
        ("nrepl_py.lsp.cells", "from lsprotocol import types"),
        ("nrepl_py.sandbox.seccomp", "from nrepl_py.worker import wire"),
        ("nrepl_py.sandbox.seccomp", "from nrepl_py import limits"),
    ],
)
def test_the_checker_catches(module: str, source: str) -> None:
    names = {"nrepl_py.ops", "nrepl_py.server.app", "nrepl_py.evaluators.local", "nrepl_py.client"}
    modules = dict.fromkeys(names, "") | {module: source}
    found = graph(modules, {"nrepl_py", "nrepl_py.server", "nrepl_py.worker", "nrepl_py.client"})
    assert broken(found, RULES) != []


def test_the_checker_allows() -> None:
    modules = {
        "nrepl_py.ops": "",
        "nrepl_py.worker.main": "import os, sys\nfrom . import wire\nfrom .wire import pack",
        "nrepl_py.worker.wire": "import socket",
        "nrepl_py.server.router": "from nrepl_py import ops\nimport msgspec",
        "nrepl_py.server.app": "import asyncio\nfrom nrepl_py.server.router import Router",
    }
    assert broken(graph(modules, {"nrepl_py.worker", "nrepl_py.server"}), RULES) == []


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ({"a": "import b", "b": "import c", "c": "def lazy():\n    import a"}, [["a", "b", "c"]]),
        ({"a": "if TYPE_CHECKING:\n    from b import x", "b": "import a"}, [["a", "b"]]),
        ({"p": "", "p.x": "from . import y", "p.y": "from .x import f"}, [["p.x", "p.y"]]),
        ({"a": "import b\nimport c", "b": "import c", "c": "import os"}, []),
    ],
)
def test_cycles_are_found(modules: dict[str, str], expected: list[list[str]]) -> None:
    assert cycles(graph(modules, {"p"})) == expected


def test_lines_of_code_are_counted_without_words() -> None:
    assert (
        source_lines('"""Doc.\n\nMore.\n"""\n\nx = 1  # why\n# alone\ndef f():\n    """Doc."""\n    return "s"\n') == 3
    )


def test_public_names_are_counted() -> None:
    source = (
        'class A:\n    """Doc."""\n    def b(self): ...\n    def _c(self): ...\ndef _d(): ...\nasync def e(): ...\n'
    )
    assert public_names(source) == {"A": True, "A.b": False, "e": False}
    assert public_names("class A(B):\n    def overrides(self): ...") == {"A": False}


def test_contracts_are_protocols_with_docstrings() -> None:
    method = "    def {}(self):\n        'Doc.'\n"
    assert contract_methods("class A(Protocol):\n" + method.format("b") + "    def c(self): ...\n") == {"b"}
    assert contract_methods("class A:\n" + method.format("b")) == set()
