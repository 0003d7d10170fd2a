"""Workers as processes of this machine: forked from a warm zygote, or spawned where fork cannot serve.

A zygote serves one interpreter with one list of preloads. Interpreters it cannot serve (PyPy, other
systems than Linux) and environments that only a fresh process can have (`LD_*`, `MALLOC_*`,
`PYTHON*`) get a cold start of the same worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from nrepl_py import codec, lent
from nrepl_py.config import Settings
from nrepl_py.errors import NoCapacity, NotSupported, NreplError, QuotaExceeded, StartFailed
from nrepl_py.evaluators import bounds, bundle, deaths, frames, machine, processes, streak, views
from nrepl_py.evaluators.base import Exited, Lost, Ref, Run, Said, Sink, Spec, ToWorker
from nrepl_py.evaluators.birth import Birth
from nrepl_py.evaluators.bounds import Bounds
from nrepl_py.evaluators.environment import PRIVATE_ENVIRONMENT, environment
from nrepl_py.evaluators.family import Family
from nrepl_py.evaluators.grants import Grants
from nrepl_py.evaluators.interpreters import Interpreters
from nrepl_py.evaluators.link import Link
from nrepl_py.evaluators.machine import Machine
from nrepl_py.evaluators.policy import BOUNDARIES, EFFECTS, NAMESPACED, Confinement, Policy
from nrepl_py.evaluators.speech import aim, new_word, stages_of, tell, trace_of
from nrepl_py.evaluators.streak import Streak
from nrepl_py.evaluators.zygote import Zygote
from nrepl_py.evaluators.zygotes import Kind, Zygotes
from nrepl_py.ops import Cause
from nrepl_py.sandbox.build import IDS, OWNER
from nrepl_py.sandbox.session import WORKSPACE

log = logging.getLogger(__name__)

_INTERRUPT = signal.SIGRTMIN + 3 if hasattr(signal, "SIGRTMIN") else None
_LINUX = sys.platform.startswith("linux") and hasattr(os, "pidfd_open")
_DYING_SECONDS = 5.0  # for a killed process to be gone; one that a broken device holds in the kernel never is


@dataclass(eq=False)
class _Worker:
    ref: Ref
    link: Link
    word: int
    confinement: Confinement
    number: int = 0
    pid: int = 0
    pidfd: int = -1
    starved: bool = False
    family: Family = field(init=False)
    copied: dict[str, Any] = field(default_factory=dict)
    """Of a clone: what its original has that is not in it."""
    process: subprocess.Popen[bytes] | None = None
    ready: asyncio.Future[frames.Ready] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    killed_by: str | None = None
    broken: str | None = None


class LocalEvaluator:
    """The default evaluator. `portable`: never use what only Linux has (a cold start, interrupts
    through the side channel), which is what other systems get."""

    def __init__(
        self,
        python: str | None = None,
        preload: tuple[str, ...] = (),
        *,
        max_workers: int = 1000,
        start_seconds: float = 30.0,
        portable: bool = not _LINUX,
        policy: Policy | None = None,
    ) -> None:
        self._preload = preload
        self._max_workers = max_workers
        self._start_seconds = start_seconds
        self._portable = portable
        self._policy = policy or Policy()
        self._bundle = bundle.open_bundle()
        self._lent = lent.directories()
        self._workers: dict[Ref, _Worker] = {}
        self._zygotes = Zygotes(self._bundle, start_seconds, self._policy.memory, self._zygote_gone)
        self._requested = self._policy.tier
        self._missing: list[machine.Missing] = []
        self._machine = Machine(self._bundle, self._policy.allow_degraded)
        self._bounds = Bounds()
        self._last_user = OWNER
        self._streak = Streak()
        self._interpreters = Interpreters(python or sys.executable)
        self._sink: Sink = lambda event: None

    @classmethod
    def of(cls, settings: Settings, tier: str) -> LocalEvaluator:
        """As the settings have it, with sessions confined to `tier`."""
        network, degraded = settings.network == "host", settings.allow_degraded
        grants = Grants(
            read=settings.allow_read, write=settings.allow_write, pythons=settings.allow_pythons,
            env=settings.allow_env, state=settings.files,
        )  # fmt: skip
        policy = Policy(tier=tier, network=network, allow_degraded=degraded, limits=settings.limits, grants=grants)
        return cls(settings.python, settings.preload, start_seconds=settings.limits.start_seconds, policy=policy)

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"interrupt", "kill"} | (set() if self._portable else {"clone"}))

    def describe(self) -> dict[str, Any]:
        tier = self._policy.tier
        missing: Any = {"requested": self._requested, "missing": msgspec.to_builtins(self._missing)}
        return {
            "tier": tier,
            **(missing if self._missing else {}),
            "boundary": tier in BOUNDARIES,
            "effect": EFFECTS[tier],
            "network": "host" if self._policy.network or tier not in BOUNDARIES else "none",
            "start": "spawn" if self._portable else "fork",
        }

    def watch(self, sink: Sink) -> None:
        self._sink = sink

    async def open(self) -> None:
        executable = self._interpreters.resolve(None)
        if self._policy.tier in BOUNDARIES:
            await self._check_machine()
        if why := self._policy.why_fresh():
            log.warning("sessions work in fresh directories, unless told where", extra={"why": why})
        confined = self._policy.tier in BOUNDARIES
        if not self._portable and (confined or await self._interpreters.implementation(executable) == "cpython"):
            with contextlib.suppress(NreplError):  # a policy that needs more to be said: the first start says it
                confinement = self._policy.confine(Spec(Ref("", 0)))
                self._zygotes.warm(Kind(executable, self._preload, *_view(confinement)))

    async def _check_machine(self) -> None:
        """Whether the policy's tier can be had. Raises `StartFailed`, unless less will do."""
        tier, self._missing = await self._machine.best(self._policy.tier, "choose what it can with --sandbox")
        self._policy = replace(self._policy, tier=tier)

    # -- starting

    async def start(self, spec: Spec) -> frames.Ready:
        if len(self._workers) >= self._max_workers:
            raise NoCapacity(f"{len(self._workers)} workers are running, as many as this server may; close a session")
        if spec.origin is not None:
            return await self._clone(spec, spec.origin)
        confinement = await self._confinement(spec)
        executable = self._interpreters.resolve(spec.python)
        worker = self._worker(spec.ref, confinement)
        shown = confinement.view.read or confinement.view.write
        worker.family = Family(worker, self._left, OWNER if shown else self._unused_user())
        return await self._come_up(worker, executable, self._launch(worker, executable, spec))

    async def _confinement(self, spec: Spec) -> Confinement:
        """What the session gets here. Raises `Forbidden` and `StartFailed`."""
        asked = spec.sandbox.tier or self._requested
        tier, missing = await self._machine.best(asked, "ask for")
        confinement = self._policy.confine(replace(spec, sandbox=replace(spec.sandbox, tier=tier)))
        if missing:
            confinement = replace(confinement, lacks={"requested": asked, "missing": msgspec.to_builtins(missing)})
        if spec.python is not None and confinement.tier in BOUNDARIES:
            wanted = os.path.expanduser(spec.python)
            found = wanted if os.sep in wanted else shutil.which(wanted) or wanted
            if os.path.abspath(found) != self._interpreters.resolve(None):
                self._policy.grants.check_python(os.path.abspath(found), spec.owner)
        return confinement

    async def _clone(self, spec: Spec, ref: Ref) -> frames.Ready:
        origin = self._workers.get(ref)
        if origin is None or not origin.ready.done():
            raise StartFailed("clone: the session has ended")
        if origin.family.zygote is None:
            raise NotSupported(
                "clone: this session's interpreter was started by itself, and cannot fork as it runs: it is not "
                "CPython on Linux, or has LD_*, MALLOC_* or PYTHON* in its 'env'"
            )
        worker = self._worker(spec.ref, origin.confinement)
        worker.family = origin.family
        birth = Birth()
        try:
            # Last of all that may fail before the worker is awaited: from here on it is a member that has to leave.
            origin.family.join(worker, self._policy.limits.max_family_sessions)
            return await self._come_up(worker, "the clone", self._be_born(worker, origin, birth, spec.force))
        except QuotaExceeded:
            self._forget(worker)
            raise
        finally:
            birth.close()

    async def _be_born(self, worker: _Worker, origin: _Worker, birth: Birth, force: bool) -> None:
        descriptors = [os.dup(fd) for fd in (*worker.link.worker_ends, *worker.link.worker_pipes, worker.word)]
        origin.link.tell_with([*descriptors, birth.give()], {"do": "clone", "force": force})
        worker.link.handed_over()
        worker.pidfd, worker.copied = await birth.word()
        await worker.family.adopt(worker, lambda status: self._exited(worker, status))
        worker.pid = processes.pid_of(worker.pidfd)
        birth.go()

    def _worker(self, ref: Ref, confinement: Confinement) -> _Worker:
        link = Link(
            on_report=lambda report: self._report(worker, report), on_broken=lambda why: self._broken(worker, why)
        )
        worker = self._workers[ref] = _Worker(ref, link, new_word(), confinement)
        return worker

    async def _come_up(self, worker: _Worker, what: str, launch: Awaitable[None]) -> frames.Ready:
        """The worker's first word, once it is launched; nothing of it stays where there is none."""
        try:
            async with asyncio.timeout(self._start_seconds):
                await launch
                return await worker.ready
        except TimeoutError:
            raise StartFailed(f"{what} was not ready within {self._start_seconds:g} s") from None
        finally:
            if not worker.ready.done() or worker.ready.cancelled() or worker.ready.exception() is not None:
                await self._abandon(worker)

    def _unused_user(self) -> int:
        """The next in turn, so that one comes back as late as can be."""
        used = {worker.family.user for worker in self._workers.values() if worker.ready.done()}
        after = itertools.chain(range(self._last_user + 1, IDS), range(OWNER + 1, IDS))
        self._last_user = next(user for user in after if user not in used)
        return self._last_user

    async def _launch(self, worker: _Worker, executable: str, spec: Spec) -> None:
        preload = tuple(dict.fromkeys((*self._preload, *spec.preload)))
        confined = worker.confinement.tier in BOUNDARIES
        private = PRIVATE_ENVIRONMENT
        if worker.confinement.tier == "landlock":
            home = worker.family.home = tempfile.mkdtemp(prefix="session-", dir=self._zygotes.private)
            private = private | dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP"), home)
            private["GIT_CONFIG_NOSYSTEM"] = "1"  # git gives up where it must not even look for /etc/gitconfig
        env = environment(spec, private if confined else {})
        early = tuple(sorted(item for item in spec.env.items() if item[0].startswith(("LD_", "MALLOC_", "PYTHON"))))
        cold = self._portable or bool(early and not confined)
        # A confined interpreter is not even asked what it is: it may be a session's own work.
        forked = confined or (not cold and await self._interpreters.implementation(executable) == "cpython")
        header: dict[str, object] = {
            "do": "setup",
            "cwd": worker.confinement.cwd or worker.family.home or WORKSPACE,
            "python-path": [path for path in spec.env.get("PYTHONPATH", "").split(os.pathsep) if path],
            "preload": [] if forked else preload,
            "lent": self._lent,
            "rlimits": {} if worker.confinement.tier == "none" else worker.confinement.rlimits,
            "start": "fork" if forked else "spawn",
        }
        if forked:
            alone = spec.ref if worker.confinement.tier == "strict" else None
            await self._fork(worker, Kind(executable, preload, *_view(worker.confinement), early, alone))
        else:
            self._spawn(worker, executable, env)
        worker.link.handed_over()
        # The environment may be large, and a header may not: it goes as the blob.
        worker.link.tell(header, codec.to_json(env))

    async def _fork(self, worker: _Worker, kind: Kind) -> None:
        zygote = await self._zygotes.get(kind)
        null = os.open(os.devnull, os.O_RDONLY)
        link, confinement, family = worker.link, worker.confinement, worker.family
        confine = confinement.request(kind.executable, family.home, family.user)
        to_init = family.channel() if confinement.tier in NAMESPACED else os.dup(null)
        descriptors = (*link.worker_ends, null, *link.worker_pipes, worker.word, to_init)
        family.zygote = zygote
        try:
            worker.number, (worker.pidfd, *init) = await zygote.fork(
                descriptors, confine, lambda status: self._exited(worker, status)
            )
        finally:
            os.close(null)
            os.close(to_init)
        family.born(worker.number, init[0] if init else -1)
        worker.pid = processes.pid_of(worker.pidfd)
        bounds.rank(worker.pid, bounds.SESSION)
        if confinement.tier in BOUNDARIES:
            count = confinement.tier not in NAMESPACED
            family.bound(self._bounds, f"{worker.ref.id}-{worker.ref.epoch}", confinement.limits, count)

    def _spawn(self, worker: _Worker, executable: str, env: dict[str, str]) -> None:
        link = worker.link
        numbers = (*link.worker_ends, worker.word)
        out, err = link.worker_pipes
        try:
            worker.process = subprocess.Popen(
                bundle.command(executable, self._bundle, "worker", *numbers),
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env,
                pass_fds=(self._bundle, *numbers), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise StartFailed(f"cannot run {executable}: {error.strerror or error}") from None
        worker.pid = worker.process.pid
        bounds.rank(worker.pid, bounds.SESSION)
        loop = asyncio.get_running_loop()
        if self._portable:
            waiting = loop.run_in_executor(None, os.waitid, os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
            waiting.add_done_callback(lambda _: self._reap(worker))
        else:
            worker.pidfd = os.pidfd_open(worker.pid)
            loop.add_reader(worker.pidfd, self._reap, worker)

    def _reap(self, worker: _Worker) -> None:
        assert worker.process is not None
        if worker.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(worker.pidfd)
        with contextlib.suppress(OSError):
            os.killpg(worker.pid, signal.SIGKILL)  # before it is reaped: the group's number is still its own
        _, status = os.waitpid(worker.pid, 0)
        worker.process.returncode = os.waitstatus_to_exitcode(status)
        self._exited(worker, status)

    def _zygote_gone(self, zygote: Zygote) -> None:
        for worker in [worker for worker in self._workers.values() if worker.family.zygote is zygote]:
            worker.killed_by = worker.killed_by or "zygote"
            self._exited(worker, signal.SIGKILL)

    async def _abandon(self, worker: _Worker) -> None:
        """A start that failed: nothing of it stays, and no event is told."""
        worker.killed_by = "start"
        if worker.pid:
            self._kill(worker)
            await worker.gone.wait()
        elif not worker.gone.is_set():
            self._forget(worker)

    # -- serving

    def send(self, ref: Ref, message: ToWorker) -> None:
        worker = self._workers.get(ref)
        if worker is None:
            return
        if isinstance(message, Run) and self._streak.goes_on(ref) and not worker.confinement.limits["cpu-seconds"]:
            tell(worker.link, replace(message, spin=streak.WORKER_SECONDS))
            worker.link.look(streak.ROUTER_SECONDS)
        else:
            tell(worker.link, message)

    def hold(self, ref: Ref, held: bool) -> None:
        if worker := self._workers.get(ref):
            worker.link.hold(held)

    def interrupt(self, ref: Ref, serial: int) -> bool:
        worker = self._workers.get(ref)
        if worker is None:
            return False
        aim(worker.word, serial)
        aimed = worker.pidfd >= 0 and not self._portable and _INTERRUPT is not None
        if aimed:
            with contextlib.suppress(ProcessLookupError):
                processes.send(worker.pidfd, _INTERRUPT)  # type: ignore[arg-type]
        worker.link.tell_aside({"do": "interrupt", "serial": serial, "aimed": aimed})
        return True

    def stages(self, ref: Ref, serial: int) -> tuple[str, ...]:
        worker = self._workers.get(ref)
        return () if worker is None else stages_of(worker.word, serial)

    def memory(self, ref: Ref) -> int | None:
        worker = self._workers.get(ref)
        return None if worker is None else processes.memory(worker.pid)

    # -- ending

    async def stop(self, ref: Ref, grace: float) -> bool:
        worker = self._workers.get(ref)
        if worker is None:
            return False
        first = worker.killed_by is None
        worker.killed_by = worker.killed_by or "router"
        worker.link.hold(False)
        await worker.family.mark(worker, grace)
        worker.link.hang_up()
        try:
            await asyncio.wait_for(worker.gone.wait(), grace)
        except TimeoutError:
            self._kill(worker)
            await self._end_of(worker)
        return first

    async def _end_of(self, worker: _Worker) -> None:
        """Wait for one that was killed; no longer than a kernel may need for it, since others wait for us."""
        try:
            await asyncio.wait_for(worker.gone.wait(), _DYING_SECONDS)
        except TimeoutError:
            log.error("a worker does not end though it was killed; it is left to the system", extra={"pid": worker.pid})
            self._end(worker, Lost(worker.ref, Cause(kind="lost", by="router", trace="it did not end when killed")))

    async def aclose(self) -> None:
        await asyncio.gather(*(self.stop(ref, 0.2) for ref in list(self._workers)))
        await self._zygotes.close()
        await self._bounds.aclose()
        if self._bundle >= 0:
            os.close(self._bundle)
            self._bundle = -1

    @staticmethod
    def _kill(worker: _Worker) -> None:
        if worker.pidfd >= 0:
            worker.family.kill(worker)
        elif worker.process is not None:
            with contextlib.suppress(ProcessLookupError):
                worker.process.kill()

    def _report(self, worker: _Worker, report: frames.Report) -> None:
        if isinstance(report, frames.Ready):
            if not worker.ready.done():
                told = worker.confinement.described | {"memory-bound": worker.family.memory_bound}
                pid = worker.pid or report.pid
                worker.ready.set_result(replace(report, pid=pid, sandbox=told, copied=worker.copied))
        elif worker.ready.done():
            self._sink(Said(worker.ref, report))

    def _broken(self, worker: _Worker, why: str) -> None:
        worker.broken = why
        self._kill(worker)

    def _exited(self, worker: _Worker, status: int) -> None:
        if worker.gone.is_set():
            return
        stderr, trace = worker.link.last_words(), trace_of(worker.word)
        ran_out = worker.family.ran_out(worker)
        if not worker.ready.done():
            self._forget(worker)
            worker.ready.set_exception(StartFailed(deaths.while_starting(status, f"{stderr}\n{trace}".strip())))
        elif worker.killed_by == "start":
            self._forget(worker)
        elif worker.broken is not None:
            cause = Cause(kind="lost", by="router", last_stderr=stderr or None, trace=worker.broken)
            self._end(worker, Lost(worker.ref, cause))
        else:
            self._end(worker, Exited(worker.ref, deaths.cause(status, worker.killed_by, ran_out, stderr, trace)))

    def _end(self, worker: _Worker, event: Exited | Lost) -> None:
        """Tell it, and then forget the worker: whoever is told may still ask what its interrupts have done."""
        worker.gone.set()
        self._sink(event)
        self._forget(worker)

    def _forget(self, worker: _Worker) -> None:
        worker.gone.set()
        self._workers.pop(worker.ref, None)
        worker.link.close()
        os.close(worker.word)
        if worker.process is not None and worker.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(worker.pidfd)
        if worker.pidfd >= 0:
            os.close(worker.pidfd)
        worker.pidfd = -1
        worker.family.leave(worker)

    def _left(self, family: Family) -> None:
        """Its last member has."""
        if family.zygote is not None:
            self._zygotes.left(family.zygote)


def _view(confinement: Confinement) -> tuple[str, views.View | None]:
    """What of the confinement makes a zygote of its own."""
    if confinement.tier not in BOUNDARIES:
        return "process", None
    return confinement.tier, confinement.view
