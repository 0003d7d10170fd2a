"""Asks jedi, which reads text only: it is never given a live object, and is kept from fetching any.

Why not `jedi.Interpreter` (tried with 0.19.2): it runs properties and `__getattr__` by default; with
`allow_unsafe_interpreter_executions` off it still asks objects for `__wrapped__`, `__class__`, `__dir__`
and `__doc__`, all of which may be code. So jedi gets the code and a `sketch` of the names in it. On its
own accord jedi also imports extension modules to look into them, and swaps `sys.path` of the process
while it searches; the environment below does neither. `builtins` is shown as a copy that holds
nothing but what cannot be changed from Python.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib.machinery
import os
import re
import sys
import threading
import time
import types
from _thread import start_new_thread
from typing import Any, Callable, Dict, Iterator, List, Optional, Protocol, Tuple, TypeVar

from . import statics

T = TypeVar("T")


class Lender(Protocol):
    """Who lends us jedi."""

    def load(self, name: str) -> Any:
        """The module of that name. Raises ImportError."""


_NEWLINE = re.compile(r"\r\n|\r|\n")

_EAGER = 0.0002  # seconds; a switch itself takes some microseconds
_one = threading.Lock()  # jedi's caches are not made for two threads


def within(seconds: float, work: Callable[[], T]) -> T:
    """`work()` in a thread of its own. Raises TimeoutError where it takes longer than these seconds;
    it then goes on, since it was most likely filling caches, and the next question finds them full."""
    deadline = time.monotonic() + seconds
    if not _one.acquire(timeout=seconds):
        raise TimeoutError("jedi is busy with another question")
    done = threading.Event()
    results: List[T] = []
    errors: List[BaseException] = []

    def run() -> None:
        collects = gc.isenabled()
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            if not collects:  # parso turns it on as it leaves its cache
                gc.disable()
            _one.release()
            done.set()

    start_new_thread(run, ())  # not `threading.Thread`: the user's `threading.enumerate()` is theirs
    with _eager():
        if not done.wait(max(0.0, deadline - time.monotonic())):
            raise TimeoutError("jedi did not finish in time")
    if errors:
        raise errors[0]
    return results[0]


@contextlib.contextmanager
def _eager() -> Iterator[None]:
    """Beside a busy eval, let the interpreter switch threads sooner: after each look at a file, jedi
    would wait 5 ms for its turn, which makes its first use take seconds instead of half of one."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_EAGER)
    eager = sys.getswitchinterval()
    try:
        yield
    finally:
        if sys.getswitchinterval() == eager:  # not set by the user meanwhile
            sys.setswitchinterval(before)


class Text:
    """Code for jedi to read: `first` (a sketch of the live names), then the part of `file` that has the
    cursor, which begins after `lines` lines and `start` code points of what the client sent."""

    def __init__(
        self, lender: Lender, first: str, code: str, cursor: int, file: Optional[str], lines: int, start: int
    ) -> None:
        above = _NEWLINE.split(code[:cursor])
        self._first = first.count("\n")
        self._shift = lines - self._first
        self._position = (self._first + len(above), len(above[-1]))
        self._cursor = start + cursor
        self._load: Callable[[], Any] = lambda: _script(lender, first + code, file)

    def completions(self, prefix: str) -> List[Dict[str, Any]]:
        """Without those that only match in another case."""
        found = []
        for completion in self._load().complete(*self._position):
            length = completion.get_completion_prefix_length()
            if completion.type == "path" or completion.name.startswith(prefix) or length != len(prefix):
                start = self._cursor - length
                found.append({"candidate": completion.name, "type": completion.type, "start": start})
        return found

    def signatures(self) -> List[Dict[str, Any]]:
        return [
            {
                "label": signature.to_string(),
                "parameters": [{"label": parameter.to_string()} for parameter in signature.params],
                "active": signature.index,
            }
            for signature in self._load().get_signatures(*self._position)
        ]

    def lookup(self, file: Optional[str]) -> Optional[Dict[str, Any]]:
        script = self._load()
        names = script.goto(*self._position, follow_imports=True) or script.infer(*self._position)
        if not names:
            return None
        name = names[0]
        signatures = name.get_signatures()
        info = {"name": name.name, "type": name.type, "doc": name.docstring(raw=True) or None}
        info["signature"] = signatures[0].to_string() if signatures else None
        path = None if name.module_path is None else str(name.module_path)
        if name.line is None or name.is_stub():
            return info
        if path is not None and path != file:
            info.update(file=path, line=name.line, column=name.column)
        elif name.line > self._first:
            info.update(file=file, line=name.line + self._shift, column=name.column)
        return info


def _script(lender: Lender, text: str, file: Optional[str]) -> Any:
    jedi = _load_jedi(lender)
    paths = [path or os.getcwd() for path in sys.path if type(path) is str]
    project = jedi.Project(os.getcwd(), sys_path=paths, smart_sys_path=False)
    path = file if file and os.path.isabs(file) and file.endswith(".py") else None
    script = jedi.Script(text, path=path, project=project, environment=_environment(lender))
    if not _usable(jedi.settings.cache_directory):
        _cache_in_memory(script._inference_state)
    return script


def _load_jedi(lender: Lender) -> Any:
    if "jedi" not in _tamed:
        limit = sys.getrecursionlimit()
        _tamed["jedi"] = _tame(lender, lender.load("jedi"))
        if sys.getrecursionlimit() != limit:  # jedi raises it as it is imported
            sys.setrecursionlimit(limit)
    return _tamed["jedi"]


_tamed: Dict[str, Any] = {}


def _tame(lender: Lender, jedi: Any) -> Any:
    """Keep jedi from importing what is not its own, and from what other threads would notice."""
    jedi.settings.auto_import_modules = []  # `gi`, which would be imported for real
    jedi.settings.dynamic_params_for_other_modules = False  # reads the project's other files
    docstrings = lender.load("jedi.inference.docstrings")  # which imports numpydoc, and all of its friends
    docstrings._search_param_in_numpydocstr = docstrings._search_return_in_numpydocstr = lambda *_: []
    # It silences the whole process's warnings while it looks at `builtins`, which gives none.
    quiet = types.SimpleNamespace(catch_warnings=lambda **_: contextlib.nullcontext(), simplefilter=lambda *_: None)
    lender.load("jedi.inference.compiled.access").warnings = quiet
    for name in ("star_args", "dynamic_params", "finder"):  # later, finders of the user's would be asked for them
        lender.load("jedi.inference." + name)
    return jedi


def _usable(directory: str) -> bool:
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)


def _cache_in_memory(state: Any) -> None:
    """Without a directory for its cache, parso would fail, or read the stubs of builtins for each question."""
    parse = state.parse_and_get_code

    def parse_once(**options: Any) -> Any:
        if not options.pop("cache", False):
            return parse(cache=False, **options)
        file = options.get("file_io")
        key = str(file.path if file is not None else options.get("path"))
        if key not in _parsed:
            _parsed[key] = parse(cache=False, **options)
        return _parsed[key]

    state.parse_and_get_code = parse_once


_parsed: Dict[str, Any] = {}


# -- what jedi may know of this interpreter

_finders: Dict[str, importlib.machinery.FileFinder] = {}
_LOADERS: Tuple[Tuple[Any, List[str]], ...] = (
    (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
    (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
)


def _environment(lender: Lender) -> Any:
    subprocess = lender.load("jedi.inference.compiled.subprocess")
    access = lender.load("jedi.inference.compiled.access")
    functions = subprocess.functions

    class Process(subprocess.InferenceStateSameProcess):  # type: ignore[misc, name-defined]
        def load_module(self, dotted_name: str, sys_path: Any = None) -> Any:
            state = self._inference_state_weakref()
            return access.create_access_path(state, _pristine_builtins()) if dotted_name == "builtins" else None

        def get_module_info(self, string: str, full_name: str, **where: Any) -> Any:
            return _find(functions, string, full_name, where.get("path"), where.get("sys_path"))

    class Environment(lender.load("jedi.api.environment").InterpreterEnvironment):  # type: ignore[misc]
        def get_inference_state_subprocess(self, inference_state: Any) -> Any:
            return Process(inference_state)

    return Environment()


_CONSTANT = (types.BuiltinFunctionType, bool, type(None), type(Ellipsis), type(NotImplemented))


def _pristine_builtins() -> types.ModuleType:
    module = types.ModuleType("builtins")
    for name, value in statics.items(vars(builtins)):
        if statics.one_of(type(value), *_CONSTANT) or (type(value) is type and not statics.is_heap_type(value)):
            module.__dict__[name] = value
    return module


def _find(functions: Any, string: str, full_name: str, path: Any, sys_path: Any) -> Tuple[Any, Optional[bool]]:
    """Where the module's source is: (file, is package). Finds as the import system does by default."""
    if full_name in sys.builtin_module_names:
        return None, False
    live: Any = sys.modules.get(full_name)
    file = statics.get(statics.module_dict(live), "__file__") if statics.is_a(live, types.ModuleType) else None
    if type(file) is str and file.endswith(".py") and os.path.isfile(file):  # found by a finder of the user's
        loader = importlib.machinery.SourceFileLoader(string, file)
        return functions._from_loader(loader, string)  # type: ignore[no-any-return]
    portions: List[str] = []
    for entry in map(str, path if path is not None else sys_path or ()):
        finder = _finders.get(entry) or _finders.setdefault(entry, importlib.machinery.FileFinder(entry, *_LOADERS))
        spec = finder.find_spec(string)
        if spec is not None and spec.loader is not None:
            return functions._from_loader(spec.loader, string)  # type: ignore[no-any-return]
        if spec is not None:
            portions += spec.submodule_search_locations or []
    if portions:
        return functions.ImplicitNSInfo(full_name, portions), True
    return None, None
