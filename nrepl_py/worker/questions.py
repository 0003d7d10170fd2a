"""What is asked beside evals, one question after the other, in a thread of its own: one that takes long to be found
out keeps neither input nor an interrupt waiting.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from _thread import start_new_thread
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import wire

_JEDI_SHARE = 0.8  # of the time for an answer; the rest is for what is around it

Look = Callable[[str, Dict[str, Any], float], Any]
"""Gets what is asked (`what` of `wire`), the fields of the request, and how many seconds jedi may take. Raises
TimeoutError where those were too few."""


class Questions:
    """Answers them; `log` gets a sentence where that went wrong."""

    def __init__(self, channel: wire.Channel, look: Look, log: Callable[[str], None]) -> None:
        self._look = look
        self._log = log
        self.become(channel)

    def become(self, channel: wire.Channel) -> None:
        """In a copy of this process, which has a channel of its own: no other thread is there."""
        self._channel = channel
        self._asked: queue.SimpleQueue[Optional[Tuple[Dict[str, Any], bytes]]] = queue.SimpleQueue()
        self.answering = threading.Lock()
        """Held while a question is answered."""
        self._started = False

    def ask(self, header: Dict[str, Any], blobs: List[bytes]) -> None:
        """An `ask` came."""
        self._asked.put((header, blobs[0]))
        if not self._started:
            self._started = True
            start_new_thread(self._serve, ())  # not `threading.Thread`: the user's `threading.enumerate()` is theirs

    def end(self) -> None:
        """Nobody asks any more."""
        self._asked.put(None)

    def _serve(self) -> None:
        asked, channel = self._asked, self._channel
        while (question := asked.get()) is not None:
            with self.answering:
                try:
                    self._answer(channel, *question)
                except OSError:
                    return  # the router is gone

    def _answer(self, channel: wire.Channel, header: Dict[str, Any], fields: bytes) -> None:
        body: Any = None
        try:
            body = self._look(header["what"], json.loads(fields), header["seconds"] * _JEDI_SHARE)
        except TimeoutError:
            return  # only a slow analysis could tell; the router says `unavailable` in our place
        except Exception as error:  # a hole in the analysis must not silence all later questions
            with contextlib.suppress(OSError):  # the user's code may have closed what is logged to
                self._log("%s: %s: %s" % (header["what"], type(error).__name__, error))
        try:
            answer = json.dumps(body).encode()
        except (TypeError, ValueError):
            answer = b"null"
        channel.send({"say": "answer", "number": header["number"]}, answer)
