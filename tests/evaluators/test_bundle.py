"""What passes through the hands of sessions and is run by the server later cannot be changed by them."""

from __future__ import annotations

import os
import sys

import pytest

from nrepl_py.evaluators import bundle


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="files are sealed on Linux only, as is the sandbox")
def test_nobody_writes_to_the_bundle() -> None:
    fd = bundle.open_bundle()
    try:
        script = os.pread(fd, 1 << 24, 0)
        assert b"SOURCES" in script
        for attempt in (lambda: os.pwrite(fd, b"evil", 0), lambda: os.ftruncate(fd, 0), lambda: os.write(fd, b"x")):
            with pytest.raises(PermissionError):
                attempt()
        assert os.pread(fd, 1 << 24, 0) == script
    finally:
        os.close(fd)


def test_the_interrupt_word_can_be_written() -> None:
    fd = bundle.anonymous_file("word")
    os.pwrite(fd, b"12345678", 0)
    assert os.pread(fd, 8, 0) == b"12345678"
    os.close(fd)
