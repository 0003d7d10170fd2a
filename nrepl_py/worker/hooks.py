"""Makes the standard library behave in a session as in a plain interpreter: small patches, each applied
when its module is imported, or at once where it already is.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import linecache
import os
import re
import sys
import types
import warnings
from typing import Any, Callable, Dict, Iterable, List, Optional

from . import children
from .lend import Lender

Hook = Callable[[Any], None]

_FORK_WARNING = r"This process \(pid=\d+\) is multi-threaded, use of \w+\(\) may lead to deadlocks"  # Python 3.12
re.compile(_FORK_WARNING, re.IGNORECASE)  # as `warnings` will, and in the zygote, for all: it takes 0.3 MB
_WORKERS_FLAGS = ("-I", "-S", "-E", "-s", "-P")  # what `-I -S`, with which a worker starts, is made of


def install(
    lender: Lender,
    *,
    sources: Callable[[], Iterable[str]],
    ask_password: Callable[[str], str],
    extra: Optional[Dict[str, Hook]] = None,
) -> None:
    """Patch this process, which is a session's alone.

    `sources` gives the file names of what was evaluated, newest first (their lines in `linecache`);
    `ask_password` asks the client; `extra` has hooks of others: module name → what to do with it.
    """
    source = _source_of(children)
    children.prepare(children, source, lender.paths.get("cloudpickle"))
    hooks: Dict[str, Hook] = {
        "getpass": lambda module: _hook_getpass(module, ask_password),
        "inspect": lambda module: _hook_inspect(module, sources),
        "multiprocessing.reduction": children.hook_reduction,
        "multiprocessing.spawn": children.hook_spawn,
        "subprocess": _hook_subprocess,
    }
    after_import({**hooks, **(extra or {})})
    os.environ.setdefault("MPLBACKEND", "Agg")  # there is no display, and the default would try for one
    # Our helper thread is harmless to fork: it is started anew, or not needed.
    warnings.filterwarnings("ignore", _FORK_WARNING, DeprecationWarning)


def _source_of(module: types.ModuleType) -> str:
    loader: Any = module.__spec__.loader if module.__spec__ is not None else None
    return str(loader.get_source(module.__name__))


# -- when a module is imported


def after_import(hooks: Dict[str, Hook]) -> None:
    """Call `hooks[name](module)` right after the module has run, or now where it has."""
    waiting = {}
    for name, hook in hooks.items():
        if name in sys.modules:
            hook(sys.modules[name])
        else:
            waiting[name] = hook
    sys.meta_path.insert(0, _Finder(waiting))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing itself: hands on what the other finders say, with a loader that calls the hook."""

    def __init__(self, hooks: Dict[str, Hook]) -> None:
        self._hooks = hooks

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        hook = self._hooks.get(name)
        if hook is None:
            return None
        for finder in sys.meta_path:
            find: Any = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, hook)
                return spec  # type: ignore[no-any-return]
        return None


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any, hook: Hook) -> None:
        self._loader = loader
        self._hook = hook

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader  # nobody else need know of us
        self._loader.exec_module(module)
        self._hook(module)


# -- the patches


def _hook_getpass(module: Any, ask: Callable[[str], str]) -> None:
    def getpass(prompt: str = "Password: ", stream: Any = None, **options: Any) -> str:
        """Ask the session's client for a password."""
        return ask(prompt)

    module.getpass = getpass


def _hook_subprocess(module: Any) -> None:
    flags = module._args_from_interpreter_flags

    def without_ours() -> List[str]:
        # Which multiprocessing gives to the interpreters it starts.
        return [flag for flag in flags() if flag not in _WORKERS_FLAGS]

    module._args_from_interpreter_flags = without_ours


def _hook_inspect(module: Any, sources: Callable[[], Iterable[str]]) -> None:
    getfile = module.getfile

    def getfile_in_session(object: Any) -> Any:
        if isinstance(object, type) and object.__module__ == "__main__":
            file = _file_of_class(object, sources)
            if file is not None:
                return file
        return getfile(object)

    getfile_in_session.__doc__ = getfile.__doc__
    getfile_in_session.__name__ = getfile_in_session.__qualname__ = "getfile"
    module.getfile = getfile_in_session


def _file_of_class(cls: type, sources: Callable[[], Iterable[str]]) -> Optional[str]:
    """Where the class statement of a class of `__main__` stands: a method says, else the text does."""
    pattern = re.compile(r"^[ \t]*class[ \t]+%s\b" % re.escape(cls.__name__), re.MULTILINE)
    for file in (*_files_of_methods(cls), *sources()):
        if pattern.search("".join(linecache.getlines(file))):
            return file
    return None


def _files_of_methods(cls: type) -> List[str]:
    functions = [
        getattr(attribute, "fget", None) or getattr(attribute, "__func__", attribute)
        for attribute in list(vars(cls).values())
    ]
    return [
        function.__code__.co_filename
        for function in functions
        if isinstance(function, types.FunctionType) and function.__qualname__.startswith(cls.__qualname__ + ".")
    ]
