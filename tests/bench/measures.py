"""What is measured, and how both sides are made to do the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from websockets.asyncio.client import connect as aio_connect
from websockets.sync.client import ClientConnection, connect

from tests.bench.report import Row, alternate
from tests.contract.driver import Peer, Session

_PATIENCE = 60  # seconds
_IN_A_ROW = 20  # round trips before it is the next one's turn: nobody evaluates in step with an echo server


class Peers(contextlib.ExitStack):
    """Our server, an echo server and a kernel, each a process of its own, on demand."""

    def __init__(self) -> None:
        super().__init__()
        self._addresses: dict[str, dict[str, Any]] = {}
        self._session: Session | None = None
        self._kernel: BlockingKernelClient | None = None

    def address(self, tier: str = "sandbox") -> dict[str, Any]:
        """Of our server that confines sessions so far: its connection file."""
        if tier not in self._addresses:
            directory = self.enter_context(tempfile.TemporaryDirectory())
            file = Path(directory) / "connection.json"
            process = self._process(
                sys.executable, "-m", "nrepl_py", "serve", "--connection-file", str(file), "--log-level", "error",
                "--sandbox", tier, "--allow-degraded", "--port", "0",
            )  # fmt: skip
            assert process.stdout is not None
            process.stdout.readline()  # the banner: it is listening
            self._addresses[tier] = json.loads(file.read_text())
        return self._addresses[tier]

    def peer(self, tier: str = "sandbox") -> Peer:
        address = self.address(tier)
        peer = Peer.open(url=address["url"], token=address["token"], codec="msgpack")
        self.callback(peer.close)
        return peer

    def session(self) -> Session:
        if self._session is None:
            self._session = Session(self.peer())
        return self._session

    def echo_url(self, *options: str) -> str:
        """Of an echo server."""
        process = self._process(sys.executable, "-m", "tests.bench.echo_server", *options)
        assert process.stdout is not None
        return f"ws://127.0.0.1:{int(process.stdout.readline())}"

    def echo(self) -> ClientConnection:
        return self.enter_context(connect(self.echo_url(), compression=None, max_size=None))

    def kernel(self) -> BlockingKernelClient:
        if self._kernel is None:
            self._kernel = start_kernel(self)
        return self._kernel

    def _process(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.callback(lambda: (process.terminate(), process.wait()))
        return process


def start_kernel(stack: contextlib.ExitStack) -> BlockingKernelClient:
    """A kernel that has answered its first question."""
    manager = KernelManager()
    manager.start_kernel(stderr=subprocess.DEVNULL)
    client = manager.client()
    client.start_channels()
    stack.callback(manager.shutdown_kernel, now=True)
    stack.callback(client.stop_channels)
    client.wait_for_ready(timeout=_PATIENCE)
    return client


def execute(client: BlockingKernelClient, code: str) -> list[Any]:
    """Run code in a kernel, to its reply and its `idle`, as a front end must. Gives the iopub messages."""
    id = client.execute(code, store_history=False)
    messages = []
    while True:
        message = client.get_iopub_msg(timeout=_PATIENCE)
        if message["parent_header"].get("msg_id") != id:
            continue
        messages.append(message)
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    while client.get_shell_msg(timeout=_PATIENCE)["parent_header"].get("msg_id") != id:
        pass
    return messages


def round_trip(peers: Peers, scale: float) -> list[Row]:
    session, kernel = peers.session(), peers.kernel()
    loop = _loop_factory()
    with asyncio.Runner(loop_factory=loop) as runner:
        mine, floor, behind = runner.run(_round_trips(peers, session.id, int(2000 * scale)))
    _, theirs = alternate(int(300 * scale) + 1, lambda: session.eval("1+1"), lambda: execute(kernel, "1+1"))
    echo = f"websockets echo on {'uvloop' if loop else 'asyncio'}"
    return [
        Row("eval `1+1`, round trip", "ipykernel", mine, theirs, "ms", "≥ 20× faster"),
        Row("eval `1+1`, round trip", echo, mine, floor, "ms", "≤ 2.0× as long"),
        Row("eval `1+1`, round trip", "echo by a second process", mine, behind, "ms", "the floor"),
    ]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _round_trips(peers: Peers, session: str, repeat: int) -> list[float]:
    """Medians in ms of an eval, of an echo of the same request, and of one by a process behind the server:
    in turns, with the same client library."""
    address = peers.address()
    headers = {"Authorization": f"Bearer {address['token']}"}
    msgpack_only: Any = ["nrepl.v1.msgpack"]
    ours = aio_connect(address["url"], subprotocols=msgpack_only, additional_headers=headers, compression=None)
    async with (
        ours as server,
        aio_connect(peers.echo_url(), compression=None) as echo,
        aio_connect(peers.echo_url("--behind"), compression=None) as behind,
    ):
        clients = (server, echo, behind)
        times: list[list[float]] = [[], [], []]
        for number in range(0, repeat + 200, _IN_A_ROW):
            for client, taken in zip(clients, times, strict=True):
                for turn in range(number, number + _IN_A_ROW):
                    request = msgpack.packb({"op": "eval", "id": f"b{turn}", "session": session, "code": "1+1"})
                    start = time.perf_counter()
                    await client.send(request)
                    answer = msgpack.unpackb(await client.recv())
                    while client is server and "done" not in answer.get("status", ()):
                        answer = msgpack.unpackb(await client.recv())
                    if number >= 200:  # warm by now
                        taken.append((time.perf_counter() - start) * 1000)
    return list(map(statistics.median, times))


def clone(peers: Peers, scale: float) -> list[Row]:
    peer = peers.peer()
    Session(peer).close()

    def ours() -> None:
        session = Session(peer)
        assert session.eval("1+1").value == "2"
        session.close()

    def theirs() -> None:
        with contextlib.ExitStack() as stack:
            execute(start_kernel(stack), "1+1")

    (mine,) = alternate(int(50 * scale) + 1, ours)
    _, kernel = alternate(int(5 * scale) + 1, ours, theirs)
    return [Row("`clone` to first value", "ipykernel", mine, kernel, "ms", "≥ 40× faster")]


def live_clone(peers: Peers, scale: float) -> list[Row]:
    """Of a session with 1 GB that it has written, and what of that the clone has to itself."""
    session = Session(peers.peer())
    session.ok(
        "import os, time\ntry:\n    import numpy\n    data = numpy.ones(1 << 27)\nexcept ImportError:\n    data = b'x' * (1 << 30)"
    )
    session.ok("def fork():\n    pid = os.fork()\n    if pid == 0: os._exit(0)\n    os.waitpid(pid, 0)")

    def bare() -> None:
        session.ok("fork()")

    def copy() -> None:
        clones.append(Session(session.peer, session=session.id))

    def close() -> None:
        clones.pop().close()

    clones: list[Session] = []
    cloned, _, forked = alternate(int(20 * scale) + 2, copy, close, bare)
    copy()
    (snapshot,) = clones

    def rewind() -> None:
        session.reply = session.request("restart", **{"from": snapshot.id}).last

    (rewound,) = alternate(int(10 * scale) + 2, rewind)
    what = "a session with 1 GB"
    rows = [
        Row(f"live clone of {what}", "os.fork() in there", cloned, forked, "ms", "≤ 3× as long"),
        Row(f"`restart` from a snapshot of {what}", "os.fork() in there", rewound, forked, "ms", "–"),
    ]
    if Path("/proc/self/smaps_rollup").exists():
        before = _pss_of([snapshot, session])
        copy()
        more = _pss_of([snapshot, session, clones[-1]]) - before
        rows.append(Row(f"memory of one more clone of {what} (PSS)", "the data", more, 1024, "MB", "≤ 10 MB"))
    for one in (*clones, session):
        one.close()
    return rows


def confinement(peers: Peers, scale: float) -> list[Row]:
    """What a sandbox costs a session's start, beside a bare fork and bubblewrap."""
    confined, plain = peers.peer("sandbox"), peers.peer("none")

    def clone(peer: Peer) -> None:
        session = Session(peer)
        assert session.eval("1+1").value == "2"
        session.close()

    def fork() -> None:
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, repr(eval("1+1")).encode())
            os._exit(0)
        os.read(read, 1)
        for fd in (read, write):
            os.close(fd)
        os.wait()

    def bubblewrap() -> None:
        bwrap = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        command = [*bwrap, sys.executable, "-I", "-c", "import asyncio, ast, json, logging; print(1+1)"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    peered = [fork, bubblewrap] if shutil.which("bwrap") else [fork]
    if bubblewrap not in peered:
        print("bubblewrap is not installed (bwrap): no row for it", file=sys.stderr)
    actions = [lambda: clone(confined), lambda: clone(plain), *peered]
    alternate(3, *actions)
    ours, none, bare, *wrapped = alternate(int(30 * scale) + 1, *actions)
    what = "`clone` to first value, confined"
    rows = [
        Row(what, "not confined", ours, none, "ms", "≤ 3× as long"),
        Row(what, "a bare fork of this process", ours, bare, "ms", "–"),
    ]
    return rows + [Row(what, "bubblewrap, Python with the same imports", ours, cold, "ms", "–") for cold in wrapped]


def prints(peers: Peers, scale: float) -> list[Row]:
    session, kernel = peers.session(), peers.kernel()
    count = 200_000
    code = f"for i in range({count}): print(i)"
    mine, theirs, lost = [], [], 0
    for _ in range(int(5 * scale) + 1):
        start = time.perf_counter()
        assert session.eval(code).out.count("\n") == count
        mine.append((time.perf_counter() - start) * 1000)
        milliseconds, lines = _kernel_prints(kernel, code)
        theirs.append(milliseconds)
        lost = max(lost, count - lines)
    name = "ipykernel" + (f" (lost {lost:,} lines)" if lost else "")
    return [Row("200,000 prints", name, statistics.median(mine), statistics.median(theirs), "ms", "≥ 2× faster")]


def _kernel_prints(kernel: BlockingKernelClient, code: str) -> tuple[float, int]:
    """Milliseconds to the last output that arrives, and its lines: under load a kernel drops output, and
    even the `idle` that should end it."""
    start = last = time.perf_counter()
    id = kernel.execute(code, store_history=False)
    lines = 0
    with contextlib.suppress(queue.Empty):
        while True:
            message = kernel.get_iopub_msg(timeout=5)
            last = time.perf_counter()
            if message["msg_type"] == "stream":
                lines += message["content"]["text"].count("\n")
            elif message["content"].get("execution_state") == "idle" and message["parent_header"].get("msg_id") == id:
                break
    while kernel.get_shell_msg(timeout=_PATIENCE)["parent_header"].get("msg_id") != id:
        pass
    return (last - start) * 1000, lines


def interrupt(peers: Peers, scale: float) -> list[Row]:
    session, kernel = peers.session(), peers.kernel()
    manager_pid = int(execute(kernel, "import os; print(os.getpid())")[2]["content"]["text"])
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(int(30 * scale) + 3):
        id = session.start("print('on')\nwhile True: pass")
        session.peer.until(id, key="out")
        start = time.perf_counter()
        session.send("interrupt", interrupt_id=id)
        session.peer.until(id)
        mine.append((time.perf_counter() - start) * 1000)
        kernel_id = kernel.execute("print('on')\nwhile True: pass")
        while kernel.get_iopub_msg(timeout=_PATIENCE)["msg_type"] != "stream":
            pass
        start = time.perf_counter()
        os.kill(manager_pid, 2)
        while kernel.get_shell_msg(timeout=_PATIENCE)["parent_header"].get("msg_id") != kernel_id:
            pass
        theirs.append((time.perf_counter() - start) * 1000)
    return [
        Row("interrupt of `while True: pass`", "ipykernel", statistics.median(mine), statistics.median(theirs),
            "ms", "≤ 10 ms"),
    ]  # fmt: skip


def completions(peers: Peers, scale: float) -> list[Row]:
    session, kernel = peers.session(), peers.kernel()
    session.ok("import os")
    execute(kernel, "import os")

    def ours() -> None:
        assert session.request("completions", code="os.pa", cursor=5).last["completions"]

    def theirs() -> None:
        kernel.complete("os.pa", 5, reply=True, timeout=_PATIENCE)

    alternate(3, ours, theirs)
    mine, other = alternate(int(50 * scale) + 1, ours, theirs)
    return [Row("completions of `os.pa`, warm", "ipykernel", mine, other, "ms", "≤ 30 ms")]


def bulk(peers: Peers, scale: float) -> list[Row]:
    peer = peers.peer()
    peer.request("hello", max_value=256 << 20)
    session, echo = Session(peer), peers.echo()
    session.ok("big = b'x' * 50_000_000")
    payload = b"x" * 50_000_000

    def ours() -> None:
        assert len(session.eval("big", data=True, print_quota=10).last["data"]) == 50_000_000

    def bare() -> None:
        echo.send(payload)
        echo.recv()

    mine, floor = alternate(int(5 * scale) + 1, ours, bare)
    session.close()
    # The echo carries the bytes both ways: half of its time is one way's.
    return [Row("50 MB of bytes, MessagePack", "websockets, one way", mine, floor / 2, "ms", "≤ 2.5× as long")]


def _pss(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def _pss_of(sessions: list[Session]) -> float:
    """Of their workers, all together."""
    return sum(_pss(one.reply["info"]["pid"]) for one in sessions)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def pss_with_init(pid: int) -> float:
    """Megabytes of a session: of its worker and its init."""
    return _pss(pid) + _pss(_parent(pid))


def memory(peers: Peers, scale: float) -> list[Row]:
    if not Path("/proc/self/smaps_rollup").exists():
        return []
    peer = peers.peer()
    sessions = [Session(peer) for _ in range(int(45 * scale) + 5)]
    pids = [session.reply["info"]["pid"] for session in sessions]
    mine = sorted(map(pss_with_init, pids))[len(pids) // 2]
    kernel = _pss(int(execute(peers.kernel(), "import os; print(os.getpid())")[2]["content"]["text"]))
    for session in sessions:
        session.close()
    return [Row(f"memory of one of {len(pids)} idle sessions (PSS)", "ipykernel", mine, kernel, "MB", "≤ 5 MB")]


ALL: dict[str, Callable[[Peers, float], list[Row]]] = {
    "round-trip": round_trip,
    "clone": clone,
    "live-clone": live_clone,
    "confinement": confinement,
    "prints": prints,
    "interrupt": interrupt,
    "completions": completions,
    "bulk": bulk,
    "memory": memory,
}
