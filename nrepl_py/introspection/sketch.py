"""Live names as source text: what jedi may read of a session without ever touching its objects.

`import` for what can be imported, the source of what the session defined, a literal of the same shape
for builtin containers, an annotation for instances. Only names the code mentions are written.
"""

from __future__ import annotations

import re
import sys
import types
from typing import Any, Dict, List, Optional, Set

from . import outline, statics
from .statics import one_of

_MAX_NAMES = 60  # names written; more are hardly on the line that is being typed
_MAX_CHARS = 30_000  # of source text, so that jedi stays quick
_MAX_KEYS = 100  # keys of a dict, which complete `d["`
_WORD = re.compile(r"[^\W\d]\w*")


def sketch(code: str, namespace: Dict[str, Any]) -> str:
    """Text to put before `code`, whole lines."""
    return _Sketch(dict(statics.items(namespace))).write(code)


class _Sketch:
    def __init__(self, names: Dict[str, Any]) -> None:
        self._names = names
        self._lines: List[str] = []
        self._seen: Set[str] = set()
        self._size = 0
        self._private = 0

    def write(self, code: str) -> str:
        self._mention(code)
        return "".join(self._lines)

    def _mention(self, code: str) -> None:
        for word in _WORD.findall(code):
            if word in self._names and word not in self._seen:
                if len(self._seen) >= _MAX_NAMES or self._size > _MAX_CHARS:
                    return
                self._seen.add(word)
                self._emit(self._define(word, self._names[word]))

    def _emit(self, text: Optional[str]) -> None:
        if text:
            self._lines.append(text)
            self._size += len(text)

    def _define(self, name: str, value: Any) -> Optional[str]:
        if statics.is_a(value, types.ModuleType):
            module = statics.get(statics.module_dict(value), "__name__")
            return "import %s as %s\n" % (module, name) if _is_module(module) else None
        if type(value) is types.FunctionType or statics.is_a(value, type):
            imported = self._import(value, name)
            if imported is not None:
                return imported
            return self._source(value, name)
        shape = self._shape(value, 2)
        if shape is not None:
            return "%s = %s\n" % (name, shape)
        cls = self._class(type(value))
        return "%s: %s\n" % (name, cls) if cls else None

    def _import(self, value: Any, name: str) -> Optional[str]:
        """An import statement that gives `value`, where looking shows that it does."""
        is_class = statics.is_a(value, type)
        module = statics.module_name(value) if is_class else value.__module__
        path = statics.class_name(value) if is_class else value.__qualname__
        if type(module) is not str or module == "__main__" or not _is_module(module):
            return None
        found = statics.walk(sys.modules[module], path.split("."))
        if found is None or found.value is not value:
            return None
        top, _, rest = path.partition(".")
        if not rest:
            return "from %s import %s as %s\n" % (module, top, name)
        return "from %s import %s as %s_\n%s = %s_.%s\n" % (module, top, name, name, name, rest)

    def _source(self, value: Any, name: str) -> Optional[str]:
        text = outline.source(value)
        if text is None or self._size + len(text) > _MAX_CHARS:
            return None
        own = statics.class_name(value) if statics.is_a(value, type) else value.__name__
        self._mention(text)  # bases and helpers first
        return text if own == name else "%s%s = %s\n" % (text, name, own) if own.isidentifier() else None

    def _class(self, cls: type) -> Optional[str]:
        """A name for the class, defined on the way."""
        own = statics.class_name(cls)
        if statics.module_name(cls) == "builtins" and own.isidentifier():
            return own
        if statics.get(self._names, own) is cls:
            self._mention(own)
            return own
        self._private += 1
        name = "_sketch%d" % self._private
        text = self._import(cls, name) or self._source(cls, name)
        self._emit(text)
        return name if text else None

    def _shape(self, value: Any, depth: int) -> Optional[str]:
        kind = type(value)
        if value is None or kind is bool:
            return repr(value)
        if one_of(kind, int, float, complex, str, bytes):
            return kind.__name__ + "()"
        if kind is dict and depth:
            pairs = [(key, item) for key, item in outline.first_items(value, _MAX_KEYS) if one_of(type(key), str, int)]
            shown = ["%s: %s" % (outline.show(key), self._shape_or_name(item, depth)) for key, item in pairs]
            return "{%s}" % ", ".join(shown)
        if one_of(kind, list, tuple, set, frozenset) and depth:
            parts = [self._shape_or_name(item, depth) for item in outline.first_items(value, 3)]
            inside = ", ".join(parts)
            text = "(%s,)" % inside if kind is tuple else "[%s]" % inside
            return text if one_of(kind, tuple, list) or not parts else "%s(%s)" % (kind.__name__, text)
        return None

    def _shape_or_name(self, value: Any, depth: int) -> str:
        shape = self._shape(value, depth - 1)
        if shape is not None:
            return shape
        cls = self._class(type(value))
        return cls + "()" if cls else "..."


def _is_module(name: Any) -> bool:
    # A name made up for a module could write any text into ours.
    return type(name) is str and name in sys.modules and all(part.isidentifier() for part in name.split("."))
