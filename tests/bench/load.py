"""`python -m tests.bench.load [--sessions N] [--soak SECONDS] [NAME …]`: one machine, many sessions.

A report like `python -m tests.bench`, of what takes minutes: hundreds of live sessions, slow readers, and a
soak of random closes, kills, disconnects and interrupts after which nothing may be left. Exits 1 where the
soak leaves something behind or output was lost, since those are no matter of the machine's speed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import os
import queue
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nrepl_py.client.aio import Client, Session, connect
from nrepl_py.errors import NreplError
from tests.bench.measures import Peers, execute, pss_with_init, start_kernel
from tests.contract.driver import Peer
from tests.contract.driver import Session as RawSession

CONNECTIONS = 10  # that share the sessions
AT_ONCE = 50  # sessions that evaluate at the same time
LINES = 60_000  # flushed one by one, to a client that does not read
PAUSE_SECONDS = 25
KERNELS = 20
SLOW_READERS = 10
SETTLE_SECONDS = 15  # for what was closed to be gone

say = print


class Times:
    """How long something took, each time; shown as percentiles in ms."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def of(self, what: Awaitable[Any]) -> Any:
        start = time.perf_counter()
        try:
            return await what
        finally:
            self.taken.append((time.perf_counter() - start) * 1000)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.taken)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def __str__(self) -> str:
        return f"p50 {self.percentile(50):.2f} ms, p99 {self.percentile(99):.2f} ms ({len(self.taken)} times)"


class Server:
    """Our server, seen from outside."""

    def __init__(self, peers: Peers) -> None:
        self.address = peers.address()
        self.pid = int(self.address["pid"])

    def connect(self) -> Any:
        return connect(self.address["url"], self.address["token"])

    def peer(self) -> Peer:
        return Peer.open(url=self.address["url"], token=self.address["token"], codec="msgpack")

    def cpu(self) -> float:
        """Seconds of processor time the router has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        """Resident memory of the router."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def holds(self) -> dict[str, int]:
        """What it could leak, by kind."""
        parents = {int(path.name): _parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
        family = {self.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        groups = itertools.chain.from_iterable(
            Path("/sys/fs/cgroup").glob(f"{deep}nrepl-py*/{self.pid}-*") for deep in ("", "*/")
        )
        return {
            "processes": len(family) - 1,
            "descriptors": len(os.listdir(f"/proc/{self.pid}/fd")),
            "mounts": len(Path(f"/proc/{self.pid}/mounts").read_text().splitlines()),
            "control groups": sum(1 for _ in groups),
            # Not in the runtime directory, where other servers have their connection files.
            "temporary files": len(list(Path(tempfile.gettempdir()).glob("nrepl-py-*[!0-9]*/*"))),
        }


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # ended just now
        return 0


@contextlib.asynccontextmanager
async def sessions(server: Server, count: int) -> Any:
    """So many, shared by a few connections, and how long each took to its first value."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.connect()) for _ in range(min(CONNECTIONS, count))]
        times = Times()

        async def start(client: Client) -> Session:
            session = await client.clone()
            await session.eval("1+1", check=True)
            return session

        made = [await times.of(start(clients[number % len(clients)])) for number in range(count)]
        yield made, times
        for session in made:
            with contextlib.suppress(NreplError):
                await session.close()


async def many(peers: Peers, options: argparse.Namespace) -> bool:
    server = Server(peers)
    async with sessions(server, options.sessions) as (made, clones):
        say(f"{len(made)} live sessions; `clone` to first value: {clones}")
        pids = [session.info["pid"] for session in made]
        say(f"memory of each (PSS, median): {statistics.median(map(pss_with_init, pids)):.2f} MB")
        evals, cpu, start = Times(), server.cpu(), time.perf_counter()

        async def evaluate(session: Session) -> None:
            for number in range(40):
                await evals.of(session.eval(f"sum(range({number} * 100))", check=True))

        await asyncio.gather(*map(evaluate, random.sample(made, min(AT_ONCE, len(made)))))
        seconds = time.perf_counter() - start
        say(f"{AT_ONCE} of them evaluating at once: {evals}; {len(evals.taken) / seconds:.0f} evals/s")
        say(f"router: {(server.cpu() - cpu) / seconds * 100:.0f} % of one core, {server.megabytes():.0f} MB")
    return True


async def throughput(peers: Peers, options: argparse.Namespace) -> bool:
    count = 100

    async def evaluate(session: Session) -> None:
        for _ in range(count):
            await session.eval("1+1", check=True)

    async with sessions(Server(peers), KERNELS) as (made, _):
        start = time.perf_counter()
        await asyncio.gather(*map(evaluate, made))
        ours = count * KERNELS / (time.perf_counter() - start)
    with contextlib.ExitStack() as stack:
        kernels = [start_kernel(stack) for _ in range(KERNELS)]
        threads = [
            threading.Thread(target=lambda kernel=kernel: [execute(kernel, "1+1") for _ in range(count)])
            for kernel in kernels
        ]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        theirs = count * KERNELS / (time.perf_counter() - start)
    say(f"{KERNELS} sessions at once: {ours:.0f} evals/s; {KERNELS} ipykernels {theirs:.0f}: {ours / theirs:.1f}×")
    return True


async def paused(peers: Peers, options: argparse.Namespace) -> bool:
    """A client that reads nothing for a while."""
    code = f"for i in range({LINES}): print(i, flush=True)"
    kernel = peers.kernel()
    peer = Server(peers).peer()
    session = RawSession(peer)
    id = session.start(code)
    kernel.execute(code, store_history=False)
    await asyncio.sleep(PAUSE_SECONDS)
    ours = await asyncio.to_thread(lambda: peer.until(id).out.count("\n"))
    theirs = 0
    with contextlib.suppress(queue.Empty):
        while True:
            message = kernel.get_iopub_msg(timeout=5)
            if message["msg_type"] == "stream":
                theirs += message["content"]["text"].count("\n")
    session.close()
    peer.close()
    say(f"of {LINES:,} flushed lines, to a client paused for {PAUSE_SECONDS} s: {ours:,}; ipykernel {theirs:,}")
    return ours == LINES


async def slow(peers: Peers, options: argparse.Namespace) -> bool:
    """Clients that never read, of a session that prints for ever, beside one that works."""
    server = Server(peers)
    async with sessions(server, 1) as ((witness,), _):
        idle, beside = Times(), Times()
        before = server.megabytes()

        async def watch(times: Times) -> float:
            """Evals at a person's pace, the same each time: a machine that rests meanwhile is slow to wake."""
            peak = 0.0
            for _ in range(1000):
                await times.of(witness.eval("1+1", check=True))
                peak = max(peak, server.megabytes())
                await asyncio.sleep(0.005)
            return peak

        await watch(idle)
        with contextlib.ExitStack() as stack:
            readers = [server.peer() for _ in range(SLOW_READERS)]
            for peer in readers:
                stack.callback(peer.close)
            printing = RawSession(readers[0])
            stack.callback(_close, server, printing.id)
            for peer in readers[1:]:
                peer.request("attach", session=printing.id)
            printing.start("while True: print('x' * 200)")
            peak = await watch(beside)
    say(f"{SLOW_READERS} clients that never read: the router grows by {peak - before:.0f} MB (goal < 64)")
    ratio = beside.percentile(99) / idle.percentile(99)
    say(f"another session meanwhile: {beside}; idle {idle}; p99 {ratio:.1f}× (goal ≤ 3×)")
    return True


def _close(server: Server, session: str) -> None:
    peer = server.peer()
    peer.request("close", session=session)
    peer.close()


async def soak(peers: Peers, options: argparse.Namespace) -> bool:
    """Whatever may happen to sessions, at random, and then nothing left of it."""
    server = Server(peers)
    async with sessions(server, 20):
        pass  # what is made once and kept is there
    before, megabytes = await _settled(server, None), server.megabytes()
    until, done = time.monotonic() + options.soak, dict.fromkeys(_DEEDS, 0)
    tasks = [_live(server, random.Random(seed), until, done) for seed in range(8)]
    middle = _after(options.soak / 2, server.megabytes)
    *_, halfway = await asyncio.gather(*tasks, middle)
    say(f"soak of {options.soak:.0f} s: " + ", ".join(f"{count} × {deed}" for deed, count in done.items()))
    after = await _settled(server, before)
    left = {kind: after[kind] - before[kind] for kind in before if after[kind] > before[kind]}
    say(
        f"left behind: {left or 'nothing'}; router {megabytes:.0f} MB, {halfway:.0f} halfway, {server.megabytes():.0f} after"
    )
    return not left


async def _after(seconds: float, what: Callable[[], float]) -> float:
    await asyncio.sleep(seconds)
    return what()


async def _settled(server: Server, before: dict[str, int] | None) -> dict[str, int]:
    """What the server holds once nothing more goes away."""
    for _ in range(SETTLE_SECONDS * 5):
        holds = server.holds()
        if before is not None and all(holds[kind] <= before[kind] for kind in before):
            break
        await asyncio.sleep(0.2)  # nothing tells of an orphan's end
    return holds


async def _live(server: Server, chance: random.Random, until: float, done: dict[str, int]) -> None:
    """One user's day: connections that come and go, and sessions that are treated badly."""
    while time.monotonic() < until:
        with contextlib.suppress(NreplError):
            async with server.connect() as client:
                session = await client.clone()
                try:
                    for _ in range(chance.randrange(1, 6)):
                        deed = chance.choice(list(_DEEDS))
                        done[deed] += 1
                        await _DEEDS[deed](server, client, session)
                finally:  # a session that died stays until it is closed, or nobody has used it for a day
                    with contextlib.suppress(NreplError):
                        await session.close()


async def _evaluate(server: Server, client: Client, session: Session) -> None:
    assert (await session.eval("x = 1; x + 1")).ok


async def _interrupt(server: Server, client: Client, session: Session) -> None:
    stream = session.stream("import subprocess\nsubprocess.Popen(['sleep', '60'])\nwhile True: pass")
    async for message in stream:
        if "started" in message:
            await stream.interrupt()


async def _kill(server: Server, client: Client, session: Session) -> None:
    pid = int((await session.eval("1+1")).ok and session.info["pid"])
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(NreplError):
        await session.eval("2")


async def _disconnect(server: Server, client: Client, session: Session) -> None:
    """Break a connection in the middle of an eval, and close the session from another."""
    session = await client.clone()

    def leave() -> None:
        peer = server.peer()
        code = "import time\nwhile True: print('still here'); time.sleep(0.01)"
        peer.until(peer.send("eval", session=session.id, code=code), key="out")
        peer.socket.socket.shutdown(socket.SHUT_RDWR)
        peer.close()

    await asyncio.to_thread(leave)
    await session.close()


async def _transient(server: Server, client: Client, session: Session) -> None:
    assert (await client.eval("import tempfile; tempfile.mkdtemp(); 1 + 1")).value == "2"


async def _roll_back(server: Server, client: Client, session: Session) -> None:
    copy = await session.clone()
    await session.eval("x = 2")
    await session.restart(copy)
    await copy.close()


_DEEDS: dict[str, Callable[[Server, Client, Session], Awaitable[None]]] = {
    "eval": _evaluate,
    "interrupt": _interrupt,
    "kill": _kill,
    "disconnect": _disconnect,
    "transient": _transient,
    "rollback": _roll_back,
}

ALL: dict[str, Callable[[Peers, argparse.Namespace], Awaitable[bool]]] = {
    "many": many,
    "throughput": throughput,
    "paused": paused,
    "slow": slow,
    "soak": soak,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; all by default")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--soak", type=float, default=600, metavar="SECONDS")
    options = parser.parse_args()
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # connections are broken on purpose
    well = True
    with Peers() as peers:
        for name in options.names or ALL:
            say(f"-- {name}", flush=True)
            well = asyncio.run(ALL[name](peers, options)) and well
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
