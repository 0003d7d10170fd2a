"""Bugs on purpose, each a small change to the core's source that the properties must notice.

`load(mutant)` imports the core anew with that change applied; nothing stays behind in `sys.modules`.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

PACKAGE = "nrepl_py.server"
CORE = (
    "log", "stream", "audience", "context", "ladder", "evals", "questions", "waiting", "crashes", "idle", "life",
    "session", "registry", "core", "handlers", "router",
)  # fmt: skip


class Mutant(NamedTuple):
    what: str
    module: str
    old: str
    new: str


MUTANTS = [
    Mutant("the queue is a stack", "session", "self.queue.append(eval)", "self.queue.appendleft(eval)"),
    Mutant(
        "evals run side by side",
        "session",
        'if self.life == "ready" and self.running is None:',
        'if self.life == "ready":',
    ),
    Mutant(
        "a worker may end an eval that does not run",
        "session",
        "return self.running is not None and self.running.run.serial == serial",
        "return self.running is not None",
    ),
    Mutant("a death ends nothing", "life", "self._end_all(messages.died(cause))", "pass"),
    Mutant(
        "queued evals outlive their worker",
        "session",
        "for eval in self._drop_queue():\n            self._finish(eval, last)",
        "pass",
    ),
    Mutant("questions outlive their worker", "life", "self.questions.end(last)", "pass"),
    Mutant("a kill leaves the queue", "life", "self._end_queue(CANCELLED)", "pass"),
    Mutant("a restart leaves the queue", "life", "self._end_queue(RESTARTED)", "pass"),
    Mutant("a restart leaves the questions", "life", "self.questions.end(RESTARTED)", "pass"),
    Mutant(
        "the next worker does not wait for the last one's end",
        "life",
        "        self._context.out.append(Stop(self.ref, grace))\n\n    def _gone",
        "        self._context.out.append(Stop(self.ref, grace))\n        self._gone()\n\n    def _gone",
    ),
    Mutant(
        "a worker that was stopped is not replaced",
        "life",
        "else:\n            self._start_next()\n\n    def",
        "\n    def",
    ),
    Mutant(
        "a lone eval that was killed gets another worker",
        "life",
        "if self.transient:\n            self.life = ",
        "if 0:\n            self.life = ",
    ),
    Mutant(
        "a restart takes what is under way",
        "life",
        'self.life == "starting" or (self.life == "stopping" and origin is not self._origin)',
        "False",
    ),
    Mutant("an eval is killed twice", "life", 'if self.life != "ready" or eval', "if eval"),
    Mutant(
        "a restart is answered again and again", "waiting", "self._now, self._later, []", "self._now, self._now, []"
    ),
    Mutant("a restart is forgotten", "waiting", "return bool(self._now)", "return False"),
    Mutant(
        "a restart that fails is not answered",
        "waiting",
        "for asker in self._take():\n            self._context",
        "for asker in ():\n            self._context",
    ),
    Mutant("a timeout kills nobody", "session", "climb(eval.kill_after)", "climb()"),
    Mutant("an interrupt kills nobody", "session", "join(asker, kill_after)", "join(asker)"),
    Mutant("the last deadline counts", "ladder", "at < self._kill_at", "at > self._kill_at"),
    Mutant("an interrupt that kills gives up", "ladder", "if kill_after is None:", "if True:"),
    Mutant("an op does not keep a session", "core", "session.idle.touch()", "pass"),
    Mutant("an eval's end does not keep a session", "session", "self.idle.touch()", "pass"),
    Mutant("who leaves does not keep a session", "audience", "session.idle.touch()", "pass"),
    Mutant("a session that works is culled", "life", "self.idle.look(at_work or (", "self.idle.look(False or ("),
    Mutant("a session is culled before its clients' eyes", "life", "bool(self.stream.clients) and", "False and"),
    Mutant("a session lives as long as it is looked at", "life", "not self.idle.whoever", "True"),
    Mutant("a session is culled without a word", "idle", "self._warned = True\n", "return 0\n"),
    Mutant("a notice is for all times", "idle", "self._warned = False\n\n    def look", "\n    def look"),
    Mutant("the time is not set anew", "idle", "self._wait(left - self.notice)", "pass"),
    Mutant("a session is never culled", "idle", "        return 0\n", "        self._wait(1)\n        return None\n"),
    Mutant("the idle timer is left behind", "core", "session.idle.end()", "pass"),
    Mutant("crashes are not counted", "crashes", "self._count += 1", "pass"),
    Mutant("an eval proves nothing", "session", "self.crashes.proved()", "pass"),
    Mutant("a loop goes on", "session", "self.crashes.check()", "pass"),
    Mutant("a loop is for ever", "life", "self.crashes.forgive()", "pass"),
    Mutant("a worker never proves itself by time", "crashes", "self._context.monotonic() < self._new_until", "True"),
    Mutant("a loop is not said", "life", "if self.crashes.looping else {}", "if False else {}"),
    Mutant("the kill timer is left behind", "ladder", "if self._kill_at is not None:", "if 0:"),
    Mutant("an interrupt is never answered", "session", "eval.ladder.end(last)", "pass"),
    Mutant(
        "an interrupt is answered ahead of the eval's end",
        "session",
        "        self._finish(eval, fields, size)\n",
        "        if eval.ladder is not None:\n            eval.ladder.end(last)\n"
        "        self._finish(eval, fields, size)\n",
    ),
    Mutant(
        "timers of an ended eval still mean something",
        "session",
        "eval is None or eval.run.serial != serial",
        "eval is None",
    ),
    Mutant("a cancelled eval stays in the queue", "session", "self.queue.clear()", "pass"),
    Mutant(
        "an interrupt of a queued eval is signalled",
        "session",
        "if eval is not self.running:\n            return []",
        "",
    ),
    Mutant("the queue has no bound", "session", "len(self.queue) >= self", "len(self.queue) > self"),
    Mutant("an id in the log may be used again", "session", "or self.stream.log.holds(request.id)", ""),
    Mutant("a replay is overtaken", "stream", " and asker not in self.replays", ""),
    Mutant("a replay ends with its first portion", "stream", "if self.at == log.last_seq:", "if True:"),
    Mutant(
        "a replay ends one message early", "stream", "if self.at == log.last_seq:", "if self.at >= log.last_seq - 1:"
    ),
    Mutant("a gap is not said", "stream", "self.gap = True", "pass"),
    Mutant(
        "who has caught up is not shown what follows",
        "audience",
        "        session.stream.attach(asker.connection)\n    elif",
        "        pass\n    elif",
    ),
    Mutant("attaching again shows it twice", "stream", "        stream.detach(asker.connection)\n", ""),
    Mutant("who leaves is replayed to", "stream", "self.replays[connection].end()", "pass"),
    Mutant("who detaches misses what it asked for", "audience", "if replay is not None:", "if False:"),
    Mutant("who detaches stays", "audience", "if caught_up and stays:", "if caught_up:"),
    Mutant(
        "only one portion is sent",
        "router",
        "client.replays.rotate(-1)\n            self._context.ask_room(client)",
        "pass",
    ),
    Mutant("a full observer is kept", "stream", "if context.full and not", "if False and not"),
    Mutant("a full asker is dropped", "stream", "patient = {self.staller,", "patient = {None,"),
    Mutant("late output waits for who asked long ago", "stream", 'None if "late" in message else asker}', "asker}"),
    Mutant(
        "a full observer holds the worker",
        "session",
        "held = staller in self._context.full",
        "held = not self._context.full.isdisjoint(self.stream.attached)",
    ),
    Mutant("who catches up holds nobody", "session", " or staller in self.stream.replays", ""),
    Mutant("who comes back is an observer", "audience", "session.take_over(connection)", "pass"),
    Mutant("who looks on is waited for", "handlers", '"eval" in principal_of(client).capabilities', "True"),
    Mutant("any number will do", "audience", "not 0 <= since <= stream.log.last_seq", "since < 0"),
    Mutant(
        "a number never reached is refused too late",
        "audience",
        "not 0 <= since <= stream.log.last_seq",
        "not 0 <= since <= stream.log.last_seq + 1",
    ),
    Mutant(
        "who leaves is not told of",
        "audience",
        "        session.stream.detach(connection)\n        _tell(context, session)",
        "        session.stream.detach(connection)",
    ),
    Mutant("who comes again is told of", "audience", "    if new:\n", "    if True:\n"),
    Mutant("a full connection holds nobody", "session", "if held != self._held", "if False"),
    Mutant("a restart does not count", "life", "epoch=self.ref.epoch + 1", "epoch=self.ref.epoch"),
    Mutant("closing leaves the worker", "life", "self._context.out.append(Stop(self.ref, grace))", "pass"),
    Mutant("the next eval is forgotten", "session", "        else:\n            self._next()", ""),
    Mutant(
        "the last reply is said twice",
        "session",
        "        self._finish(eval, fields, size)\n",
        "        self._finish(eval, fields, size)\n        self.stream.say(self._head(eval.id) | fields, eval.asker)\n",
    ),
    Mutant(
        "a number is left out",
        "log",
        "self.last_seq + 1\n        id",
        "self.last_seq + 1 + (self.last_seq == 9)\n        id",
    ),
    Mutant("the asker gets it twice", "stream", "asker not in to and ", ""),
    Mutant("an eval's end is not told", "session", "self._context.watch.answered(eval.asked, message)", "pass"),
    Mutant(
        "an eval's end is told only to who is there",
        "session",
        "        self._context.watch.answered(eval.asked, message)\n",
        "        if eval.asker in self._context.connections:\n"
        "            self._context.watch.answered(eval.asked, message)\n",
    ),
    Mutant(
        "a late answer is not told when its asker is gone",
        "context",
        "        self.watch.answered(asker, message)\n        if asker.connection in self.connections:\n",
        "        if asker.connection in self.connections:\n            self.watch.answered(asker, message)\n",
    ),
    Mutant("it is sent to those who are gone", "stream", " and asker in context.connections", ""),
    Mutant("input is reversed", "evals", "self._input.popleft()", "self._input.pop()"),
    Mutant(
        "an interrupt waits for nothing",
        "ladder",
        "self._waiting[self._count] = asker",
        "self._reply(asker, {'status': ['done']})",
    ),
    Mutant(
        "the grace timer is left behind",
        "ladder",
        "if self._again:\n            self._context.out.append(CancelTimer",
        "if 0:\n            self._context.out.append(CancelTimer",
    ),
    Mutant("questions have no bound", "questions", ">= limits.max_open_questions", "> limits.max_open_questions"),
    Mutant(
        "questions time out for ever",
        "questions",
        "entry = self._open.pop(number, None)",
        "entry = self._open.get(number)",
    ),
    Mutant(
        "a worker started too late is kept",
        "router",
        "or session.spec.ref != ref or session.life",
        "or session.spec.ref != ref or not session.life",
    ),
    Mutant(
        "a lone eval outlives its client",
        "router",
        'self._core.close(session, "disconnect")\n        for',
        "pass\n        for",
    ),
]


class _Patch(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with its source changed."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != f"{PACKAGE}.{self._mutant.module}":
            return None
        self._found = importlib.machinery.PathFinder.find_spec(name, path)
        assert self._found is not None
        return importlib.util.spec_from_file_location(name, self._found.origin, loader=self)

    def get_filename(self, name: str) -> str:
        return str(self._found.origin)  # type: ignore[union-attr]

    def exec_module(self, module: ModuleType) -> None:
        path = self.get_filename(module.__name__)
        with open(path, encoding="utf-8") as file:
            source = file.read()
        assert source.count(self._mutant.old) >= 1, f"{self._mutant.what}: the source it changes is gone"
        exec(compile(source.replace(self._mutant.old, self._mutant.new, 1), path, "exec"), module.__dict__)


def load(mutant: Mutant) -> Any:
    """The `Router` of a core with that bug in it."""
    names = [f"{PACKAGE}.{name}" for name in CORE]
    package = importlib.import_module(PACKAGE)
    originals = {name: importlib.import_module(name) for name in names}
    finder = _Patch(mutant)
    sys.meta_path.insert(0, finder)
    try:
        for name in names:
            del sys.modules[name]
            delattr(package, name.rpartition(".")[2])
        return importlib.import_module(f"{PACKAGE}.router").Router
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(originals)
        for name, module in originals.items():
            setattr(package, name.rpartition(".")[2], module)
