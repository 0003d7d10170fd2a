"""Looks at live objects without running any code of theirs.

Whatever an object claims (`__class__`, `__dict__` as a property, `__getattr__`, `__dir__`, a metaclass
that answers everything, keys whose `__eq__` acts) is never asked: only `type()`, the interpreter's own
slots and the dicts behind them are read. What only running code could tell is `UNKNOWN`. Namespaces
may change while they are read, from other threads.
"""

from __future__ import annotations

import functools
import types
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

_TRIES = 20  # snapshots of a dict that another thread keeps resizing; each is one C call, so few ever fail


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Any = _Unknown()
"""A value that only running code of the user's could tell."""


class Found(NamedTuple):
    """What a name stands for. `value` may be `UNKNOWN`; `raw` is what the dict holds (a property, say);
    `bound`: a call would fill in the first parameter."""

    value: Any
    raw: Any
    bound: bool = False


# -- the interpreter's own slots, past any override in a class or metaclass

_type_dict = type.__dict__["__dict__"].__get__
_type_mro = type.__dict__["__mro__"].__get__
_type_name = type.__dict__["__name__"].__get__
_type_qualname = type.__dict__["__qualname__"].__get__
_type_module = type.__dict__["__module__"].__get__
_type_flags = type.__dict__["__flags__"].__get__
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_module_type: Any = types.ModuleType
_module_dict = _module_type.__dict__["__dict__"].__get__

BUILTIN_CALLABLES: Tuple[type, ...] = tuple(
    {
        types.BuiltinFunctionType,
        types.MethodDescriptorType,
        types.WrapperDescriptorType,
        types.MethodWrapperType,
        types.ClassMethodDescriptorType,
    }
    - {types.FunctionType, types.MethodType, classmethod}  # on PyPy these are plain functions
)
_CACHE_WRAPPER: type = type(functools.lru_cache(lambda: None))
_BINDING = (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType)


class _Slotted:
    __slots__ = ("slot",)


# On PyPy a slot's descriptor is of another type than `types.MemberDescriptorType`.
_SLOTS = (types.MemberDescriptorType, type(_Slotted.__dict__["slot"]))
_GETTERS = (*_SLOTS, types.GetSetDescriptorType)
_GETSET_NAMES = (
    (BaseException, ("args", "__cause__", "__context__", "__traceback__")),
    (types.FunctionType, ("__code__", "__defaults__", "__kwdefaults__", "__dict__")),
    (int, ("real", "imag", "numerator", "denominator")),
    (float, ("real", "imag")),
    (complex, ("real", "imag")),
)  # getters in C that are known to run nothing; a getter in Cython may be anybody's code


def items(mapping: Any) -> List[Tuple[str, Any]]:
    """The entries under plain string keys of a dict (or a class's mapping proxy), as of one moment."""
    for _ in range(_TRIES):
        try:
            pairs = list(mapping.items() if type(mapping) is types.MappingProxyType else dict.items(mapping))
        except RuntimeError:  # resized meanwhile
            continue
        return [pair for pair in pairs if type(pair[0]) is str]
    return []


def get(mapping: Any, name: str, default: Any = None) -> Any:
    """`mapping[name]`. By a scan: a lookup would call the `__eq__` of a user's key of the same hash."""
    for key, value in items(mapping):
        if key == name:
            return value
    return default


def is_a(obj: Any, kind: type) -> bool:
    """`isinstance` by the real type; `__class__` may lie, and asking it may run code."""
    return issubclass(type(obj), kind)


def one_of(kind: type, *kinds: type) -> bool:
    """`kind in kinds`, by identity: comparing and hashing classes asks their metaclass."""
    return any(kind is other for other in kinds)


def mro(cls: type) -> Tuple[type, ...]:
    return _type_mro(cls)  # type: ignore[no-any-return]


def class_dict(cls: type) -> Any:
    return _type_dict(cls)


def class_name(cls: type) -> str:
    return str(_type_qualname(cls))


def module_name(cls: type) -> Optional[str]:
    name = _type_module(cls)
    return name if type(name) is str else None


def is_heap_type(cls: type) -> bool:
    """Whether Python code made the class, and so may change it."""
    return bool(_type_flags(cls) & _HEAP_TYPE)


def module_dict(module: types.ModuleType) -> Dict[str, Any]:
    return _module_dict(module)  # type: ignore[no-any-return]


def instance_dict(obj: Any) -> Optional[Dict[str, Any]]:
    """The object's own attributes, unless its class hides them behind code."""
    for cls in mro(type(obj)):
        descriptor = get(class_dict(cls), "__dict__")
        if descriptor is None:
            continue
        if not one_of(type(descriptor), *_GETTERS):
            return None
        try:
            attributes = descriptor.__get__(obj)
        except (AttributeError, TypeError):
            return None
        return attributes if is_a(attributes, dict) else None
    return None


def class_attribute(cls: type, name: str, default: Any = None) -> Any:
    """What the dicts of the class and its bases hold under `name`, undisturbed by descriptors."""
    for base in mro(cls):
        for key, value in items(class_dict(base)):
            if key == name:
                return value
    return default


def _is_data_descriptor(raw: Any) -> bool:
    kind = type(raw)
    if one_of(kind, property, *_GETTERS):
        return True
    return class_attribute(kind, "__set__") is not None or class_attribute(kind, "__delete__") is not None


def _getset(raw: Any, obj: Any) -> Any:
    for owner, names in _GETSET_NAMES:
        if raw.__objclass__ is owner and raw.__name__ in names and is_a(obj, owner):
            return raw.__get__(obj)
    return UNKNOWN


def _bind(raw: Any, obj: Any, on_class: bool) -> Optional[Found]:
    """What attribute access would make of `raw`, as far as that runs no code. None: nothing there."""
    kind = type(raw)
    if kind is staticmethod:
        return Found(raw.__func__, raw)
    if kind is classmethod:
        return Found(raw.__func__, raw, bound=True)
    if one_of(kind, types.FunctionType, _CACHE_WRAPPER, *_BINDING):
        return Found(raw, raw, bound=not on_class or kind is types.ClassMethodDescriptorType)
    if on_class and one_of(kind, property, *_GETTERS):
        return Found(raw, raw)
    if one_of(kind, *_SLOTS):
        try:
            return Found(raw.__get__(obj), raw)
        except (AttributeError, TypeError):  # an empty slot
            return None
    if kind is types.GetSetDescriptorType:
        return Found(_getset(raw, obj), raw)
    if class_attribute(kind, "__get__") is not None and not one_of(kind, *BUILTIN_CALLABLES):
        return Found(UNKNOWN, raw)
    return Found(raw, raw)


_NOTHING: Any = object()


def resolve(obj: Any, name: str) -> Optional[Found]:
    """What `obj.name` is. None: nothing there that can be seen without running code."""
    if name == "__class__":
        return Found(type(obj), type(obj))
    if is_a(obj, types.ModuleType):
        value = get(module_dict(obj), name, _NOTHING)
        if value is not _NOTHING:
            return Found(value, value)
    raw = class_attribute(type(obj), name, _NOTHING)
    if raw is not _NOTHING and _is_data_descriptor(raw):
        return _bind(raw, obj, on_class=False)
    if is_a(obj, type):
        own = class_attribute(obj, name, _NOTHING)
        if own is not _NOTHING:
            return _bind(own, obj, on_class=True)
    else:
        value = get(instance_dict(obj) or {}, name, _NOTHING)
        if value is not _NOTHING:
            return Found(value, value)
    return None if raw is _NOTHING else _bind(raw, obj, on_class=False)


def walk(obj: Any, names: List[str]) -> Optional[Found]:
    """`obj.a.b.c`. None where it cannot be followed without running code."""
    found: Optional[Found] = Found(obj, obj)
    for name in names:
        if found is None or found.value is UNKNOWN or (found.bound and type(found.value) is not types.FunctionType):
            return None
        found = resolve(found.value, name)
    return found


def members(obj: Any) -> Dict[str, Found]:
    """A static `dir`: every attribute that can be seen without running code, and what it is."""
    raws: Dict[str, Any] = {}
    for cls in reversed(mro(type(obj))):
        raws.update(items(class_dict(cls)))
    found = {name: _bind_quickly(raw, obj, on_class=False) for name, raw in raws.items()}
    if is_a(obj, types.ModuleType):
        found = {name: Found(value, value) for name, value in items(module_dict(obj))}
    elif is_a(obj, type):
        own: Dict[str, Any] = {}
        for cls in reversed(mro(obj)):
            own.update(items(class_dict(cls)))
        found.update((name, _bind_quickly(raw, obj, on_class=True)) for name, raw in own.items())
    else:
        found.update((name, Found(value, value)) for name, value in items(instance_dict(obj) or {}))
    return found


def _bind_quickly(raw: Any, obj: Any, on_class: bool) -> Found:
    # For a list of names: whose value is not read, no slot and no getter needs to be.
    kind = type(raw)
    if one_of(kind, *_GETTERS):
        return Found(UNKNOWN, raw)
    return _bind(raw, obj, on_class) or Found(UNKNOWN, raw)


def kind_of(found: Found) -> str:
    """Jedi's word for what it is: module, class, function, property or instance."""
    value, raw = found.value, found.raw
    if one_of(type(raw), property, functools.cached_property, *_GETTERS):
        return "property"
    if is_a(value, types.ModuleType):
        return "module"
    if is_a(value, type):
        return "class"
    if one_of(type(value), types.FunctionType, types.MethodType, _CACHE_WRAPPER, *BUILTIN_CALLABLES):
        return "function"
    return "instance"


def is_wrapper(value: Any) -> bool:
    """A `functools` wrapper in C around a function (`lru_cache`)."""
    return type(value) is _CACHE_WRAPPER
