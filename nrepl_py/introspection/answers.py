"""Completions, signatures and lookups of the live session, beside a busy eval, running nothing of the user's.

Dotted names are followed by looking (`statics`), which is exact, quick and needs nothing lent. What
looking cannot tell (the value of a property, of a call, names in code not yet run) is left to jedi,
which reads text only (`guess`). A name that the code's own function may bind is asked of jedi first.
"""

from __future__ import annotations

import builtins
import keyword
import re
import sys
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import cursor as text
from . import guess, outline, statics
from .guess import Lender
from .sketch import sketch
from .statics import Found

_MAX_COMPLETIONS = 500  # nobody reads more, and clients ask again as a name grows
_MAX_DETAILED = 100  # completions that come with signature and doc
_MAX_DOC_LINE = 200  # characters of a completion's doc
_MAX_DOC = 100_000  # characters of a lookup's doc
_SCANNED = 200_000  # code points before the cursor looked at
_GUESSED = 20_000  # code points before the cursor that jedi parses: 0.1 s
_GUESSED_AFTER = 2_000  # and after it
_MAX_IMPORTS = 100  # import statements kept of what is cut off
_TOP_LEVEL = re.compile(r"\n(?=[^\W\d]|@)")
_IMPORTS = re.compile(r"^(?:import|from)[ \t][^\n\\(]*$", re.MULTILINE)

Info = Dict[str, Any]
Namespace = Dict[str, Any]


class Introspector:
    """Answers about one namespace; makes and keeps nothing."""

    def __init__(self, namespace: Namespace, lender: Lender, file: Optional[str] = None, seconds: float = 60) -> None:
        """`seconds` are how long jedi may take for one question."""
        self._namespace = namespace
        self._lender = lender
        self._file = file
        self._seconds = seconds

    # -- completions

    def completions(self, code: str, cursor: int) -> List[Info]:
        """Entries as in the protocol (`ops.Completion`), sorted. Raises TimeoutError when jedi alone
        could tell and was not quick enough."""
        code, cursor, cut = _bounded(code, cursor)
        before = text.before(code, cursor)
        if before.inside == "comment":
            return []
        chain = text.chain(before.text)
        if before.inside == "string" or chain is None or text.in_import(before.text):
            number = chain is None and before.inside == "code" and _ends_in_number(before.text)
            prefix = "" if chain is None else chain.prefix
            return [] if number else self._finish(self._guess(code, cursor).completions, {}, prefix, cut)
        block = text.block(before.text)
        if chain.names:
            return self._attributes(code, cursor, cut, chain, text.binds(block, chain.names[0]))
        found = self._names(before.text, chain)
        asked = self._guess(code, cursor).completions if block or self._in_unknown_call(before.text) else None
        return self._finish(asked, found, chain.prefix, cut)

    def _attributes(self, code: str, cursor: int, cut: int, chain: text.Chain, local: bool) -> List[Info]:
        found = self._follow(chain.names)
        entries: Dict[str, Info] = {}
        if found is not None and found.value is not statics.UNKNOWN:
            members = statics.members(found.value)
            entries = _entries(members, chain)
        if entries and not local:
            return self._finish(None, entries, chain.prefix, cut)
        guessed = self._finish(self._guess(code, cursor).completions, {}, chain.prefix, cut, failing=not entries)
        return guessed or self._finish(None, entries, chain.prefix, cut)

    def _names(self, before: str, chain: text.Chain) -> Dict[str, Info]:
        start = chain.start
        found = {
            word: {"candidate": word, "type": "statement", "start": start}
            for word in set(re.findall(r"(?<![\w.])%s\w*" % re.escape(chain.prefix), before[:start]))
            if chain.prefix and word.isidentifier()
        }
        found.update((word, {"candidate": word, "type": "keyword", "start": start}) for word in keyword.kwlist)
        for namespace in (vars(builtins), self._namespace):
            found.update(_entries({name: Found(value, value) for name, value in statics.items(namespace)}, chain))
        found.update(self._parameters(before, chain))
        return found

    def _parameters(self, before: str, chain: text.Chain) -> Dict[str, Info]:
        """`name=` of the call around the cursor."""
        call = text.call(before)
        if call is None or call.arguments[-1].strip() != chain.prefix:
            return {}
        signature = self._signature_of(call.callee)
        given = {argument.partition("=")[0].strip() for argument in call.arguments[:-1]}
        count = len(call.arguments) - 1
        names = [
            parameter.name + "="
            for index, parameter in enumerate(signature.parameters if signature else ())
            if parameter.kind in ("either", "keyword") and parameter.name not in given
            if index >= count or parameter.kind == "keyword"
        ]
        return {name: {"candidate": name, "type": "param", "start": chain.start} for name in names}

    def _in_unknown_call(self, before: str) -> bool:
        call = text.call(before)
        return call is not None and self._signature_of(call.callee) is None

    def _finish(
        self,
        asked: Optional[Callable[[str], List[Info]]],
        found: Dict[str, Info],
        prefix: str,
        cut: int,
        failing: bool = True,
    ) -> List[Info]:
        """What was found and what jedi adds, in order. Jedi being late fails only where it alone could tell."""
        entries = {name: entry for name, entry in found.items() if name.startswith(prefix) and _is_shown(name, prefix)}
        if asked is not None:
            try:
                for entry in self._wait_for(lambda: asked(prefix)) or []:
                    known = entries.get(entry["candidate"])
                    if _is_shown(entry["candidate"], prefix) and (known is None or known["type"] == "statement"):
                        entries[entry["candidate"]] = entry
            except TimeoutError:
                if failing and not entries:
                    raise
        for entry in entries.values():
            entry["start"] += cut
        return [entries[name] for name in sorted(entries)[:_MAX_COMPLETIONS]]

    # -- signatures

    def signatures(self, code: str, cursor: int) -> List[Info]:
        """Of the innermost call around the cursor (`ops.Signature`); empty where there is none."""
        code, cursor, _ = _bounded(code, cursor)
        before = text.before(code, cursor)
        call = text.call(before.text)
        if call is None or before.inside == "comment":
            return []
        signature = None if self._is_local(before.text, call.callee) else self._signature_of(call.callee)
        if signature is None:
            guessed = self._guess(code, cursor).signatures
            return self._wait_for(guessed) or []
        shown = [parameter for parameter in signature.parameters if parameter.kind != "mark"]
        parameters = [{"label": parameter.text} for parameter in shown]
        return [{"label": signature.label, "parameters": parameters, "active": _active(shown, call.arguments)}]

    def _signature_of(self, callee: str) -> Optional[outline.Signature]:
        chain = text.chain(callee)
        found = self._follow([*chain.names, chain.prefix]) if chain is not None else None
        if chain is None or found is None or found.value is statics.UNKNOWN:
            return None
        return outline.signature(found, chain.prefix)

    def _is_local(self, before: str, callee: str) -> bool:
        chain = text.chain(callee)
        return chain is not None and text.binds(text.block(before), [*chain.names, chain.prefix][0])

    # -- lookups

    def lookup_symbol(self, symbol: str) -> Optional[Info]:
        """What a dotted name is (`ops.SymbolInfo`); also one that starts at an imported module."""
        names = [name.strip() for name in symbol.split(".")]
        if not all(name.isidentifier() for name in names):
            return None
        found = self._follow(names) or _from_modules(names)
        if found is not None:
            return _describe(names[-1], found)
        return self._guess_symbol(symbol, len(symbol))

    def lookup_at(self, code: str, cursor: int) -> Optional[Info]:
        """What the name at the cursor is; None where there is none, or nothing is known of it."""
        code, cursor, _ = _bounded(code, cursor)
        end = text.name_end(code, cursor)
        before = text.before(code, end)
        chain = text.chain(before.text)
        if before.inside != "code" or (chain is not None and not chain.prefix) or _ends_in_number(before.text):
            return None
        if chain is not None:
            names = [*chain.names, chain.prefix]
            found = None if text.binds(text.block(before.text), names[0]) else self._follow(names)
            if found is not None:
                return _describe(chain.prefix, found)
        return self._guess_symbol(code, cursor) or (self._lookup_live(chain) if chain is not None else None)

    def _lookup_live(self, chain: text.Chain) -> Optional[Info]:
        found = self._follow([*chain.names, chain.prefix])
        return _describe(chain.prefix, found) if found is not None else None

    def _guess_symbol(self, code: str, cursor: int) -> Optional[Info]:
        asked = self._guess(code, cursor)
        found: Optional[Info] = self._wait_for(lambda: asked.lookup(self._file))
        return found

    # -- the two ways to know

    def _follow(self, names: List[str]) -> Optional[Found]:
        missing = object()
        for namespace in (self._namespace, vars(builtins)):
            value = statics.get(namespace, names[0], missing)
            if value is not missing:
                return statics.walk(value, names[1:])
        return None

    def _guess(self, code: str, cursor: int) -> guess.Text:
        start = _window_start(code, cursor)
        imports = "".join(line + "\n" for line in _IMPORTS.findall(code[:start])[:_MAX_IMPORTS])
        end = code.find("\n", cursor + _GUESSED_AFTER)
        window = code[start : end if end >= 0 else len(code)]
        first = imports + sketch(window, self._namespace)
        return guess.Text(self._lender, first, window, cursor - start, self._file, _line(code, start), start)

    def _wait_for(self, work: Callable[[], Any]) -> Any:
        """Jedi's answer; nothing where it stumbles, as it does over some code. Raises TimeoutError."""
        try:
            return guess.within(self._seconds, work)
        except TimeoutError:
            raise
        except Exception:
            return None


def _bounded(code: str, cursor: int) -> Tuple[str, int, int]:
    """The code around the cursor, the cursor in it, and how much was cut off before."""
    cursor = min(cursor, len(code))
    cut = max(0, cursor - _SCANNED)
    if cut:
        match = _TOP_LEVEL.search(code, cut, cursor)
        cut = match.end() if match else cut
    return code[cut : cursor + _SCANNED], cursor - cut, cut


def _window_start(code: str, cursor: int) -> int:
    if cursor <= _GUESSED:
        return 0
    match = _TOP_LEVEL.search(code, cursor - _GUESSED, cursor)
    return match.end() if match else code.find("\n", cursor - _GUESSED, cursor) + 1


def _line(code: str, position: int) -> int:
    return code.count("\n", 0, position)


def _ends_in_number(before: str) -> bool:
    return re.search(r"(?<![\w.])\d[\w.]*$", before[-100:]) is not None


def _entries(names: Dict[str, Found], chain: text.Chain) -> Dict[str, Info]:
    matching = {
        name: found for name, found in names.items() if name.startswith(chain.prefix) and _is_wanted(name, chain.prefix)
    }
    detailed = len(matching) <= _MAX_DETAILED
    return {name: _entry(name, found, chain.start, detailed) for name, found in matching.items()}


def _is_wanted(name: str, prefix: str) -> bool:
    return name.isidentifier() and (not name.startswith("_") or prefix.startswith("_"))


def _entry(name: str, found: Found, start: int, detailed: bool) -> Info:
    entry: Info = {"candidate": name, "type": statics.kind_of(found), "start": start}
    if detailed and entry["type"] != "instance":
        signature = outline.signature(found, name) if entry["type"] in ("class", "function") else None
        doc = outline.doc(found)
        if signature is not None:
            entry["signature"] = signature.label
        if doc:
            entry["doc"] = doc.partition("\n")[0][:_MAX_DOC_LINE]
    return entry


def _is_shown(candidate: str, prefix: str) -> bool:
    return not candidate.startswith("_") or prefix.startswith("_")


def _active(parameters: List[outline.Parameter], arguments: List[str]) -> Optional[int]:
    """The index of the parameter that the last argument is for."""
    names = [re.match(r"\s*(\w+)\s*=(?!=)", argument) for argument in arguments]
    given = {match.group(1) for match in names[:-1] if match}
    if names[-1] is not None:
        word = names[-1].group(1)
        named = [(parameter.name, parameter.kind) for parameter in parameters]
        wanted = [(word, "either"), (word, "keyword"), *(entry for entry in named if entry[1] == "**")]
        return next((named.index(entry) for entry in wanted if entry in named), None)
    if given:
        left = (i for i, p in enumerate(parameters) if p.name not in given and i >= len(arguments) - 1 - len(given))
        return next(left, None)
    index = len(arguments) - 1
    for position, parameter in enumerate(parameters):
        if parameter.kind == "*" and position <= index:
            return position
        if position == index and parameter.kind in ("positional", "either"):
            return position
    return None


def _from_modules(names: List[str]) -> Optional[Found]:
    for length in range(len(names), 0, -1):
        module = sys.modules.get(".".join(names[:length]))
        if module is not None:
            return statics.walk(module, names[length:])
    return None


def _describe(name: str, found: Found) -> Info:
    signature = outline.signature(found, name) if found.value is not statics.UNKNOWN else None
    file, line, column = outline.place(found)
    doc = outline.doc(found)
    return {
        "name": name,
        "type": statics.kind_of(found),
        "signature": signature.label if signature is not None else None,
        "doc": doc[:_MAX_DOC] if doc else None,
        "file": file,
        "line": line,
        "column": column,
        "value": None if found.value is statics.UNKNOWN else outline.show(found.value),
    }


# -- the worker's questions


def _completions(fields: Info, introspector: Introspector) -> List[Info]:
    return introspector.completions(fields["code"], fields["cursor"])


def _signature(fields: Info, introspector: Introspector) -> List[Info]:
    return introspector.signatures(fields["code"], fields["cursor"])


def _lookup(fields: Info, introspector: Introspector) -> Optional[Info]:
    if fields.get("sym") is not None:
        return introspector.lookup_symbol(fields["sym"])
    return introspector.lookup_at(fields["code"], fields["cursor"])


def _answer(ask: Callable[[Info, Introspector], Any]) -> Callable[[Info, Namespace, Lender, float], Any]:
    return lambda fields, namespace, lender, seconds: ask(
        fields, Introspector(namespace, lender, fields.get("file"), seconds)
    )


ANSWERS: Dict[str, Callable[[Info, Namespace, Lender, float], Any]] = {
    "completions": _answer(_completions),
    "signature": _answer(_signature),
    "lookup": _answer(_lookup),
}
"""What answers each question: `(fields, namespace, lender, seconds)`, the op's own fields and jedi's time."""
