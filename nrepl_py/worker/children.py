"""What a session defined, in the processes that `multiprocessing` starts for it: by value, where they
cannot import it.

A plain interpreter's spawned child imports the script again to find functions and classes by name; a
session is no file. So functions and classes of `__main__` are pickled whole, with cloudpickle, both
ways. They live in the child's `__main__`, as if it had been imported there: functions share its
globals, a global set by a pool's initializer stays set, and what comes back is the very function or
class that went out. Forked children have it all by name, and nothing is changed for them.

This module's source is sent to each child, so it stands alone: standard library, no relative import.
"""

from __future__ import annotations

import collections
import importlib.machinery
import importlib.util
import io
import sys
import threading
import types
import uuid
import weakref
from typing import Any, Callable, Dict, Optional, Tuple, TypeVar

NAME = "_nrepl_children"  # this module's name in `sys.modules` here and in each child, by which pickles refer to it
_START = """
import sys, types
if name not in sys.modules:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, "<nrepl-py>/children.py", "exec", dont_inherit=True), module.__dict__)
    module.enter_child(source, directory)
"""

F = TypeVar("F", bound=Callable[..., Any])


def _by_name(function: F) -> F:
    function.__module__ = NAME
    return function


# -- the state of this process


class _Process:
    source = ""
    directory: Optional[str] = None
    is_child = False
    by_value = False  # from when a child is started that cannot know what was defined here
    pickler: Any = None


_here = _Process()
_lock = threading.Lock()
_tokens: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_functions: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_complete: weakref.WeakSet[type] = weakref.WeakSet()  # classes that need no state from elsewhere


def prepare(module: types.ModuleType, source: str, directory: Optional[str]) -> None:
    """In the session: remember what children need. `module` is this one, `directory` cloudpickle's."""
    sys.modules[NAME] = module
    _here.source, _here.directory = source, directory


def enter_child(source: str, directory: Optional[str]) -> None:
    """In a child, before anything of the session's arrives: be ready for it, and for its own children."""
    import multiprocessing.reduction
    import multiprocessing.spawn

    prepare(sys.modules[NAME], source, directory)
    _here.is_child = _here.by_value = True
    hook_reduction(multiprocessing.reduction)
    hook_spawn(multiprocessing.spawn)


def hook_spawn(module: Any) -> None:
    """Let each child that `multiprocessing.spawn` prepares start with this module."""
    get_preparation_data = module.get_preparation_data

    def with_us(name: str) -> Dict[str, Any]:
        _here.by_value = True
        return dict(get_preparation_data(name), nrepl_py=_Start())

    module.get_preparation_data = with_us


class _Start:
    """Unpickling it runs `_START`."""

    def __reduce__(self) -> Tuple[Any, ...]:
        return exec, (_START, {"name": NAME, "source": _here.source, "directory": _here.directory})


def hook_reduction(module: Any) -> None:
    """Make `multiprocessing.reduction.ForkingPickler` take what is defined in `__main__`."""

    def reducer_override(self: Any, obj: Any) -> Any:
        if type(obj) is not types.FunctionType and not isinstance(obj, type):
            return NotImplemented
        if getattr(obj, "__module__", None) != "__main__" or not _is_by_value():
            return NotImplemented
        pickler = _get_pickler(module.ForkingPickler)
        return NotImplemented if pickler is None else (_load, (pickler.dumps(obj),))

    module.ForkingPickler.reducer_override = reducer_override


def _is_by_value() -> bool:
    if _here.by_value:
        return True
    multiprocessing: Any = sys.modules["multiprocessing"]
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    return bool(method != "fork")


# -- out


def _get_pickler(forking: Any) -> Any:
    with _lock:
        cloudpickle = _import_cloudpickle() if _here.pickler is None else None
        if cloudpickle is not None:
            _here.pickler = _make_pickler(cloudpickle.cloudpickle, forking)
    return _here.pickler


def _import_cloudpickle() -> Any:
    """The process's own copy where it has imported one, else the lent one, without a trace in `sys.path`."""
    if "cloudpickle" in sys.modules:
        return sys.modules["cloudpickle"]
    spec = importlib.machinery.PathFinder.find_spec("cloudpickle", [_here.directory]) if _here.directory else None
    if spec is None or spec.loader is None:
        return None
    module = sys.modules["cloudpickle"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _make_pickler(cloudpickle: Any, forking: Any) -> Any:
    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        # What multiprocessing can send (connections, locks) may hang on a function too.
        dispatch_table = collections.ChainMap(forking._extra_reducers, *cloudpickle.Pickler.dispatch_table.maps)

        def __init__(self, file: Any) -> None:
            super().__init__(file)
            self.globals_ref[id(_main())] = _Main(base=None)

        def reducer_override(self, obj: Any) -> Any:
            return self._ours(obj, super().reducer_override(obj))

        def _save_reduce_pickle5(self, *reduced: Any, obj: Any = None) -> None:  # where there is no C pickler
            super()._save_reduce_pickle5(*self._ours(obj, reduced), obj=obj)

        @staticmethod
        def _ours(obj: Any, reduced: Any) -> Any:
            setter = reduced[5] if type(reduced) is tuple and len(reduced) == 6 else None
            if setter is cloudpickle._class_setstate:
                _complete.add(obj)
                return (*reduced[:5], _set_class)
            if setter is cloudpickle._function_setstate and obj.__globals__ is _main():
                return (_make_function, (_token(obj), *reduced[1]), *reduced[2:5], _set_function)
            return reduced

        @classmethod
        def dumps(cls, obj: Any) -> bytes:
            file = io.BytesIO()
            cls(file).dump(obj)
            return file.getvalue()

    if not hasattr(cloudpickle.Pickler, "reducer_override"):
        del Pickler.reducer_override
    return Pickler


class _Main(Dict[str, Any]):
    """Stands for the globals of `__main__`, here and there."""

    def __reduce__(self) -> Tuple[Any, ...]:
        return _main, ()


def _token(function: Any) -> str:
    token = _tokens.get(function)
    if token is None:
        token = uuid.uuid4().hex
        _know(token, function)
    return token


def _know(token: str, function: Any) -> None:
    _tokens[function] = token
    _functions[token] = function


# -- and in


@_by_name
def _load(data: bytes) -> Any:
    import pickle

    _import_cloudpickle()
    return pickle.loads(data)


@_by_name
def _main() -> Dict[str, Any]:
    return sys.modules["__main__"].__dict__


@_by_name
def _make_function(token: str, *arguments: Any) -> Any:
    function = _functions.get(token)
    if function is None:
        function = sys.modules["cloudpickle"].cloudpickle._make_function(*arguments)
        _know(token, function)
        _unfinished.add(token)
    return function


_unfinished: set[str] = set()


@_by_name
def _set_function(function: Any, state: Any) -> None:
    own, slots = state
    token = _tokens[function]
    known = token not in _unfinished
    _unfinished.discard(token)
    names = slots.pop("__globals__")
    for name, value in names.items() if _here.is_child or not known else ():
        # A child has seen no other definition than those sent; data it may have set itself.
        if name not in function.__globals__ or (_here.is_child and isinstance(value, (type, types.FunctionType))):
            function.__globals__[name] = value
    if not known:
        # Cloudpickle would leave its own `__builtins__` in our globals.
        builtins = {"__builtins__": function.__globals__["__builtins__"]}
        sys.modules["cloudpickle"].cloudpickle._function_setstate(function, (own, dict(slots, __globals__={})))
        function.__globals__.update(builtins)


@_by_name
def _set_class(cls: Any, state: Any) -> Any:
    if cls not in _complete:
        _complete.add(cls)
        sys.modules["cloudpickle"].cloudpickle._class_setstate(cls, state)
    return cls
