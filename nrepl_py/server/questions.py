"""Introspection of a session: questions put to its worker beside a running eval, each with a deadline.

The answers are the worker's words: they are checked against the op's reply record, so that a worker
can fill in the fields of the answer and no others.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from nrepl_py.errors import Busy, Internal, NotFound, NreplError, Unavailable, reply
from nrepl_py.evaluators.base import Ask, Ref
from nrepl_py.evaluators.frames import Answer
from nrepl_py.ops import Introspection, Lookup, Reply
from nrepl_py.server.context import Asker, Context
from nrepl_py.server.instructions import CancelTimer, SetTimer, Tell

_OWN: Final = frozenset(field.encode_name for field in msgspec.structs.fields(Reply))
"""What only the router may say in a reply."""


class Questions:
    """The open questions of one session."""

    __slots__ = ("_context", "_count", "_open", "_session")

    def __init__(self, context: Context, session: str) -> None:
        self._context = context
        self._session = session
        self._count = 0
        self._open: dict[int, tuple[Asker, type[Introspection]]] = {}

    def ask(self, ref: Ref, request: Introspection, asker: Asker) -> None:
        """Put the question to the worker. Raises `Busy` where too many are open."""
        limits = self._context.limits
        if len(self._open) >= limits.max_open_questions:
            raise Busy(f"{len(self._open)} questions to this session are open; wait for their answers")
        self._count += 1
        self._open[self._count] = (asker, type(request))
        fields = msgspec.to_builtins(request)
        what = fields.pop("op")
        fields.pop("id")
        fields.pop("session", None)
        self._context.out.append(Tell(ref, Ask(self._count, what, fields, limits.answer_seconds)))
        self._context.out.append(SetTimer(("answer", ref.id, self._count), limits.answer_seconds))

    def answer(self, report: Answer) -> None:
        """The worker answered; an answer that came too late is dropped."""
        entry = self._open.pop(report.number, None)
        if entry is None:
            return
        asker, kind = entry
        self._context.out.append(CancelTimer(("answer", self._session, report.number)))
        try:
            self._say(asker, read_answer(kind, report.body) | {"status": ["done"]})
        except NreplError as error:
            self._refuse(asker, error)

    def expire(self, number: int) -> None:
        """The deadline of that question is over."""
        entry = self._open.pop(number, None)
        if entry is not None:
            self._refuse(entry[0], Unavailable("the worker did not answer in time; ask again when it is less busy"))

    def end(self, last: dict[str, Any]) -> None:
        """Nobody will answer any more: end all open questions with `last`."""
        for number, (asker, _) in self._open.items():
            self._context.out.append(CancelTimer(("answer", self._session, number)))
            self._say(asker, last)
        self._open.clear()

    def _say(self, asker: Asker, fields: dict[str, Any]) -> None:
        self._context.reply(asker, {"id": asker.id, "session": self._session} | fields)

    def _refuse(self, asker: Asker, error: NreplError) -> None:
        self._context.reply(asker, reply(error, asker.id, self._session))


def read_answer(kind: type[Introspection], body: Any) -> dict[str, Any]:
    """The reply's own fields out of a worker's answer: a map of them, or the value of the only one.

    Raises `NotFound` where a `lookup` found nothing, `Unavailable` where the worker could not answer,
    `Internal` where the answer does not fit the op's reply.
    """
    if body is None and kind is Lookup:
        raise NotFound("nothing is known of this name here")
    if body is None:
        raise Unavailable("the worker could not answer this; its log says why")
    own = [field.encode_name for field in msgspec.structs.fields(kind.reply) if field.encode_name not in _OWN]
    fields = body if isinstance(body, dict) and own[0] in body else {own[0]: body}
    try:
        known = msgspec.convert({"id": ""} | {name: fields[name] for name in own if name in fields}, kind.reply)
    except msgspec.ValidationError:
        raise Internal("the worker's answer was not of the shape this op promises") from None
    answer: dict[str, Any] = msgspec.to_builtins(known)
    return {name: answer[name] for name in own if name in answer}
