"""What people do in sessions and must be able to do in confined ones.

Each is run once as it is before it is run confined, so that what it imports is there: the interpreter's
own files may be out of the confined user's reach.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import sqlite3
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path


def threads() -> None:
    numbers: list[int] = []
    started = [threading.Thread(target=numbers.append, args=(number,)) for number in range(4)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    assert sorted(numbers) == [0, 1, 2, 3]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(abs, (-1, -2))) == [1, 2]


def subprocesses() -> None:
    assert subprocess.check_output(["/bin/sh", "-c", "echo out | cat"], text=True) == "out\n"


def coroutines() -> None:
    async def main() -> bytes:
        shell = await asyncio.create_subprocess_exec("/bin/sh", "-c", "echo out", stdout=subprocess.PIPE)
        out, _ = await shell.communicate()
        assert await asyncio.to_thread(lambda: 3) == 3
        return out

    assert asyncio.run(main()) == b"out\n"


def processes() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, (-1, -2, -3)) == [1, 2, 3]
        pool.close()
        pool.join()


def databases() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for where in (":memory:", str(Path(directory) / "data.db")):
            with sqlite3.connect(where) as connection:
                connection.execute("pragma journal_mode = wal")
                connection.execute("create table numbers (number)")
                connection.executemany("insert into numbers values (?)", [(1,), (2,)])
                assert connection.execute("select sum(number) from numbers").fetchone() == (3,)
            connection.close()


def temporary_files() -> None:
    with tempfile.TemporaryFile() as one, tempfile.NamedTemporaryFile() as other, tempfile.TemporaryDirectory() as path:
        one.write(b"one")
        other.write(b"other")
        (Path(path) / "one").mkdir()
        (Path(path) / "one").rename(Path(path) / "two")


def secure_contexts() -> None:
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


ALL: tuple[Callable[[], None], ...] = (
    threads, subprocesses, coroutines, processes, databases, temporary_files, secure_contexts,
)  # fmt: skip
