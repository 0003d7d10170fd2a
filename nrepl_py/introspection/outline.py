"""What is known of a live object without running it: signature, doc, source lines, a short value.

Built on `statics`: everything is read from code objects, C slots and source text, so defaults and
annotations are shown as far as that goes, and left out beyond it.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import linecache
import re
import sys
import types
import typing
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import statics
from .statics import UNKNOWN, Found, one_of

_MAX_WRAPPERS = 20  # decorators followed through `__wrapped__`; a cycle must end
_MAX_TEXT = 80  # characters of one string or bytes shown
_MAX_ITEMS = 8  # items of one container shown
_MAX_VALUE = 400  # characters of a value shown
_MAX_DEPTH = 4  # levels of containers and annotations shown
_MAX_BITS = 4096  # bits of an integer shown; a longer one takes long to turn into digits
_MAX_BLOCK = 400  # lines of a definition's source handed out


class Parameter(NamedTuple):
    name: str
    text: str
    kind: str  # one of `positional`, `either`, `keyword`, `*`, `**`, or `/` and `*` alone: `mark`


class Signature(NamedTuple):
    name: str
    parameters: List[Parameter]
    returns: str

    @property
    def label(self) -> str:
        text = "%s(%s)" % (self.name, ", ".join(parameter.text for parameter in self.parameters))
        return text + " -> " + self.returns if self.returns else text


# -- values


def show(value: Any, depth: int = _MAX_DEPTH) -> Optional[str]:
    """A short `repr`, only for builtin scalars and containers of such; None for all else."""
    text = _show(value, depth)
    return text if text is None or len(text) <= _MAX_VALUE else text[:_MAX_VALUE] + "…"


def _show(value: Any, depth: int) -> Optional[str]:
    kind = type(value)
    if value is None or one_of(kind, bool, float, complex, range, type(Ellipsis), type(NotImplemented)):
        return repr(value) if kind is not range or value.stop.bit_length() < _MAX_BITS else None
    if kind is int:
        return repr(value) if value.bit_length() <= _MAX_BITS else "<int of %d bits>" % value.bit_length()
    if kind is str or kind is bytes:
        return repr(value) if len(value) <= _MAX_TEXT else repr(value[:_MAX_TEXT]) + "…"
    if one_of(kind, list, tuple, set, frozenset, dict):
        return _show_container(value, kind, depth - 1) if depth else "…"
    return None


def first_items(container: Any, most: int = _MAX_ITEMS) -> List[Any]:
    """Of an exact builtin container; pairs of a dict."""
    if one_of(type(container), list, tuple):
        return list(container[:most])
    for _ in range(3):
        try:
            return list(itertools.islice(container.items() if type(container) is dict else container, most))
        except RuntimeError:  # resized meanwhile
            continue
    return []


def _show_container(container: Any, kind: type, depth: int) -> Optional[str]:
    parts: List[str] = []
    for item in first_items(container):
        shown = [_show(part, depth) for part in (item if kind is dict else (item,))]
        if None in shown:
            return None
        parts.append(": ".join(str(part) for part in shown))
    size = len(container)
    if size > len(parts):
        parts.append("… %d in all" % size)
    inside = ", ".join(parts)
    if kind is tuple:
        return "(%s,)" % inside if size == 1 else "(%s)" % inside
    if kind is list:
        return "[%s]" % inside
    if kind is frozenset:
        return "frozenset({%s})" % inside if size else "frozenset()"
    return "{%s}" % inside if size or kind is dict else "set()"


# -- signatures


def signature(found: Found, name: str) -> Optional[Signature]:
    """How `name` is called. None: not callable, or it cannot be told without running code."""
    value, bound = found.value, found.bound
    if type(value) is types.MethodType:
        value, bound = value.__func__, True
    if type(value) is functools.partial:
        return _of_partial(value, name)
    value = unwrap(value)
    if type(value) is types.FunctionType:
        return _of_function(value, name, bound) if _is_python(value) else None
    if one_of(type(value), *statics.BUILTIN_CALLABLES):
        return _of_text(getattr(value, "__text_signature__", None), name, bound)  # PyPy has none
    if statics.is_a(value, type):
        return _of_class(value, name)
    return _of_instance(value, name)


def unwrap(value: Any) -> Any:
    """The function a decorator wrapped, where it says so in plain sight (`functools.wraps`)."""
    for _ in range(_MAX_WRAPPERS):
        if type(value) is not types.FunctionType and not statics.is_wrapper(value):
            break
        inner = statics.get(value.__dict__, "__wrapped__")
        if type(inner) is types.MethodType:
            inner = inner.__func__
        if type(inner) is not types.FunctionType and not statics.is_wrapper(inner):
            break
        value = inner
    return value


def _of_class(cls: type, name: str) -> Optional[Signature]:
    for owner, method in ((type(cls), "__call__"), (cls, "__init__"), (cls, "__new__")):
        raw = statics.class_attribute(owner, method)
        raw = raw.__func__ if type(raw) is staticmethod else raw
        if type(raw) is types.FunctionType and _is_python(raw):
            found = signature(Found(raw, raw, bound=True), name)
            return found._replace(returns="") if found is not None else None
    if statics.is_heap_type(cls):
        return Signature(name, [], "") if statics.class_attribute(cls, "__init__") is object.__init__ else None
    return _of_text(_text_signature(cls), name, bound=False)


def _text_signature(cls: type) -> Optional[str]:
    getter = type.__dict__.get("__text_signature__")
    return getter.__get__(cls) if getter is not None else None


def _of_instance(value: Any, name: str) -> Optional[Signature]:
    call = unwrap(statics.class_attribute(type(value), "__call__"))
    return _of_function(call, name, bound=True) if type(call) is types.FunctionType and _is_python(call) else None


def _of_partial(value: Any, name: str) -> Optional[Signature]:
    inner = signature(Found(value.func, value.func), name)
    if inner is None:
        return None
    left = len(value.args)
    kept: List[Parameter] = []
    for parameter in inner.parameters:
        if left and parameter.kind in ("positional", "either"):
            left -= 1
        elif not statics.get(value.keywords, parameter.name):
            kept.append(parameter)
    return inner._replace(parameters=kept)


def _is_python(function: types.FunctionType) -> bool:
    return type(function.__code__) is types.CodeType  # PyPy's builtins are functions of another code type


def _of_function(function: types.FunctionType, name: str, bound: bool) -> Optional[Signature]:
    code: Any = function.__code__
    names = code.co_varnames
    positional = code.co_argcount
    keywords = positional + code.co_kwonlyargcount
    defaults = function.__defaults__ or ()
    kwdefaults = function.__kwdefaults__ or {}
    annotations = _annotations(function)

    def parameter(index: int, kind: str) -> Parameter:
        word = names[index]
        text = ("*" * (kind == "*") or "**" * (kind == "**")) + word
        note = _annotation(statics.get(annotations, word, UNKNOWN))
        text += ": " + note if note else ""
        default = defaults[index - positional] if positional - len(defaults) <= index < positional else UNKNOWN
        default = statics.get(kwdefaults, word, UNKNOWN) if kind == "keyword" else default
        if default is not UNKNOWN and kind not in ("*", "**"):
            text += (" = " if note else "=") + (_default(default))
        return Parameter(word, text, kind)

    parameters = []
    for index in range(positional):
        only = index < code.co_posonlyargcount
        parameters.append(parameter(index, "positional" if only else "either"))
        if only and index + 1 == code.co_posonlyargcount:
            parameters.append(_SLASH)
    extra = keywords
    if code.co_flags & inspect.CO_VARARGS:
        parameters.append(parameter(extra, "*"))
        extra += 1
    elif code.co_kwonlyargcount:
        parameters.append(_STAR)
    parameters += [parameter(index, "keyword") for index in range(positional, keywords)]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        parameters.append(parameter(extra, "**"))
    if bound and parameters and parameters[0].kind in ("positional", "either"):
        del parameters[0]
        if parameters and parameters[0] is _SLASH:
            del parameters[0]
    return Signature(name, parameters, _annotation(statics.get(annotations, "return", UNKNOWN)))


_SLASH = Parameter("/", "/", "mark")
_STAR = Parameter("*", "*", "mark")


def _annotations(function: types.FunctionType) -> Dict[str, Any]:
    # From Python 3.14 on they are computed when asked for, by code of the user's.
    if hasattr(types.FunctionType, "__annotate__"):
        return {}
    return function.__annotations__


def _default(value: Any) -> str:
    shown = show(value, 2)
    if shown is not None:
        return shown
    if statics.is_a(value, type):
        return statics.class_name(value)
    return str(value.__name__) if one_of(type(value), types.FunctionType, types.BuiltinFunctionType) else "..."


_GENERICS = tuple(
    kind
    for kind in (
        getattr(types, "GenericAlias", None),
        getattr(types, "UnionType", None),
        *(getattr(typing, name, None) for name in ("_GenericAlias", "_UnionGenericAlias", "_CallableGenericAlias")),
    )
    if kind is not None
)


def _annotation(value: Any, depth: int = _MAX_DEPTH) -> str:
    """The annotation as text, or "" where it takes code to tell."""
    if type(value) is str:
        return value[:_MAX_TEXT]
    if value is None or value is type(None):
        return "None"
    if value is typing.Any:
        return "Any"
    if statics.is_a(value, type) and not one_of(type(value), *_GENERICS):
        return statics.class_name(value)
    if type(value) is typing.TypeVar:
        return value.__name__
    if not one_of(type(value), *_GENERICS) or not depth:
        return "..." if value is Ellipsis or not depth else ""
    return _generic(value, depth)


def _generic(value: Any, depth: int) -> str:
    # Of exactly these types, whose `__origin__` and `__args__` are plain attributes.
    arguments = [_annotation(argument, depth - 1) for argument in value.__args__]
    if "" in arguments:
        return ""
    origin = getattr(value, "__origin__", None)
    if origin is typing.Union and len(arguments) == 2 and arguments[1] == "None":
        return "Optional[%s]" % arguments[0]
    if origin is None or origin is typing.Union:
        return " | ".join(arguments)
    name = _annotation(origin, depth - 1)
    if name == "Callable" and arguments:
        return "Callable[[%s], %s]" % (", ".join(arguments[:-1]), arguments[-1])
    return "%s[%s]" % (name, ", ".join(arguments)) if name else ""


def _of_text(text: Optional[str], name: str, bound: bool) -> Optional[Signature]:
    """From a builtin's text signature: `($self, key, default=None, /)`."""
    if type(text) is not str or not text.startswith("("):
        return None
    parameters: List[Parameter] = []
    kind = "positional" if ", /" in text else "either"
    for part in split_arguments(text[1 : text.rfind(")")]):
        word = part.partition("=")[0].partition(":")[0].strip()
        if part.startswith("$"):
            if not bound and part == "$self":
                parameters.append(Parameter("self", "self", "positional"))
        elif part == "/":
            kind = "either"
            if parameters:
                parameters.append(_SLASH)
        elif part.startswith("*"):
            kind = "keyword"
            star = "**" if part.startswith("**") else "*"
            parameters.append(_STAR if part == "*" else Parameter(word.lstrip("*"), part, star))
        else:
            parameters.append(Parameter(word, part, kind))
    return Signature(name, parameters, "")


def split_arguments(text: str) -> List[str]:
    """The parts between the commas at the top level."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|[(\[{]|[)\]}]|,", text):
        token = match.group()
        if token in "([{":
            depth += 1
        elif token in ")]}":
            depth -= 1
        elif token == "," and not depth:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part]


# -- docs and places


def doc(found: Found) -> Optional[str]:
    """The docstring, cleaned; None where there is none in plain sight."""
    target: Any = found.raw if type(found.raw) is property else found.value
    if type(target) is types.MethodType:
        target = target.__func__
    text: Any = None
    if one_of(type(target), types.FunctionType, property, *statics.BUILTIN_CALLABLES):
        text = target.__doc__
    elif statics.is_a(target, types.ModuleType):
        text = statics.get(statics.module_dict(target), "__doc__")
    elif statics.is_wrapper(target):
        text = statics.get(target.__dict__, "__doc__")
    elif target is not UNKNOWN:
        cls = target if statics.is_a(target, type) else type(target)
        if cls is target or show(target, 1) is None:
            text = _class_doc(cls)
    return inspect.cleandoc(text) if type(text) is str and text else None


def _class_doc(cls: type) -> Any:
    return statics.get(statics.class_dict(cls), "__doc__")


def place(found: Found) -> Tuple[Optional[str], Optional[int], Optional[int]]:
    """File, line (from 1) and column (from 0) of the definition, as far as they are known."""
    value: Any = found.raw.fget if type(found.raw) is property else found.value
    if type(value) is types.MethodType:
        value = value.__func__
    value = unwrap(value)
    if type(value) is types.FunctionType and _is_python(value):
        return _place_of_function(value)
    if statics.is_a(value, types.ModuleType):
        file = statics.get(statics.module_dict(value), "__file__")
        return (file, 1, 0) if type(file) is str else (None, None, None)
    if statics.is_a(value, type):
        return _place_of_class(value)
    return None, None, None


def _place_of_function(function: types.FunctionType) -> Tuple[str, int, Optional[int]]:
    code = function.__code__
    file = code.co_filename
    if file.startswith("<frozen "):
        file = _module_file(function.__module__) or file
    lines = source_lines(file)
    line = _definition(lines, code.co_firstlineno, r"(?:async\s+)?def\s+%s\b" % re.escape(code.co_name))
    return file, line, _column(lines, line)


def _place_of_class(cls: type) -> Tuple[Optional[str], Optional[int], Optional[int]]:
    file = class_file(cls)
    if file is None:
        return None, None, None
    lines = source_lines(file)
    name = statics.class_name(cls).rpartition(".")[2]
    pattern = re.compile(r"[ \t]*class[ \t]+%s\b" % re.escape(name))
    first = statics.get(statics.class_dict(cls), "__firstlineno__")  # Python 3.13
    if type(first) is int:
        line = _definition(lines, first, pattern.pattern)
        return file, line, _column(lines, line)
    before = min((code.co_firstlineno for code in _own_codes(cls)), default=len(lines))
    # The nearest definition above its methods; else the last one there is, which is the one in force.
    for index in range(min(before, len(lines)), 0, -1):
        if pattern.match(lines[index - 1]):
            return file, index, _column(lines, index)
    return file, None, None


def class_file(cls: type) -> Optional[str]:
    """The file that defines the class: that of its methods, else of its module."""
    for code in _own_codes(cls):
        return str(code.co_filename)
    return _module_file(statics.module_name(cls))


def _module_file(name: Any) -> Optional[str]:
    module: Any = sys.modules.get(name) if type(name) is str else None
    file = statics.get(statics.module_dict(module), "__file__") if statics.is_a(module, types.ModuleType) else None
    return file if type(file) is str else None


def _own_codes(cls: type) -> List[types.CodeType]:
    """Code of the functions written in the class's body."""
    prefix = statics.class_name(cls) + "."
    codes: List[types.CodeType] = []
    raw: Any
    for _, raw in statics.items(statics.class_dict(cls)):
        raw = raw.fget if type(raw) is property else raw
        raw = raw.__func__ if one_of(type(raw), staticmethod, classmethod) else raw
        function = unwrap(raw)
        if type(function) is types.FunctionType and function.__qualname__.startswith(prefix) and _is_python(function):
            codes.append(function.__code__)
    return [code for code in codes if code.co_filename != "<string>"]  # what dataclasses and namedtuples generate


def _definition(lines: List[str], first: int, pattern: str) -> int:
    # The first line of code may be a decorator's.
    for index in range(first, min(first + 50, len(lines) + 1)):
        if re.match(r"\s*" + pattern, lines[index - 1]):
            return index
    return first


def _column(lines: List[str], line: int) -> Optional[int]:
    if not 0 < line <= len(lines):
        return None
    text = lines[line - 1]
    return len(text) - len(text.lstrip())


def source_lines(file: str) -> List[str]:
    try:
        return linecache.getlines(file)
    except Exception:  # a file that is no text, or a loader that fails: then there is no source to show
        return []


def source(value: Any) -> Optional[str]:
    """The definition's own text, bounded; None where there is none."""
    file, line, _ = place(Found(value, value))
    if file is None or line is None:
        return None
    lines = source_lines(file)[line - 1 : line - 1 + _MAX_BLOCK]
    try:
        return inspect.cleandoc("\n" + "".join(inspect.getblock(lines))) + "\n" if lines else None
    except Exception:  # getblock tokenizes: half a definition may be anything
        return None
