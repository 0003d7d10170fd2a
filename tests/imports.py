"""Who imports whom, read from the source: every `import`, also those in functions and under TYPE_CHECKING."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

Graph = Mapping[str, frozenset[str]]
"""Each module's name, and the names of the modules it imports; ours as far as the file, others by their full name."""


class Rule(NamedTuple):
    """Modules matching `who` import nothing matching `never`, but for what matches `but`."""

    who: tuple[str, ...]
    never: tuple[str, ...]
    but: tuple[str, ...] = ()


def sources(root: Path, package: str) -> dict[str, str]:
    """Each module of the package below `root` and its source."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return found


def graph(modules: Mapping[str, str], packages: Iterable[str]) -> Graph:
    """The imports between modules given as name → source; `packages` are those of them that are packages."""
    packages = set(packages)
    return {
        name: frozenset(_resolve(found, modules) for found in _imports(ast.parse(source), name, name in packages))
        for name, source in modules.items()
    }


def packages(root: Path, package: str) -> set[str]:
    """The names of the package and the packages in it."""
    return {".".join(path.parent.relative_to(root).parts) for path in (root / package).rglob("__init__.py")}


def _imports(tree: ast.AST, module: str, is_package: bool) -> Iterable[tuple[str, str | None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parent = parts[: len(parts) - node.level + is_package]
                base = ".".join([*parent, *([node.module] if node.module else [])])
            yield from ((base, alias.name) for alias in node.names)


def _resolve(found: tuple[str, str | None], modules: Mapping[str, str]) -> str:
    base, name = found
    # `from package import name`: a module of ours, or something that `base` itself defines.
    inner = f"{base}.{name}"
    return inner if inner in modules else base


def broken(imports: Graph, rules: Iterable[Rule]) -> list[str]:
    """Each import that breaks a rule."""
    return [
        f"{module} imports {target}"
        for rule in rules
        for module, targets in imports.items()
        if _matches(module, rule.who)
        for target in sorted(targets)
        if _matches(target, rule.never) and not _matches(target, rule.but)
    ]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """`a.b` matches the pattern `a`, and `a.*`; `stdlib` stands for the standard library."""
    return any(
        name.partition(".")[0] in sys.stdlib_module_names
        if pattern == "stdlib"
        else fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")
        for pattern in patterns
    )


def cycles(imports: Graph) -> list[list[str]]:
    """The groups of modules that import each other, however far around (Tarjan's components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in imports[module] & imports.keys():
            if target not in index:
                visit(target)
            if target in stack:
                low[module] = min(low[module], low[target])
        if low[module] == index[module]:
            start = stack.index(module)
            component = stack[start:]
            del stack[start:]
            if len(component) > 1 or module in imports[module]:
                found.append(sorted(component))

    for module in imports:
        if module not in index:
            visit(module)
    return found


def source_lines(source: str) -> int:
    """Lines of code: without blank lines, comments and docstrings."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        # A string that stands alone as a statement documents what is around it.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docs.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(1 for number, line in lines if number not in docs and line.strip() and not line.strip().startswith("#"))


def public_names(source: str) -> dict[str, bool]:
    """Each public class, function and method of a module, and whether it has a docstring.

    A subclass's own methods count only if they have one: others may override what its base documents.
    """
    found: dict[str, bool] = {}

    def walk(body: list[ast.stmt], prefix: str, derived: bool) -> None:
        for node in body:
            if isinstance(node, _NAMED) and not node.name.startswith("_"):
                told = ast.get_docstring(node) is not None
                if told or not derived:
                    found[prefix + node.name] = told
                if isinstance(node, ast.ClassDef):
                    walk(node.body, f"{prefix}{node.name}.", bool(node.bases))

    walk(ast.parse(source).body, "", False)
    return found


def contract_methods(source: str) -> set[str]:
    """The documented methods of a module's `Protocol` classes."""
    contracts = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    ]
    methods = [method for contract in contracts for method in contract.body]
    return {method.name for method in methods if isinstance(method, _NAMED) and ast.get_docstring(method)}


_NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
