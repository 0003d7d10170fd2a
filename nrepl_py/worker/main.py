"""The worker: reads what to evaluate, evaluates it, says how it went.

The main thread sleeps on the control channel while idle and evaluates itself: that is what
interrupts can hit, and what signal handlers, asyncio and GUI toolkits expect. A helper thread sleeps
on the side channel, for what comes while an eval runs: input, interrupts, and questions (`questions.py`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import types
from typing import Any, Dict, Iterator, List, Optional, Sequence

from . import display, failure, output, plain, stdin, tags, wire
from .evaluate import Evaluator
from .interrupt import Interrupts
from .questions import Questions

_CHILD_SECONDS = 0.1  # a child's start may wait for a router that is busy, or does not read: see `hold`


class Worker:
    """Serves one session over its two channels. `host` says how it lives in its process."""

    def __init__(self, control: wire.Channel, side: wire.Channel, interrupts: Interrupts, host: Host) -> None:
        self._control = control
        self._side = side
        self._interrupts = interrupts
        self.host = host
        self.relay = output.Relay(control)
        self.input = stdin.Input(self._need_input)
        self.evaluator = Evaluator(host.main, interrupts)
        self.display = display.Display(self._say_display)
        self._pid = os.getpid()
        self._serial = 0
        self._request: Dict[str, Any] = wire.RUN
        """What the running eval was asked."""
        self._last: List[Any] = []
        self._beside = threading.Lock()
        """Held while something is done beside an eval."""
        self._questions = Questions(side, self._look, host.log)
        self._helper: Optional[threading.Thread] = None

    def begin(self, ready: Dict[str, Any]) -> None:
        """Say `ready`, and answer what is asked beside evals."""
        self._control.send(dict(ready, say="ready"))
        self._helper = threading.Thread(target=self._serve_side, name="nrepl-py side", daemon=True)
        self._helper.start()

    def serve(self, ready: Dict[str, Any]) -> None:
        """Begin, then serve until the router closes the channel."""
        self.begin(ready)
        spin = 0.0
        while True:
            try:
                header, _ = self._control.receive(spin)
                spin = header.get("spin", 0.0)
                if header["do"] == "run":
                    self._run({**wire.RUN, **header})
                elif header["do"] == "stdio":
                    self.host.replace_stdio(self._control.descriptors)
                elif header["do"] == "clone":
                    self.host.clone(self, self._control.descriptors, header["force"])
            except KeyboardInterrupt:
                continue  # from someone's own signal, between two evals: nothing here to interrupt
            except (EOFError, OSError):
                return

    # -- one eval

    def _run(self, request: Dict[str, Any]) -> None:
        serial = self._serial = request["serial"]
        self._request = request
        token = tags.TAG.set(tags.Tag(self.relay, serial))
        self.relay.begin(serial)
        self.input.begin(serial, request["allow-stdin"])
        self.host.children = False
        self._last = []
        message, blobs, end = self._evaluate(request)
        if os.getpid() != self._pid:
            self._end_of_child(blobs, end)
        self.input.end()
        self.relay.end()
        self.host.flush_c()
        if self.host.children:
            end["children"] = True
        self._control.send_last(wire.pack_last(serial, message, blobs, end))
        tags.TAG.reset(token)

    def _evaluate(self, request: Dict[str, Any]) -> Any:
        """The eval's last message: header, blobs, and how it ended."""
        try:
            try:
                self._interrupts.arm(request["serial"])
                self.evaluator.run(request["code"], request, self._show)
                if display.PYPLOT in sys.modules:
                    self._show_figures()
                self._interrupts.disarm()
                return self._take_last()
            except BaseException as error:
                # Describing an error runs code of the user's too: still armed.
                return self._failed(error)
        except BaseException as error:
            self._interrupts.disarm()
            return self._failure(error, failure.bare(error, "raised while the error was described"))
        finally:
            self._interrupts.disarm()

    def _failed(self, error: BaseException) -> Any:
        if isinstance(error, SystemExit):
            return self._exit(error)
        self.evaluator.failed(error)
        described = failure.describe(error)
        self._interrupts.disarm()
        return self._failure(error, described)

    def _failure(self, error: BaseException, described: Sequence[bytes]) -> Any:
        self._send_last()
        interrupted = self._interrupts.struck
        cancelled = isinstance(error, KeyboardInterrupt) or type(error).__name__ == "CancelledError"
        status = ["interrupted"] * interrupted + ["eval-error"] * (not (interrupted and cancelled))
        return {"say": "failure"}, described, {"status": status}

    def _exit(self, error: SystemExit) -> Any:
        code = error.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
        code = int(code or 0)
        if not -(1 << 63) <= code < 1 << 63:
            code = -1  # as a process would end
        self._interrupts.disarm()
        message, blobs, end = self._take_last()
        return message, blobs, dict(end, status=["exit"], **{"exit-code": code})

    def _end_of_child(self, blobs: Sequence[bytes], end: Dict[str, Any]) -> None:
        """A child the code forked came to the end of the eval: it ends as a script would."""
        self.relay.flush()
        failed = "eval-error" in end.get("status", ())
        if failed:
            os.write(2, blobs[1])
        os._exit(end.get("exit-code", int(failed)))

    # -- what an eval says

    def _show(self, value: Any, line: int, end_line: int, last: bool) -> None:
        """A value becomes a message; the last is held back, to leave with the eval's end."""
        request = self._request
        header: Dict[str, Any] = {"say": "value"}
        if end_line != 1:  # what is left out is 1, or false, or empty
            header["line"], header["end-line"] = line, end_line
        blobs: List[bytes] = []
        if value is None:
            if not request["data"]:
                return
            header["has-text"] = False
        else:
            text, truncated = display.show(value, request["print-quota"])
            blobs.append(text)
            if truncated:
                header["truncated"] = True
        if request["data"]:
            blobs += self._data(value, request, header)
        if request["mime"] and value is not None:
            header["types"], contents = display.blobs(display.bundle(value, request["mime"]))
            blobs += contents
        self._last = [header, *blobs]
        if not last:
            self._send_last()

    def _show_figures(self) -> None:
        figures = display.open_figures()
        if figures:
            self._send_last()
        for figure in figures:
            self.display(figure, include=["image/png"])

    @staticmethod
    def _data(value: Any, request: Dict[str, Any], header: Dict[str, Any]) -> List[bytes]:
        try:
            packed = plain.pack(value, request["max-data"], request["max-depth"])
        except plain.NotPlain:
            header["not-plain"] = True
        except plain.TooLarge:
            header["truncated"] = True
        else:
            header["has-data"] = True
            return [packed]
        return []

    def _send_last(self) -> None:
        if self._last:
            header, *blobs = self._last
            self._last = []
            self.relay.flush()
            self._control.send(dict(header, serial=self._serial), *blobs)

    def _take_last(self) -> Any:
        if self._last:
            header, *blobs = self._last
            return header, blobs, {}
        return {"say": "finished"}, [], {}

    def _say_display(self, header: Dict[str, Any], blobs: Sequence[bytes]) -> None:
        tag = tags.TAG.get()
        serial = self.relay.running if tag is None else tag.serial
        self.relay.flush()
        self._control.send(dict(header, serial=serial), *blobs)

    def _need_input(self, serial: int, prompt: str, password: bool) -> None:
        self.relay.flush()
        self._control.send({"say": "need-input", "serial": serial, "password": password}, plain.text(prompt))

    def say_before_children(self) -> None:
        """What was written so far comes before the output of a child that is about to start, and writes elsewhere."""
        self.relay.flush()
        self._control.let_read(_CHILD_SECONDS)

    # -- beside an eval

    def _serve_side(self) -> None:
        while True:
            try:
                header, blobs = self._side.receive()
                with self._beside:
                    self._serve_aside(header, blobs)
            except (EOFError, OSError):
                self._side.sock.close()
                self._questions.end()
                self.host.router_gone()
                return

    def _serve_aside(self, header: Dict[str, Any], blobs: List[bytes]) -> None:
        if header["do"] == "feed":
            self.input.feed(header["serial"], blobs[0].decode("utf-8", "surrogatepass"))
        elif header["do"] == "interrupt":
            if not header["aimed"]:
                self.host.interrupt()
            self._interrupts.insist(header["serial"])
        else:
            self._questions.ask(header, blobs)

    def _look(self, what: str, fields: Dict[str, Any], seconds: float) -> Any:
        if what == "is-complete":
            from ..introspection.completeness import check

            return check(fields["code"])
        from ..introspection.answers import ANSWERS

        file = fields.get("file")
        namespace = self.evaluator.namespace(fields.get("module"), file)
        return ANSWERS[what](fields, namespace, self.host.lender, seconds)

    # -- in a forked child

    def forget(self) -> None:
        """The router belongs to the parent: keep away from its channels."""
        self.relay.become_plain()
        self._control.forget()
        self._side.forget()

    # -- for a live clone

    @property
    def threads(self) -> List[threading.Thread]:
        """Our own, besides the main one."""
        return [thread for thread in (self._helper, self.relay.timer) if thread is not None]

    @property
    def descriptors(self) -> List[int]:
        """Those of the channels and of the interrupt word."""
        return [self._control.sock.fileno(), self._side.sock.fileno(), self._interrupts.word]

    @contextlib.contextmanager
    def parked(self, seconds: float) -> Iterator[bool]:
        """Keep our threads where they hold nothing, if that can be had within so many seconds."""
        with contextlib.ExitStack() as held:
            parked = True
            for lock in (self._questions.answering, self._beside):
                if parked := parked and lock.acquire(timeout=seconds):
                    held.callback(lock.release)
            held.enter_context(self.relay.lock)
            yield parked

    def become(self, control: int, side: int, word: int) -> None:
        """In a copy of this process: these are our channels now, and no other thread is there."""
        self._control.forget()
        self._side.forget()
        self._control = wire.Channel(socket.socket(fileno=control), self._interrupts)
        self._side = wire.Channel(socket.socket(fileno=side))
        self._interrupts.become(word)
        self._pid = os.getpid()
        self._questions.become(self._side)
        self.relay.become(self._control)
        self.input.become()


class Host:
    """How a worker lives in its process: what differs between its own process and a host program."""

    main: types.ModuleType
    lender: Any = None
    children = False
    """Whether this eval started processes, which may write to descriptors 1 and 2 after it."""
    copying = False
    """Whether a fork is ours, and its child to be a worker."""

    def replace_stdio(self, descriptors: List[int]) -> None:
        """Take these as 1 and 2, so that later output of older children is told apart."""

    def clone(self, worker: Worker, descriptors: List[int], force: bool) -> None:
        """Fork a copy that takes the first of these: see `clone.py`."""

    def become(self, word: int) -> None:
        """In a copy of this process, which has a shared file of its own."""

    def flush_c(self) -> None:
        """Flush what C code has buffered."""

    def interrupt(self) -> None:
        """The router asks to look at the interrupt word."""

    def router_gone(self) -> None:
        """The side channel ended."""

    def log(self, text: str) -> None:
        """Something of ours went wrong that no reply can tell."""


def about(start: str) -> Dict[str, Any]:
    """What `ready` says. `start`: how this worker came to be."""
    return {
        "python": sys.version.split()[0],
        "implementation": sys.implementation.name,
        "executable": sys.executable or "",
        "prefix": sys.prefix,
        "cwd": os.getcwd(),
        "pid": os.getpid(),
        "start": start,
    }
