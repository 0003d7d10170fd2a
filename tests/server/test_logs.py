"""Log lines: one a record, no secrets, and nothing that waits for a reader."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path

import pytest

from nrepl_py.server import logs

log = logging.getLogger("nrepl_py.test")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_text_is_one_readable_line(path: Path) -> None:
    writer = logs.setup("info", "text", str(path))
    log.info("eval of %s\nforged line", "x", extra={"session": "s1", "note": "a\r\nb\x1b[0m"})
    log.debug("not said")
    logs.teardown(writer)
    (line,) = path.read_text().splitlines()
    assert line.endswith("info    nrepl_py.test: eval of x\\nforged line session=s1 note=a\\r\\nb\\x1b[0m")
    assert path.stat().st_mode & 0o777 == 0o600


def test_json_is_one_object_a_line(path: Path) -> None:
    writer = logs.setup("debug", "json", str(path))
    log.warning("wörd\n", extra={"session": "s1", "port": 4, "odd": object})
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("failed")
    logs.teardown(writer)
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["level"], first["message"], first["session"], first["port"]) == ("warning", "wörd\n", "s1", 4)
    assert first["time"].endswith("Z")
    assert "ValueError: two\nlines" in second["trace"]


@pytest.mark.parametrize("style", ["text", "json"])
def test_secrets_are_redacted_wherever_they_stand(path: Path, style: str) -> None:
    writer = logs.setup("info", style, str(path), ("TOKEN-1",))  # type: ignore[arg-type]
    log.info("with %s", "TOKEN-1", extra={"header": "Bearer TOKEN-1"})
    try:
        raise ValueError("TOKEN-1")
    except ValueError:
        log.exception("failed")
    logs.teardown(writer)
    text = path.read_text()
    assert "TOKEN-1" not in text
    assert text.count("[redacted]") >= 3


def test_a_record_that_cannot_be_formatted_is_a_line_too(path: Path) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError

    writer = logs.setup("info", "text", str(path))
    log.info("%s", Unprintable())
    log.info("%d", "x")
    logs.teardown(writer)
    assert len(path.read_text().splitlines()) == 2


def test_reopen_starts_a_new_file(path: Path) -> None:
    writer = logs.setup("info", "text", str(path))
    log.info("first")
    while not path.read_text():
        pass
    path.rename(path.with_name("old"))
    writer.reopen()
    log.info("second")
    logs.teardown(writer)
    assert "first" in path.with_name("old").read_text()
    assert "second" in path.read_text()


def test_a_reader_that_does_not_read_costs_lines_not_time() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write, b"-" * 4096)
    os.set_blocking(write, True)
    writer = logs.Writer(write, bound=10)
    writer.setFormatter(logs.Lines("text", ()))
    logger = logging.getLogger("nrepl_py.blocked")
    logger.setLevel("INFO")
    logger.propagate = False
    logger.addHandler(writer)
    for _ in range(1000):
        logger.info("x" * 1000)
    logger.removeHandler(writer)
    assert writer.dropped >= 1000 - 11
    # Once somebody reads, what was lost is said.
    got = b""
    while b"log lines were dropped" not in got:
        got += os.read(read, 1 << 16)
    writer.close()
    os.close(read)
    os.close(write)


def test_a_reader_that_is_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    writer = logs.Writer(write)
    writer.emit(logging.makeLogRecord({"msg": "x"}))
    writer.close()
    os.close(write)
    assert writer.dropped == writer.lost == 1


def test_what_a_full_disk_took_is_counted_until_it_can_be_said() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    read, write = os.pipe()
    told: list[int] = []
    writer = logs.Writer(full, tell=lambda lost: told.append(lost) or f"lost {lost}")  # type: ignore[func-returns-value]
    for _ in range(5):
        writer.put("x")
    while writer.lost < 5:
        pass
    os.dup2(write, full)
    writer.put("y")
    with os.fdopen(read) as reader:
        assert [reader.readline(), reader.readline()] == ["y\n", "lost 5\n"]
        while writer.dropped:
            pass
        writer.put("z")
        assert reader.readline() == "z\n"
    writer.close()
    os.close(write)
    os.close(full)
    assert (told, writer.lost) == ([5], 5)


def test_a_torn_line_does_not_swallow_the_next() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    writer = logs.Writer(write)
    writer.put("x" * 1_000_000)
    while not writer.lost:
        pass
    os.set_blocking(write, True)
    torn = b""
    os.set_blocking(read, False)
    with suppress(BlockingIOError):
        while True:
            torn += os.read(read, 1 << 20)
    os.set_blocking(read, True)
    writer.put("whole")
    writer.close()
    os.close(write)
    with os.fdopen(read, "rb") as reader:
        assert reader.read() == b"\nwhole\n1 log lines were dropped: nobody read them\n"
    assert set(torn) == set(b"x")


def test_a_file_that_cannot_be_opened_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        logs.setup("info", "text", str(tmp_path / "missing" / "log"))


def test_teardown_puts_logging_back(path: Path) -> None:
    before = logging.getLogger("nrepl_py").handlers[:]
    logs.teardown(logs.setup("debug", "text", str(path)))
    assert logging.getLogger("nrepl_py").handlers == before
    assert logging.getLogger("nrepl_py").propagate
