"""A real server under attack, a witness who asks for no more than its due, and raw bytes to attack with.

The witness is an innocent session whose evals must be answered whatever else goes on. How long they
take is told at the end of the run and never asserted: that depends on who else uses the machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.conftest import PATIENCE, leakable
from tests.contract.driver import Peer, Session
from tests.hostile.places import ROOT, User

WITNESS_SECONDS = 60  # until a witness without an answer fails its test
PROMISED_SECONDS = 1  # what an innocent session is promised; slower answers are told at the end of the run
GROWTH_BYTES = 64 << 20  # by which the server may grow at its peak: some frames and outboxes, and no flood
PAUSE_SECONDS = 0.01  # between two evals of the witness, so that it is no load itself

SLOWEST: dict[str, float] = {}
"""The witness' slowest answer in each test, in seconds."""

STARTED: set[str] = set()
"""The servers started here, by process id: what those of other runs on this machine leave is not ours to judge."""

NOT_HELD: dict[str, set[str]] = {}
"""What a tier was seen not to hold, and where: told at the end of the run."""


class Victim:
    """A server in a process of its own; `options` are flags, `user` who runs it, `limits` those of `limits.py`."""

    def __init__(
        self, directory: Path, *options: str, tier: str = "sandbox", user: User | None = None, **limits: Any
    ) -> None:
        self.unix = str(directory / "s")
        file, self.log = directory / "connection.json", directory / "log"
        self.directory, self.tier, self.user = directory, tier, user
        env = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(directory / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {"TMPDIR": str(directory / "home")}
        if user is not None:
            env |= {"XDG_RUNTIME_DIR": str(directory / "home"), "XDG_CONFIG_HOME": str(directory / "home")}
        env |= {f"NREPL_PY_{name.upper()}": str(value) for name, value in limits.items()}
        command = [sys.executable, "-m", "nrepl_py", "serve", "--port", "0", "--unix", self.unix, "--sandbox", tier]
        command += ["--tokens", str(directory / "tokens.json")]
        command += ["--connection-file", str(file), "--log-level", "warning", "--log-file", str(self.log)]
        for made in (directory / "home", directory / "work"):
            made.mkdir(0o700)
        if user is not None:
            for parent in directory.parents[:2]:
                parent.chmod(parent.stat().st_mode | 0o011)
            for path in (directory, *directory.iterdir()):
                os.chown(path, user.uid, user.gid)
        command = [*command, *options] if user is None else user.command([*command, *options])
        self.process = subprocess.Popen(command, cwd=directory / "work", env=env, stdout=subprocess.PIPE)
        STARTED.add(str(self.process.pid))
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith(b"nREPL server started")
        told = json.loads(file.read_text())
        self.url, self.token = told["url"], told["token"]
        self.port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """End it as a supervisor would."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0

    def memory(self, name: str) -> int:
        """Bytes: `VmRSS`, resident now, or `VmHWM`, the most since `forget_peak`."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

    def forget_peak(self) -> None:
        """Count the most memory from here on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def complaints(self) -> list[str]:
        """Lines of its log that tell of a bug: nothing anyone sends may be one."""
        return [line for line in self.log.read_text().splitlines() if "ERROR" in line]

    def peer(self, codec: str = "json", token: str | None = None, receive_bytes: int | None = None) -> Peer:
        """A connection with the right token, or that one."""
        return Peer.open(url=self.url, token=token or self.token, codec=codec, receive_bytes=receive_bytes)

    def guest(self) -> str:
        """The token of another principal, made while the server runs."""
        token, file = secrets.token_urlsafe(), self.directory / "tokens.json"
        hashed = hashlib.sha256(token.encode()).hexdigest()
        file.write_text(json.dumps({"tokens": [{"name": "guest", "sha256": hashed, "created": 0}]}))
        file.chmod(0o600)
        if self.user is not None:
            os.chown(file, self.user.uid, self.user.gid)
        return token


class Witness:
    """An innocent session, evaluating one small thing after the other on a connection of its own."""

    def __init__(self, victim: Victim) -> None:
        self._peer = victim.peer()
        self.session = Session(self._peer)
        self._condition = threading.Condition()
        self._begun = self._ended = 0
        self._failure: str | None = None
        self._stopping = False
        self.slowest = 0.0
        self._thread = threading.Thread(target=self._ask, name="witness")
        self._thread.start()

    def answers(self) -> None:
        """Wait for the answer to an eval that begins after this call."""
        with self._condition:
            wanted = self._begun + 1
            self._condition.wait_for(lambda: self._failure or self._ended >= wanted, WITNESS_SECONDS)
            assert self._failure is None, self._failure
            assert self._ended >= wanted, f"the innocent session had no answer within {WITNESS_SECONDS} s"

    def _ask(self) -> None:
        try:
            while not self._stopping:
                self._begun += 1
                start = time.monotonic()
                run = self.session.ok(f"{self._begun} + 1")
                assert run.value == str(self._begun + 1)
                assert not self._peer.backlog or all("id" not in message for message in self._peer.backlog)
                self.slowest = max(self.slowest, time.monotonic() - start)
                with self._condition:
                    self._ended = self._begun
                    self._condition.notify_all()
                time.sleep(PAUSE_SECONDS)
        except BaseException as error:
            with self._condition:
                self._failure = f"the innocent session failed: {error!r}"
                self._condition.notify_all()

    def close(self) -> None:
        """Let the last eval end, then go."""
        self._stopping = True
        self._thread.join(WITNESS_SECONDS)
        with suppress(Exception):
            self.session.close()
        self._peer.close()


@contextmanager
def another(victim: Victim, limits: Mapping[str, Any], *options: str) -> Iterator[tuple[Victim, Witness]]:
    """A server like that one for one test alone, which may leave zygotes behind, and its witness."""
    directory = Path(tempfile.mkdtemp())
    other = Victim(directory, *options, tier=victim.tier, user=victim.user, **limits)
    witness = Witness(other)
    try:
        yield other, witness
        witness.answers()
        assert other.complaints() == []
    finally:
        witness.close()
        other.stop()
        shutil.rmtree(directory)


class Attack:
    """One test's attack: connections that are closed after it, and what must be true then."""

    def __init__(self, victim: Victim, witness: Witness, name: str) -> None:
        self.victim, self.witness, self._name = victim, witness, name
        self._open: list[Callable[[], object]] = []
        self._testified = False
        witness.slowest = 0.0
        self._before = leakable() | _of_the_machine(), victim.descriptors()
        self._complaints = len(victim.complaints())
        victim.forget_peak()
        self._resident = victim.memory("VmRSS")

    def peer(self, codec: str = "json", token: str | None = None, receive_bytes: int | None = None) -> Peer:
        """An attacker who has the token, or that one."""
        peer = self.victim.peer(codec, token, receive_bytes)
        self._open.append(peer.close)
        return peer

    def session(self, **options: Any) -> Session:
        """An attacker's session, on a connection of its own."""
        return Session(self.peer(), **options)

    def raw(self, *, unix: bool = False) -> Raw:
        """A connection that has said nothing yet."""
        raw = Raw(self.victim, unix=unix)
        self._open.append(raw.close)
        return raw

    def upgraded(self, codec: str = "json", **headers: str | None) -> Raw:
        """A WebSocket with the right token, below the level of messages."""
        raw = self.raw()
        raw.send(request(self.victim, Sec_WebSocket_Protocol=f"nrepl.v1.{codec}", **headers))
        head = raw.head()
        assert status(head) == 101, head
        return raw

    @property
    def tier(self) -> str:
        """The server's."""
        return self.victim.tier

    def not_held(self, what: str) -> None:
        """Tell at the end of the run that this tier does not hold it: SECURITY.md says so too."""
        NOT_HELD.setdefault(what, set()).add(self.tier)

    def innocent_is_served(self) -> None:
        """To be called while the attack is under way: the witness is answered."""
        self._testified = True
        self.witness.answers()

    def end(self) -> None:
        """Go away, and check that the attack changed nothing for anyone else and left nothing behind."""
        for close in self._open:
            close()
        self._close_sessions()
        assert self._testified, "the test never looked at the innocent session during its attack"
        self.witness.answers()
        SLOWEST[self._name] = self.witness.slowest
        growth = self.victim.memory("VmHWM") - self._resident
        assert growth < GROWTH_BYTES, f"the server grew by {growth >> 20} MiB"
        self._left_behind()
        assert self.victim.complaints()[self._complaints :] == []

    def _close_sessions(self) -> None:
        peer = self.victim.peer()
        for entry in peer.request("ls-sessions", all=True).last["sessions"]:
            if entry["id"] != self.witness.session.id:
                peer.request("close", session=entry["id"])
        peer.close()

    def _left_behind(self) -> None:
        things, descriptors = self._before
        deadline = time.monotonic() + PATIENCE
        while (left := (leakable() | _of_the_machine()) - things) or self.victim.descriptors() > descriptors:
            assert time.monotonic() < deadline, f"left behind: {left or 'descriptors of the server'}"
            time.sleep(0.02)  # between two looks; nothing tells of an orphan's end


def _of_the_machine() -> set[str]:
    """Its mounts, and the control groups that our servers made there."""
    mounts = {f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    groups = (
        name
        for place in Path("/sys/fs/cgroup").glob("*")
        for _, below, _ in os.walk(place / "nrepl-py")
        for name in below
    )
    return mounts | {f"control group {name}" for name in groups if name.partition("-")[0] in STARTED}


class Raw:
    """A TCP or Unix connection to the victim, and frames by hand."""

    def __init__(self, victim: Victim, *, unix: bool = False) -> None:
        if unix:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(victim.unix)
        else:
            self.socket = socket.create_connection(("127.0.0.1", victim.port))
        self.socket.settimeout(PATIENCE)
        self._received = b""

    def send(self, data: bytes) -> None:
        """All of it; a connection that was cut takes no more, and that is no error here."""
        with suppress(ConnectionError):
            self.socket.sendall(data)

    def rest(self) -> bytes:
        """What comes until the server closes."""
        with suppress(ConnectionError):
            while data := self.socket.recv(1 << 16):
                self._received += data
        data, self._received = self._received, b""
        return data

    def head(self) -> bytes:
        """The head of an HTTP response."""
        while b"\r\n\r\n" not in self._received:
            self._more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        return head

    def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame."""
        first, size = self._exactly(2)
        if size >= 126:
            form, length = ("!H", 2) if size == 126 else ("!Q", 8)
            (size,) = struct.unpack(form, self._exactly(length))
        return first & 0x0F, self._exactly(size)

    def message(self) -> dict[str, Any]:
        """The next message, of a JSON connection."""
        opcode, data = self.frame()
        assert opcode == 1, (opcode, data)
        found: dict[str, Any] = json.loads(data)
        return found

    def close_code(self) -> int:
        """The code of the close frame, after whatever else comes."""
        while True:
            opcode, data = self.frame()
            if opcode == 8:
                return int(struct.unpack("!H", data[:2])[0])

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._more()
        data, self._received = self._received[:size], self._received[size:]
        return data

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._received += data

    def close(self) -> None:
        self.socket.close()


def last_statuses(peer: Peer, ids: list[str]) -> list[list[str]]:
    """How each of these requests ended; one look at every message, however many there are."""
    ended: dict[str, list[str]] = {}
    while len(ended) < len(ids):
        message = peer.receive()
        if "done" in message.get("status", ()):
            ended[message["id"]] = message["status"]
    return [ended[id] for id in ids]


def dropped(peer: Peer, session: str, left: int = 0) -> None:
    """Wait until that session has no more clients than these."""
    deadline = time.monotonic() + PATIENCE
    while [e["clients"] for e in peer.request("ls-sessions").last["sessions"] if e["id"] == session] != [left]:
        assert time.monotonic() < deadline, "it was never dropped"
        time.sleep(0.05)


def frame(opcode: int, data: bytes, *, fin: bool = True, length: int | None = None, reserved: int = 0) -> bytes:
    """A client's frame, masked with zeros. `length`: the one it claims."""
    size = len(data) if length is None else length
    head = bytes([opcode | (0x80 if fin else 0) | reserved])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += struct.pack("!BH", 0x80 | 126, size)
    else:
        head += struct.pack("!BQ", 0x80 | 127, size)
    return head + bytes(4) + data


def request(victim: Victim, line: str = "GET / HTTP/1.1", *, upgrade: bool = True, **headers: str | None) -> bytes:
    """The bytes of a request, a right one unless told otherwise: a header of None is left out."""
    fields: dict[str, str | None] = {
        "Host": f"127.0.0.1:{victim.port}",
        "Authorization": f"Bearer {victim.token}",
    }
    if upgrade:
        fields |= {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
        }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [line, *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def status(answer: bytes) -> int:
    """The status code of an HTTP response."""
    return int(answer.split(b" ", 2)[1])
