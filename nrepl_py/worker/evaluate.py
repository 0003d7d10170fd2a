"""Running code: from source text to values, as an interactive interpreter does it.

Each eval is parsed once with the editor's file, line and column, split where a value is wanted, and
run in its module's namespace. Top-level `await` runs on a loop that belongs to the session and runs
only meanwhile. What the code was is kept in `linecache`, so that tracebacks, warnings, `inspect` and
`pdb` show the editor's lines.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import os
import sys
from collections import OrderedDict
from functools import lru_cache, partial
from types import CodeType, ModuleType
from typing import Any, Callable, Dict, Iterator, List, Optional

from .interrupt import Interrupts

_FUTURES = {name: getattr(__future__, name).compiler_flag for name in __future__.all_feature_names}
_MAX_PADDING = 200_000  # lines; beyond, source lines are not shown, rather than kept
_MAX_SOURCES = 10_000  # evals whose text is kept; a function older than that shows no source
_NOTHING = object()


Show = Callable[[Any, int, int, bool], None]
"""Gets a value to show, the first and last line of its expression, and whether it is the last thing the code does."""


class Evaluator:
    """Runs evals in the namespaces of one session."""

    def __init__(self, main: ModuleType, interrupts: Interrupts) -> None:
        self.main = main
        self._interrupts = interrupts
        self._flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.loop: Any = None
        """For top-level `await`, from the first one on."""
        self._stored: Any = _NOTHING
        self._sources: OrderedDict[str, None] = OrderedDict()

    def sources(self) -> List[str]:
        """The file names of what was evaluated, newest first."""
        return list(reversed(self._sources))

    def run(self, code: str, request: Dict[str, Any], show: Show) -> None:
        """Evaluate; `show` gets each value wanted as it comes. What the code raises goes through."""
        file = request.get("file") or "<eval %d>" % request["serial"]
        line, column, values = request["line"], request["column"], request["values"]
        namespace = self.namespace(request.get("module"), file)
        self._remember(file, code, line, column)
        if values != "none" and not column:
            expression = self._expression(code, file, line)
            if expression is not None:
                result = self._execute(expression, namespace)
                self._store(result, request["store-history"])
                show(result, line, line, True)
                return
        tree = self._parse(code, file, line, column)
        for node in _steps(tree, values):

            def give(value: Any, place: Any, last: bool = False) -> None:
                self._store(value, request["store-history"])
                show(value, place.lineno, place.end_lineno or place.lineno, last)

            if isinstance(node, ast.Interactive):
                self._step_showing(node, file, namespace, partial(give, place=node.body[0]))
            else:
                result = self._step(node, file, namespace)
                if isinstance(node, ast.Expr):
                    give(result, node, node is tree.body[-1])

    def namespace(self, module: Optional[str], file: Optional[str]) -> Dict[str, Any]:
        """Where code of this module runs. Raises ModuleNotFoundError."""
        if module is None or module == "__main__":
            return self.main.__dict__
        if module == "auto":
            return _module_of(file, self.main).__dict__
        found = sys.modules.get(module)
        if found is None:
            raise ModuleNotFoundError("module %r is not imported in this session; import it first" % module)
        return found.__dict__

    def _expression(self, code: str, file: str, line: int) -> Optional[CodeType]:
        """The commonest eval, one expression on one line, compiled without a tree; None for all else."""
        # What is no expression is parsed again: where the parser may warn of a backslash, it would warn twice.
        if "\n" in code or "\\" in code:
            return None
        try:
            compiled: CodeType = compile("\n" * (line - 1) + code, file, "eval", self._flags, dont_inherit=True)
        except Exception:
            return None
        return compiled

    def _parse(self, code: str, file: str, line: int, column: int) -> ast.Module:
        # Blank lines before the code give every line its number in the editor: in the tree, in
        # syntax errors and in the compiler's warnings alike.
        source = "\n" * (line - 1) + code
        try:
            tree = compile(source, file, "exec", self._flags | ast.PyCF_ONLY_AST, dont_inherit=True)
        except SyntaxError as error:
            if error.lineno == line and error.offset:
                error.offset += column
            raise
        assert isinstance(tree, ast.Module)
        if column:
            _shift(tree, line, column)
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == "__future__":
                for alias in node.names:
                    self._flags |= _FUTURES.get(alias.name, 0)
        return tree

    def _step(self, node: ast.AST, file: str, namespace: Dict[str, Any]) -> Any:
        mode = "exec"
        if isinstance(node, ast.Expr):
            node, mode = ast.Expression(node.value), "eval"
        elif isinstance(node, ast.Interactive):
            mode = "single"
        return self._execute(compile(node, file, mode, self._flags, dont_inherit=True), namespace)  # type: ignore[call-overload]

    def _execute(self, code: CodeType, namespace: Dict[str, Any]) -> Any:
        result = eval(code, namespace)
        return self._await(result) if code.co_flags & inspect.CO_COROUTINE else result

    def _step_showing(
        self, node: ast.Interactive, file: str, namespace: Dict[str, Any], give: Callable[[Any], None]
    ) -> None:
        """A statement whose inner expressions show their values, as in an interactive interpreter."""
        saved = sys.displayhook
        sys.displayhook = lambda value: None if value is None else give(value)
        try:
            self._step(node, file, namespace)
        finally:
            sys.displayhook = saved

    def _await(self, coroutine: Any) -> Any:
        import asyncio

        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
        loop = self.loop
        task = loop.create_task(coroutine)
        self._interrupts.cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            return loop.run_until_complete(task)
        except BaseException:
            # A KeyboardInterrupt leaves the task pending: end it, or it would run in the next eval.
            if not task.done():
                task.cancel()
                loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            raise
        finally:
            self._interrupts.cancel = None

    def _store(self, value: Any, wanted: bool) -> None:
        names = self.main.__dict__
        if value is None or not wanted:
            return
        # A `_` of the user's own (gettext's, say) stays theirs.
        if "_" in names and names["_"] is not self._stored:
            return
        names["___"], names["__"] = names.get("__"), names.get("_")
        names["_"] = self._stored = value

    def failed(self, error: BaseException) -> None:
        """Remember the error as `_exc`."""
        self.main.__dict__["_exc"] = error
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
        sys.last_exc = error  # type: ignore[attr-defined]  # what `pdb.pm()` looks at, from 3.12 on

    def _remember(self, file: str, code: str, line: int, column: int) -> None:
        if line - 1 > _MAX_PADDING:
            return
        lines = code.splitlines(True) or ["\n"]
        if not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        if line > 1 or column:
            known = linecache.getlines(file)
            before = (known + ["\n"] * (line - len(known)))[: line - 1]
            first = (known[line - 1] if line <= len(known) else "").rstrip("\n")
            lines[0] = first[:column].ljust(column) + lines[0]
            lines = before + lines + known[line - 1 + len(lines) :]
        # No modification time: `linecache.checkcache` leaves such an entry alone.
        linecache.cache[file] = (sum(map(len, lines)), None, lines, file)
        self._sources[file] = None
        self._sources.move_to_end(file)
        if len(self._sources) > _MAX_SOURCES:
            oldest, _ = self._sources.popitem(last=False)
            linecache.cache.pop(oldest, None)


def _steps(tree: ast.Module, values: str) -> Iterator[ast.AST]:
    """What to run one after the other: an `Expr` gives a value, an `Interactive` may give several."""
    if values == "all":
        for statement in tree.body:
            yield statement if isinstance(statement, ast.Expr) else ast.Interactive([statement])
    elif values == "last" and tree.body and isinstance(tree.body[-1], ast.Expr):
        if tree.body[:-1]:
            yield ast.Module(tree.body[:-1], [])
        yield tree.body[-1]
    else:
        yield tree


def _shift(tree: ast.Module, line: int, column: int) -> None:
    """Move what stands on the first line to where the editor has it (tree columns are UTF-8 bytes)."""
    for node in ast.walk(tree):
        if getattr(node, "lineno", None) == line:
            node.col_offset += column  # type: ignore[attr-defined]
        if getattr(node, "end_lineno", None) == line:
            node.end_col_offset += column  # type: ignore[attr-defined]


def _module_of(file: Optional[str], main: ModuleType) -> ModuleType:
    """The imported module whose file this is, else `__main__`."""
    if file:
        path = os.path.realpath(file[len("file://") :] if file.startswith("file://") else file)
        for module in list(sys.modules.values()):
            origin = getattr(module, "__dict__", {}).get("__file__")
            if isinstance(origin, str) and _real(origin) == path:
                return module
    return main


_real = lru_cache(maxsize=4096)(os.path.realpath)
"""Of modules' files: asking the disk for each, with every eval, takes longer than most evals do. As many as a large
program imports; where it imports more, only that time is lost."""
