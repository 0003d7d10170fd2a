"""Completions, signatures and lookups: what they find, and that they never run anything of the user's."""

from __future__ import annotations

import functools
import linecache
import sys
import threading
import types
from typing import Any

import pytest

from nrepl_py import lent
from nrepl_py.introspection import answers, cursor, guess, outline, statics
from nrepl_py.introspection.answers import Introspector
from nrepl_py.worker.lend import Lender
from tests.worker.remote import everywhere, run

LENDER = Lender(lent.directories())
SOURCE = '''
import collections, functools, os, typing
class Thing:
    """A thing.

    More of it."""
    shared: int = 1
    def __init__(self, first, second=2, *rest, key: int = 3, **more):
        self.own = "x"
    def method(self, a: str, /, b: typing.Optional[int] = None) -> "list[str]":
        """What it does."""
        return [self.own]
    @property
    def prop(self):
        """A property."""
        raise AssertionError("it ran")
    @classmethod
    def made(cls, how): pass
    @staticmethod
    def plain(x): pass
    @functools.lru_cache
    def cached(self, n): pass
    def _hidden(self): pass
class Slots:
    __slots__ = ("one", "two")
thing = Thing(1)
slots = Slots(); slots.one = thing
def function(alpha, beta=os.sep, *, gamma): "Doc."
@functools.wraps(function)
def wrapped(*args, **kwargs): pass
partial = functools.partial(function, 1)
mapping = {"alpha": [1], "beta": {"deep": "x"}}
ordered = collections.OrderedDict()
long_text = "x" * 1000
'''


METHOD = "method(a: str, /, b: Optional[int] = None) -> list[str]"
FUNCTION_LINE = SOURCE[: SOURCE.index("def function")].count("\n") + 1


@functools.lru_cache
def made() -> dict[str, Any]:
    linecache.cache["<session>"] = (len(SOURCE), None, SOURCE.splitlines(True), "<session>")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(SOURCE, "<session>", "exec", dont_inherit=True), namespace)
    return namespace


@pytest.fixture
def namespace() -> dict[str, Any]:
    return dict(made())


def complete(code: str, namespace: dict[str, Any], at: int | None = None) -> dict[str, dict[str, Any]]:
    found = Introspector(namespace, LENDER).completions(code, len(code) if at is None else at)
    return {entry["candidate"]: entry for entry in found}


def signature(code: str, namespace: dict[str, Any]) -> tuple[str, str | None]:
    found = Introspector(namespace, LENDER).signatures(code, len(code))[0]
    active = found["active"]
    return found["label"], None if active is None else found["parameters"][active]["label"]


class TestCompletions:
    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("os.path.spl", {"split": "function", "splitext": "function"}),
            ("import os\nos.pa", {"path": "module", "pardir": "instance"}),
            ("thing.", {"own": "instance", "shared": "instance", "method": "function", "prop": "property"}),
            ("thing.pl", {"plain": "function"}), ("thing.cac", {"cached": "function"}),
            ("slots.o", {"one": "property"}),
            ("slots.one.ow", {"own": "instance"}), ("Thing.ma", {"made": "function"}),
            ("thing.__cl", {"__class__": "property"}), ("thing.__class__.sh", {"shared": "instance"}),
            ("mapping.ke", {"keys": "function"}), ("function.__na", {"__name__": "property"}),
            ("thi", {"thing": "instance"}), ("Th", {"Thing": "class"}), ("pri", {"print": "function"}),
            ("whi", {"while": "keyword"}), ("f'{thing.ow", {"own": "instance"}),
            ("x = [thing . ow", {"own": "instance"}),
            ("function(al", {"alpha=": "param"}), ("function(1, ga", {"gamma=": "param"}),
            ("later = 1\nlat", {"later": "statement"}), ("Thing", {"Thing": "class"}),
        ],
    )  # fmt: skip
    def test_by_looking(
        self, code: str, expected: dict[str, str], namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guess, "_load_jedi", None)
        found = complete(code, namespace)
        assert {name: found.get(name, {}).get("type") for name in expected} == expected

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("import collec", {"collections": "module"}), ("from os.path import spl", {"split": "function"}),
            ("from os.path import (join,\n  spl", {"split": "function"}), ("'text'.up", {"upper": "function"}),
            ("x = 1 .re", {"real": "property"}), ("def f():\n    local_name = 1\n    loc", {"local_name": "statement"}),
            ("def f(os):\n    os.pa", {"path": "module"}), ("def f(some_param):\n    some", {"some_param": "param"}),
            ("class C:\n    def f(self): self.foo = 1\n    def g(self):\n        self.fo", {"foo": "statement"}),
            ("import json\njson.du", {"dump": "function"}), ("thing.method().app", {"append": "function"}),
            ("thing.method('')[0].up", {"upper": "function"}), ("mapping['al", {"'alpha'": "string"}),
            ("mapping['alpha'].app", {"append": "function"}), ("mapping['beta']['deep'].up", {"upper": "function"}),
            ("Thing(1).own.up", {"upper": "function"}), ("ordered.copy().mov", {"move_to_end": "function"}),
            ("os.getcwd().up", {"upper": "function"}), ("open('/et", {"etc/": "path"}),
            ("def f(thing):\n    thing.ow", {"own": "instance"}),
        ],
    )  # fmt: skip
    def test_by_reading(self, code: str, expected: dict[str, str], namespace: dict[str, Any]) -> None:
        found = complete(code, namespace)
        if "own" in expected:  # a parameter of unknown type: the live thing is better than nothing
            assert "own" in found
        else:
            assert {name: found.get(name, {}).get("type") for name in expected} == expected

    @pytest.mark.parametrize(
        "code", ["# os.pa", "1", "1.re", "0x", "1e", "1e5.re", "thing.nothing.at.al", "x = '''os.pa"]
    )
    def test_nothing(self, code: str, namespace: dict[str, Any]) -> None:
        assert complete(code, namespace) == {}

    def test_an_entry_says_what_it_replaces_and_what_it_is(self, namespace: dict[str, Any]) -> None:
        entry = complete("é = '🐍'; thing.met", namespace)["method"]
        expected = {"candidate": "method", "type": "function", "start": 15, "doc": "What it does.", "signature": METHOD}
        assert entry == expected
        assert complete("thing.pro", namespace)["prop"]["doc"] == "A property."
        assert complete("x + 1; thi.foo", namespace, at=10)["thing"]["start"] == 7

    def test_names_with_an_underscore_are_asked_for(self, namespace: dict[str, Any]) -> None:
        assert "_hidden" not in complete("thing.", namespace)
        assert {"_hidden", "__init__"} <= set(complete("thing._", namespace))
        assert "__name__" not in complete("", namespace)

    def test_sorted_and_bounded(self, namespace: dict[str, Any]) -> None:
        namespace.update((f"name{number}", number) for number in range(10_000))
        found = Introspector(namespace, LENDER).completions("nam", 3)
        names = [entry["candidate"] for entry in found]
        assert len(names) == 500
        assert names == sorted(names)

    def test_long_code(self, namespace: dict[str, Any]) -> None:
        above = "import textwrap\n" + "value = ['x', (1, 2)]  # a comment\n" * 4_000
        for code in ("thing.ow", "textwrap.inde", "def f():\n    local_name = 1\n    loc"):
            entries = complete(above + code, namespace)
            assert entries, code
            assert {entry["start"] for entry in entries.values()} == {len(above + code) - len(entries_prefix(code))}
        code = above + "def f():\n    local_name = 1\n    local_name"
        info = Introspector(namespace, LENDER).lookup_at(code, len(code))
        assert info is not None
        assert (info["name"], info["line"]) == ("local_name", 4_003)

    def test_quadratic_code(self, namespace: dict[str, Any]) -> None:
        for code in (
            "(" * 50_000,
            "a." * 50_000,
            "'" * 50_001,
            "f(" * 20_000,
            "{" * 50_000,
            " " * 100_000,
            "\\" * 50_000,
        ):
            text = cursor.before(code, len(code)).text
            cursor.call(text)
            cursor.chain(text)
            cursor.block(text)
            cursor.in_import(text)

    def test_without_jedi_there_is_what_looking_gives(self, namespace: dict[str, Any], tmp_path: Any) -> None:
        nothing: Any = types.SimpleNamespace(load=lambda name: (_ for _ in ()).throw(ImportError(name)))
        assert Introspector(namespace, nothing).completions("import o", 8) == []
        assert Introspector(namespace, nothing).completions("def f():\n    thi", 16)[0]["candidate"] == "thing"
        assert Introspector(namespace, nothing).lookup_symbol("nothing") is None

    def test_jedi_being_late_fails_only_where_it_alone_could_tell(
        self, namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held = threading.Event()
        monkeypatch.setattr(guess, "_load_jedi", lambda lender: held.wait(60))
        try:
            hasty = Introspector(namespace, LENDER, seconds=0.01)
            with pytest.raises(TimeoutError):
                hasty.completions("import o", 8)
            assert "thing" in {entry["candidate"] for entry in hasty.completions("def f():\n    thi", 16)}
        finally:
            held.set()


def entries_prefix(code: str) -> str:
    return code[max(code.rfind(char) for char in " .") + 1 :]


class TestSignatures:
    @pytest.mark.parametrize(
        ("code", "label", "active"),
        [
            ("function(", "function(alpha, beta='/', *, gamma)", "alpha"),
            ("function(1, ", "function(alpha, beta='/', *, gamma)", "beta='/'"),
            ("function(1, 2, 3", "function(alpha, beta='/', *, gamma)", None),
            ("function(gamma=[1, ", "function(alpha, beta='/', *, gamma)", "gamma"),
            ("function(beta=2, ", "function(alpha, beta='/', *, gamma)", "alpha"),
            ("wrapped(", "wrapped(alpha, beta='/', *, gamma)", "alpha"),
            ("partial(", "partial(beta='/', *, gamma)", "beta='/'"),
            ("Thing(1, 2, 3, 4", "Thing(first, second=2, *rest, key: int = 3, **more)", "*rest"),
            ("Thing(zzz=", "Thing(first, second=2, *rest, key: int = 3, **more)", "**more"),
            ("thing.method('a', ", METHOD, "b: Optional[int] = None"),
            ("Thing.method(", METHOD.replace("(a", "(self, a"), "self"),
            ("thing.made(", "made(how)", "how"), ("Thing.made(", "made(how)", "how"), ("thing.plain(", "plain(x)", "x"),
            ("thing.cached(", "cached(n)", "n"), ("os.path.join(function(1), (2, ", "join(a, *p)", "*p"),
            ("function(', (', ", "function(alpha, beta='/', *, gamma)", "beta='/'"), ("len(", "len(obj, /)", "obj"),
            ("if function(", "function(alpha, beta='/', *, gamma)", "alpha"),
            ("mapping.get(1,", "get(key, default=None, /)", "default=None"),
            ("function(\n    1,\n    ", "function(alpha, beta='/', *, gamma)", "beta='/'"),
        ],
    )  # fmt: skip
    def test_by_looking(
        self, code: str, label: str, active: str | None, namespace: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(guess, "_load_jedi", None)
        assert signature(code, namespace) == (label, active)

    @pytest.mark.parametrize(
        ("code", "label"),
        [
            ("'a'.join(", "join("),
            ("thing.method('').append(1", "append("),
            ("def f(x, y): pass\nf(1, ", "f(x, y)"),
            ("int(", "int("),
        ],
    )
    def test_by_reading(self, code: str, label: str, namespace: dict[str, Any]) -> None:
        assert signature(code, namespace)[0].startswith(label)

    @pytest.mark.parametrize(
        "code", ["", "1 + 1", "function", "function()", "def f(", "class C(", "# function(", "(1, ", "if (", "[1, "]
    )
    def test_none(self, code: str, namespace: dict[str, Any]) -> None:
        assert Introspector(namespace, LENDER).signatures(code, len(code)) == []


class TestLookup:
    def test_a_function(self, namespace: dict[str, Any]) -> None:
        assert Introspector(namespace, LENDER).lookup_symbol("Thing.method") == {
            "name": "method", "type": "function", "doc": "What it does.", "file": "<session>", "line": 10, "column": 4,
            "signature": "method(self, a: str, /, b: Optional[int] = None) -> list[str]", "value": None,
        }  # fmt: skip

    def test_a_class(self, namespace: dict[str, Any]) -> None:
        info = Introspector(namespace, LENDER).lookup_symbol("Thing")
        assert info is not None
        assert (info["type"], info["doc"], info["line"], info["column"]) == ("class", "A thing.\n\nMore of it.", 3, 0)

    @pytest.mark.parametrize(
        ("symbol", "type_", "key", "value"),
        [
            ("os", "module", "line", 1), ("thing.prop", "property", "doc", "A property."),
            ("thing.own", "instance", "value", "'x'"),
            ("mapping", "instance", "value", "{'alpha': [1], 'beta': {'deep': 'x'}}"),
            ("long_text", "instance", "value", repr("x" * 80) + "…"), ("thing", "instance", "value", None),
            ("thing.cached", "function", "signature", "cached(n)"), ("len", "function", "file", None),
            ("thing.prop", "property", "line", 14), ("xml.etree", "module", "name", "etree"),
        ],
    )  # fmt: skip
    def test_symbols(self, symbol: str, type_: str, key: str, value: Any, namespace: dict[str, Any]) -> None:
        import xml.etree  # noqa: F401

        info = Introspector(namespace, LENDER).lookup_symbol(symbol)
        assert info is not None
        assert (info["type"], info[key]) == (type_, value)

    @pytest.mark.parametrize("symbol", ["nothing", "thing.nothing", "thing.", "1", "a b", "thing.prop.x", "'x'"])
    def test_not_found(self, symbol: str, namespace: dict[str, Any]) -> None:
        assert Introspector(namespace, LENDER).lookup_symbol(symbol) is None

    def test_in_code(self, namespace: dict[str, Any]) -> None:
        look = Introspector(namespace, LENDER, "/p/file.py").lookup_at
        for at in range(4, 12):
            assert (look("x = function(1)", at) or {})["line"] == FUNCTION_LINE
        assert (look("thing.method()", 8) or {})["name"] == "method"
        assert (look("thing.method()", 2) or {})["name"] == "thing"
        info = look("y = 1\ndef f(q):\n    return q", 27) or {}
        assert (info["name"], info["type"], info["file"], info["line"], info["column"]) == (
            "q",
            "param",
            "/p/file.py",
            2,
            6,
        )
        assert look("x = function(1)  # function", 22) is None
        assert look("1 + 1", 5) is None

    def test_the_worker_asks_by_name(self, namespace: dict[str, Any]) -> None:
        ask = answers.ANSWERS
        assert ask["lookup"]({"sym": "function", "code": None, "cursor": None}, namespace, LENDER, 60)["doc"] == "Doc."
        assert ask["lookup"]({"sym": None, "code": "thing", "cursor": 3}, namespace, LENDER, 60)["type"] == "instance"
        assert ask["completions"]({"code": "thi", "cursor": 3}, namespace, LENDER, 60)[0]["candidate"] == "thing"
        assert ask["signature"]({"code": "function(", "cursor": 9}, namespace, LENDER, 60)[0]["active"] == 0


def test_values_are_shown_only_where_that_is_safe_and_short() -> None:
    class Str(str):
        pass

    shown: list[Any] = [
        1,
        1.5,
        None,
        True,
        "x",
        b"x",
        (1,),
        [1, [2]],
        {1},
        frozenset(),
        set(),
        {"a": (1, 2)},
        range(3),
        ...,
    ]
    assert [outline.show(value) for value in shown] == [repr(value) for value in shown]
    assert [outline.show(value) for value in (object(), Str("x"), [object()], {"a": Str()}, int)] == [None] * 5
    recursive: list[Any] = []
    recursive.append(recursive)
    for large in (10**100_000, "x" * 10**7, list(range(10**6)), {n: n for n in range(10**5)}, recursive):
        assert len(outline.show(large) or "") < 500


def test_a_namespace_that_changes_meanwhile() -> None:
    namespace: dict[str, Any] = {f"name{number}": number for number in range(2_000)}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            namespace[f"more{number % 5_000}"] = number
            namespace.pop(f"more{(number * 7) % 5_000}", None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(50):
            assert len(Introspector(namespace, LENDER).completions("name1", 5)) == 500
    finally:
        stop.set()
        thread.join()


def test_jedi_leaves_the_process_as_it_was() -> None:
    import gc

    limit, path, finders, modules = sys.getrecursionlimit(), list(sys.path), list(sys.meta_path), set(sys.modules)
    gc.disable()
    try:
        complete("import json\njson.dumps('').up", {})
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert (sys.getrecursionlimit(), sys.path, sys.meta_path) == (limit, path, finders)
    assert {name.split(".")[0] for name in set(sys.modules) - modules} <= {"jedi", "parso"} | set(
        sys.stdlib_module_names
    )


def test_without_a_place_for_its_cache_jedi_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    jedi = guess._load_jedi(LENDER)
    monkeypatch.setattr(jedi.settings, "cache_directory", "/proc/nothing/here")
    assert "upper" in complete("'text'.up", {})
    assert "upper" in complete("'text'.up", {})


# -- nothing of the user's runs

HOSTILE = """
import builtins, sys, types
ran = []
def note(what):
    ran.append(what)
    return AttributeError(what)
class Recording(type):
    def __getattr__(cls, name): raise note("meta getattr " + name)
    def __getattribute__(cls, name):
        ran.append("meta getattribute " + name)
        return type.__getattribute__(cls, name)
    def __dir__(cls): ran.append("meta dir"); return []
    def __hash__(cls): ran.append("meta hash"); return 1
    def __eq__(cls, other): ran.append("meta eq"); return True
    def __instancecheck__(cls, obj): ran.append("instancecheck"); return True
    def __subclasscheck__(cls, sub): ran.append("subclasscheck"); return True
    def __call__(cls, *args): ran.append("meta call"); return type.__call__(cls, *args)
    def __repr__(cls): ran.append("meta repr"); return ""
    @property
    def __name__(cls): raise note("meta name")
    @property
    def __doc__(cls): raise note("meta doc")
    @property
    def __module__(cls): raise note("meta module")
    @property
    def __signature__(cls): raise note("meta signature")
    @property
    def __dict__(cls): raise note("meta dict")
    @property
    def __mro__(cls): raise note("meta mro")
    @property
    def meta_property(cls): raise note("meta property")
class Descriptor:
    def __get__(self, obj, cls=None): raise note("descriptor get")
    def __set__(self, obj, value): raise note("descriptor set")
    def __set_name__(self, owner, name): pass
class Lazy:
    def __get__(self, obj, cls=None): raise note("lazy get")
    def __getattr__(self, name): raise note("lazy getattr " + name)
class Text(str):
    def __eq__(self, other): ran.append("key eq"); return True
    def __hash__(self): return hash("attribute")
    def startswith(self, *a): ran.append("key startswith"); return True
class Hostile(metaclass=Recording):
    attribute = 1
    descriptor = Descriptor()
    lazy = Lazy()
    __doc__ = Lazy()
    __wrapped__ = Lazy()
    __signature__ = Lazy()
    __text_signature__ = Lazy()
    __annotations__ = Lazy()
    def __init__(self): object.__getattribute__(self, "__dict__").update({Text("odd"): 1, 5: 2, "own": 3})
    @property
    def prop(self): raise note("property")
    @property
    def __class__(self): raise note("class")
    def __getattr__(self, name): raise note("getattr " + name)
    def __getattribute__(self, name): raise note("getattribute " + name)
    def __dir__(self): raise note("dir")
    def __repr__(self): raise note("repr")
    def __str__(self): raise note("str")
    def __call__(self): raise note("call")
    def __getitem__(self, key): raise note("getitem")
    def __iter__(self): raise note("iter")
    def __len__(self): raise note("len")
    def __bool__(self): raise note("bool")
    def __eq__(self, other): raise note("eq")
    def __hash__(self): raise note("hash")
    def method(self, x): pass
class Proxy:
    def __init__(self, target): object.__setattr__(self, "target", target)
    def __getattribute__(self, name):
        ran.append("proxy " + name)
        return getattr(object.__getattribute__(self, "target"), name)
    __class__ = property(lambda self: note("proxy class") and dict)
class Slotted:
    __slots__ = ("one", "empty", "__dict__")
    @property
    def __dict__(self): raise note("dict property")
class List(list):
    def __iter__(self): raise note("list iter")
    def __len__(self): raise note("list len")
    def __getitem__(self, key): raise note("list getitem")
class Module(types.ModuleType):
    def __getattribute__(self, name): ran.append("module " + name); return types.ModuleType.__getattribute__(self, name)
lazy_module = types.ModuleType("lazy_module")
lazy_module.__dict__["__getattr__"] = lambda name: ran.append("pep 562 " + name)
lazy_module.__dict__["__dir__"] = lambda: ran.append("pep 562 dir")
lazy_module.value = 1
sys.modules["lazy_module"] = lazy_module
odd_module = Module("odd_module"); odd_module.value = 1
hostile = Hostile(); proxy = Proxy([]); slotted = Slotted(); odd_list = List([1])
def function(a, b=hostile, *, c: Hostile = proxy) -> Hostile: pass
function.__wrapped__ = hostile
function.__signature__ = hostile
function.__doc__ = hostile
holder = types.SimpleNamespace(inner=hostile, function=function)
builtins.hostile_builtin = hostile
sys.hostile = hostile
import _struct as extension; extension.hostile = hostile
container = [hostile]
mapping = {"key": hostile, Text("attribute"): 1}
class Finder:
    def find_spec(self, name, *args): ran.append("finder " + name)
sys.meta_path.insert(0, Finder())
class Hook:
    def __call__(self, path): ran.append("path hook"); raise ImportError
sys.path_hooks.insert(0, Hook())
sys.path_importer_cache.clear()
"""
EXPRESSIONS = [
    "hostile", "hostile.attribute", "hostile.prop", "hostile.prop.x", "hostile.nothing", "hostile.descriptor.x",
    "hostile.lazy.x", "hostile.method", "hostile.__class__", "hostile.own", "hostile.odd", "hostile()",
    "hostile[0]", "Hostile", "Hostile.meta_property", "Hostile.meta_property.x", "Hostile.lazy", "Hostile.__name__",
    "Hostile.__doc__", "Hostile.__mro__", "Hostile()", "proxy", "proxy.append", "slotted", "slotted.one",
    "slotted.__dict__", "odd_list", "odd_list[0]", "lazy_module", "lazy_module.missing", "lazy_module.value",
    "odd_module.value", "function", "function.__wrapped__", "function(1)", "holder.inner", "holder.function",
    "container[0]", "mapping['key']", "mapping", "hostile_builtin", "sys.hostile", "sys.hostile.x", "sys.stdout",
    "(hostile or 1)", "Recording", "Text",
]  # fmt: skip
ASK = f"""
session({HOSTILE!r})
from _nrepl_py.introspection import answers
introspector = answers.Introspector(main.__dict__, lender)
introspector.completions("import o", 8)
introspector.completions("''.up", 5)
del main.ran[:]
result = {{}}
for expression in {EXPRESSIONS!r}:
    for around in ("{{}}", "def outer():\\n    {{}}", "f'{{{{{{}}"):
        code = around.format(expression)
        introspector.completions(code + ".", len(code) + 1)
        introspector.completions(code[:-1], len(code) - 1)
        introspector.signatures(code + "(", len(code) + 1)
        introspector.signatures(code + "(1, ", len(code) + 4)
        introspector.lookup_at(code, len(code))
    introspector.lookup_symbol(expression)
    if main.ran:
        result[expression] = list(main.ran)
        del main.ran[:]
introspector.completions("", 0)
for code in ("import _struct\\n_struct.hostile.", "import _struct\\n_struct.hostile.prop.", "from _struct import "):
    introspector.completions(code, len(code))
    introspector.signatures(code[:-1] + "(", len(code))
    introspector.lookup_at(code, len(code) - 1)
introspector.completions("import lazy_module; lazy_module.", 32)
introspector.completions("from lazy_module import ", 24)
introspector.completions("import nowhere.to.be.found; nowhere.", 36)
if main.ran:
    result["rest"] = list(main.ran)
found = introspector.completions("hostile.", 8)
names = [entry["candidate"] for entry in found]
"""


@everywhere
def test_nothing_of_the_users_runs(python: str) -> None:
    script = ASK + "\nresult = [result, [n in names for n in ('prop', 'method', 'own', 'attribute', 'lazy')]]"
    assert run(python, script, timeout=280) == [{}, [True] * 5]


@everywhere
def test_the_same_everywhere(python: str) -> None:
    script = f"""
session({SOURCE!r}, "<session>")
from _nrepl_py.introspection import answers
introspector = answers.Introspector(main.__dict__, lender)
def complete(code):
    return {{entry["candidate"]: entry["type"] for entry in introspector.completions(code, len(code))}}
info = introspector.lookup_symbol("Thing")
result = [
    complete("os.pa")["path"], complete("thing.pr"), complete("slots.one.ow"), complete("'text'.up"),
    complete("import colle")["collections"], complete("thing.method('').app"), complete("mapping['al"),
    introspector.signatures("function(1, ", 12), [info["type"], info["signature"], info["line"], info["file"]],
    introspector.lookup_symbol("thing.own")["value"], sys.getrecursionlimit(),
]
"""
    parameters = [{"label": "alpha"}, {"label": "beta='/'"}, {"label": "gamma"}]
    assert run(python, script) == [
        "module", {"prop": "property"}, {"own": "instance"}, {"upper": "function"}, "module", {"append": "function"},
        {"'alpha'": "string"},
        [{"label": "function(alpha, beta='/', *, gamma)", "parameters": parameters, "active": 1}],
        ["class", "Thing(first, second=2, *rest, key: int = 3, **more)", 3, "<session>"], "'x'", 1000,
    ]  # fmt: skip


def test_resolution_is_what_attribute_access_gives() -> None:
    import collections
    import decimal
    import pathlib

    for obj in (
        collections.OrderedDict(a=1),
        decimal.Decimal(1),
        pathlib.Path("/"),
        pathlib.Path,
        int,
        3,
        complex(1, 2),
        sys,
        collections,
    ):
        for name, found in statics.members(obj).items():
            if found.value is statics.UNKNOWN or found.bound or name in ("__class__", "__dict__"):
                continue
            actual = getattr(obj, name, statics.UNKNOWN)
            assert actual is found.value or actual == found.value or callable(actual), (obj, name)
