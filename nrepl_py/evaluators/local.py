"""Workers as processes of this machine: forked from a warm zygote, or spawned where fork cannot serve.

A zygote serves one interpreter with one list of preloads. Interpreters it cannot serve (PyPy, other
systems than Linux) and environments that only a fresh process can have (`LD_*`, `MALLOC_*`,
`PYTHON*`) get a cold start of the same worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from nrepl_py import codec, lent
from nrepl_py.errors import NoCapacity, StartFailed
from nrepl_py.evaluators import bundle, frames
from nrepl_py.evaluators.base import Exited, Lost, Ref, Said, Sink, Spec, ToWorker
from nrepl_py.evaluators.link import Link
from nrepl_py.evaluators.speech import aim, new_word, stages_of, tell
from nrepl_py.evaluators.zygote import Zygote
from nrepl_py.ops import Cause

_INTERRUPT = signal.SIGRTMIN + 3 if hasattr(signal, "SIGRTMIN") else None
_LINUX = sys.platform.startswith("linux") and hasattr(os, "pidfd_open")
_PROBE = "import sys;print(sys.implementation.name)"

BASE_ENVIRONMENT = (
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TEMP", "TERM", "TMP", "TMPDIR", "TZ", "USER",
)  # fmt: skip
"""The server's variables every session gets (and all `LC_*`): what programs need to find their way,
and nothing that usually holds a secret. Others come by `inherit-env` and `env`."""


@dataclass(eq=False)
class _Worker:
    ref: Ref
    link: Link
    word: int
    pid: int = 0
    pidfd: int = -1
    zygote: Zygote | None = None
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
    ) -> None:
        self._python = python or sys.executable
        self._preload = preload
        self._max_workers = max_workers
        self._start_seconds = start_seconds
        self._portable = portable
        self._bundle = bundle.open_bundle()
        self._lent = lent.directories()
        self._workers: dict[Ref, _Worker] = {}
        self._by_pid: dict[int, _Worker] = {}
        self._zygotes: dict[tuple[str, tuple[str, ...]], asyncio.Task[Zygote]] = {}
        self._implementations: dict[str, str] = {}
        self._sink: Sink = lambda event: None

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"interrupt", "kill"})

    def describe(self) -> dict[str, Any]:
        return {
            "tier": "process",
            "boundary": False,
            "effect": "a session is a process of its own, with the rights of the server's user",
            "start": "spawn" if self._portable else "fork",
        }

    def watch(self, sink: Sink) -> None:
        self._sink = sink

    async def open(self) -> None:
        executable = self._resolve(None)
        if not self._portable and await self._implementation(executable) == "cpython":
            self._zygote_task(executable, self._preload)

    # -- starting

    async def start(self, spec: Spec) -> frames.Ready:
        if len(self._workers) >= self._max_workers:
            raise NoCapacity(f"{len(self._workers)} workers are running, as many as this server may; close a session")
        executable = self._resolve(spec.python)
        if spec.cwd is not None and not os.path.isdir(spec.cwd):
            raise StartFailed(f"cwd is not a directory: {spec.cwd}")
        link = Link(
            on_report=lambda report: self._report(worker, report), on_broken=lambda why: self._broken(worker, why)
        )
        worker = _Worker(spec.ref, link, new_word())
        self._workers[spec.ref] = worker
        try:
            async with asyncio.timeout(self._start_seconds):
                await self._launch(worker, executable, spec)
                return await worker.ready
        except TimeoutError:
            raise StartFailed(f"{executable} was not ready within {self._start_seconds:g} s") from None
        finally:
            if not worker.ready.done() or worker.ready.cancelled() or worker.ready.exception() is not None:
                await self._abandon(worker)

    async def _launch(self, worker: _Worker, executable: str, spec: Spec) -> None:
        preload = tuple(dict.fromkeys((*self._preload, *spec.preload)))
        env = self._environment(spec)
        cold = any(name.startswith(("LD_", "MALLOC_", "PYTHON")) for name in spec.env)
        forked = not (self._portable or cold) and await self._implementation(executable) == "cpython"
        header: dict[str, object] = {
            "do": "setup",
            "cwd": spec.cwd or os.getcwd(),
            "python-path": [path for path in spec.env.get("PYTHONPATH", "").split(os.pathsep) if path],
            "preload": [] if forked else preload,
            "lent": self._lent,
            "start": "fork" if forked else "spawn",
        }
        # The environment may be large, and a header may not: it goes as the blob.
        worker.link.tell(header, codec.to_json(env))
        if forked:
            await self._fork(worker, executable, preload)
        else:
            self._spawn(worker, executable, env)
        worker.link.handed_over()

    async def _fork(self, worker: _Worker, executable: str, preload: tuple[str, ...]) -> None:
        zygote = await asyncio.shield(self._zygote_task(executable, preload))
        null = os.open(os.devnull, os.O_RDONLY)
        link = worker.link
        try:
            worker.pid, worker.pidfd = await zygote.fork(*link.worker_ends, null, *link.worker_pipes, worker.word)
        finally:
            os.close(null)
        worker.zygote = zygote
        self._by_pid[worker.pid] = worker

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
        self._by_pid[worker.pid] = worker
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
        self._exited(worker.pid, status)

    def _zygote_task(self, executable: str, preload: tuple[str, ...]) -> asyncio.Task[Zygote]:
        """The start of the zygote for these, under way or done; a new one where the last failed or ended."""
        key = (executable, preload)
        task = self._zygotes.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() or not task.result().alive)):
            task = self._zygotes[key] = asyncio.ensure_future(self._new_zygote(executable, preload))
        return task

    async def _new_zygote(self, executable: str, preload: tuple[str, ...]) -> Zygote:
        zygote = Zygote(on_exit=self._exited, on_gone=lambda: self._zygote_gone(zygote))
        env = {name: value for name, value in os.environ.items() if _is_base(name)}
        # One thread per BLAS: a threaded process cannot fork safely, nor enter a user namespace.
        env |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        await zygote.start(executable, self._bundle, list(preload), env, self._start_seconds)
        return zygote

    def _zygote_gone(self, zygote: Zygote) -> None:
        for worker in [worker for worker in self._workers.values() if worker.zygote is zygote]:
            worker.killed_by = worker.killed_by or "zygote"
            self._exited(worker.pid, signal.SIGKILL)

    async def _implementation(self, executable: str) -> str:
        if executable == sys.executable:
            return sys.implementation.name
        if executable not in self._implementations:
            try:
                process = await asyncio.create_subprocess_exec(
                    executable, "-I", "-S", "-c", _PROBE,
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )  # fmt: skip
            except OSError as error:
                raise StartFailed(f"cannot run {executable}: {error.strerror or error}") from None
            out, err = await process.communicate()
            if process.returncode != 0:
                text = err.decode("utf-8", "backslashreplace").strip()
                raise StartFailed(f"{executable} ended with code {process.returncode}\n{text}".strip())
            self._implementations[executable] = out.decode("utf-8", "replace").strip()
        return self._implementations[executable]

    def _resolve(self, python: str | None) -> str:
        wanted = os.path.expanduser(python or self._python)
        found = shutil.which(wanted)
        if found is None:
            raise StartFailed(f"no interpreter {wanted!r}: give a path, or a name on the server's PATH")
        return os.path.abspath(found)

    def _environment(self, spec: Spec) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if _is_base(name) or name in spec.inherit_env}
        return env | spec.env

    async def _abandon(self, worker: _Worker) -> None:
        """A start that failed: nothing of it stays, and no event is told."""
        worker.killed_by = "start"
        if worker.pid:
            self._kill(worker)
            await worker.gone.wait()
        else:
            self._forget(worker)

    # -- serving

    def send(self, ref: Ref, message: ToWorker) -> None:
        worker = self._workers.get(ref)
        if worker is not None:
            tell(worker.link, message)

    def hold(self, ref: Ref, held: bool) -> None:
        if worker := self._workers.get(ref):
            worker.link.hold(held)

    def interrupt(self, ref: Ref, serial: int) -> bool:
        worker = self._workers.get(ref)
        if worker is None:
            return False
        aim(worker.word, serial)
        if worker.pidfd >= 0 and not self._portable and _INTERRUPT is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(worker.pidfd, _INTERRUPT)
        else:
            worker.link.tell_aside({"do": "interrupt"})
        return True

    def stages(self, ref: Ref, serial: int) -> tuple[str, ...]:
        worker = self._workers.get(ref)
        return () if worker is None else stages_of(worker.word, serial)

    def memory(self, ref: Ref) -> int | None:
        worker = self._workers.get(ref)
        if worker is None:
            return None
        try:
            with open(f"/proc/{worker.pid}/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return None

    # -- ending

    async def stop(self, ref: Ref, grace: float) -> bool:
        worker = self._workers.get(ref)
        if worker is None:
            return False
        first = worker.killed_by is None
        worker.killed_by = worker.killed_by or "router"
        worker.link.hold(False)
        worker.link.hang_up()
        try:
            await asyncio.wait_for(worker.gone.wait(), grace)
        except TimeoutError:
            self._kill(worker)
            await worker.gone.wait()
        return first

    async def aclose(self) -> None:
        await asyncio.gather(*(self.stop(ref, 0.2) for ref in list(self._workers)))
        tasks = [*self._zygotes.values()]
        self._zygotes.clear()
        for task in tasks:
            if not task.done():
                task.cancel()
            with contextlib.suppress(StartFailed, asyncio.CancelledError):
                await (await task).close()
        if self._bundle >= 0:
            os.close(self._bundle)
            self._bundle = -1

    def _kill(self, worker: _Worker) -> None:
        with contextlib.suppress(ProcessLookupError):
            if worker.pidfd >= 0:
                signal.pidfd_send_signal(worker.pidfd, signal.SIGKILL)
            elif worker.process is not None:
                worker.process.kill()

    def _report(self, worker: _Worker, report: frames.Report) -> None:
        if isinstance(report, frames.Ready):
            if not worker.ready.done():
                worker.ready.set_result(report)
        elif worker.ready.done():
            self._sink(Said(worker.ref, report))

    def _broken(self, worker: _Worker, why: str) -> None:
        worker.broken = why
        self._kill(worker)

    def _exited(self, pid: int, status: int) -> None:
        worker = self._by_pid.get(pid)
        if worker is None or worker.gone.is_set():
            return
        stderr = worker.link.last_words()
        ref, started = worker.ref, worker.ready.done()
        self._forget(worker)
        if not started:
            code = os.waitstatus_to_exitcode(status)
            how = f"ended with code {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
            worker.ready.set_exception(StartFailed(f"the interpreter {how} while starting\n{stderr}".strip()))
        elif worker.killed_by == "start":
            pass
        elif worker.broken is not None:
            self._sink(Lost(ref, Cause(kind="lost", by="router", last_stderr=stderr or None, trace=worker.broken)))
        else:
            self._sink(Exited(ref, _cause(worker, status, stderr)))

    def _forget(self, worker: _Worker) -> None:
        worker.gone.set()
        self._workers.pop(worker.ref, None)
        self._by_pid.pop(worker.pid, None)
        worker.link.close()
        os.close(worker.word)
        if worker.pidfd >= 0:
            os.close(worker.pidfd)
            worker.pidfd = -1


def _is_base(name: str) -> bool:
    return name in BASE_ENVIRONMENT or name.startswith("LC_")


def _cause(worker: _Worker, status: int, stderr: str) -> Cause:
    code = os.waitstatus_to_exitcode(status)
    words = stderr or None
    if worker.killed_by is not None:
        return Cause(kind="killed", by=worker.killed_by, last_stderr=words)
    if code < 0:
        return Cause(kind="signal", signal=_signal_name(-code), last_stderr=words)
    return Cause(kind="exit", code=code, last_stderr=words)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
