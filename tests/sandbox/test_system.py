"""The calls reach the kernel whole, and its refusals come back as OSError."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from nrepl_py.sandbox import system
from tests.sandbox.child import on_known_machines, told

pytestmark = on_known_machines

ROOT = Path(__file__).resolve().parents[2]
LSEEK = {"x86_64": 8, "aarch64": 62}


def test_libc_is_called_by_name() -> None:
    assert system.call("getpid") == os.getpid()
    assert system.call("access", "/", os.F_OK) == 0


def test_a_refusal_has_its_errno_and_says_what_was_refused() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        system.call("chdir", "/nonexistent")
    assert caught.value.errno == errno.ENOENT
    assert caught.value.strerror == "chdir: No such file or directory"


def test_system_calls_are_made_by_number_or_by_machine() -> None:
    with tempfile.TemporaryFile() as file:
        number = LSEEK[system.machine()]
        assert system.syscall(number, file.fileno(), 7, os.SEEK_SET) == 7
        assert system.syscall(LSEEK, file.fileno(), 0, os.SEEK_CUR) == 7
        with pytest.raises(OSError, match=f"syscall {number}: Invalid argument"):
            system.syscall(LSEEK, file.fileno(), -1, os.SEEK_SET)
        with pytest.raises(OSError, match="lseek: Invalid argument"):
            system.syscall(LSEEK, file.fileno(), -1, os.SEEK_SET, what="lseek")


def test_integers_are_passed_and_returned_whole() -> None:
    with tempfile.TemporaryFile() as file:
        assert system.syscall(LSEEK, file.fileno(), 2**40 + 1, os.SEEK_SET) == 2**40 + 1


def test_bytes_are_a_buffer_with_what_they_hold() -> None:
    ours, theirs = os.pipe()
    system.call("write", theirs, b"a\0b", 3)
    assert os.read(ours, 10) == b"a\0b"
    os.close(ours)
    os.close(theirs)


def test_none_is_null() -> None:
    with pytest.raises(OSError, match="Bad address"):
        system.call("open", None, os.O_RDONLY)


def test_a_path_is_not_cut_at_a_nul() -> None:
    with pytest.raises(ValueError, match="NUL"):
        system.call("chdir", "/\0/nonexistent")


def test_a_function_that_is_not_there_is_told() -> None:
    with pytest.raises(OSError, match="no_such_function: this C library has no such function") as caught:
        system.call("no_such_function")
    assert caught.value.errno == errno.ENOSYS


def test_no_new_privs_is_set_for_descendants() -> None:
    def set_it() -> tuple[int, int, str]:
        before = system.prctl(39)  # PR_GET_NO_NEW_PRIVS
        system.no_new_privs()
        after = system.prctl(39)
        return before, after, subprocess.check_output(["grep", "NoNewPrivs", "/proc/self/status"], text=True)

    assert told(set_it) == (0, 1, "NoNewPrivs:\t1\n")


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(OSError, match="prctl: Invalid argument"):
        system.prctl(-1)


def test_machines_that_are_not_known_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in system.MACHINES:
        monkeypatch.setattr(os, "uname", lambda name=name: SimpleNamespace(machine=name))
        assert system.machine() == name
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="riscv64"))
    with pytest.raises(system.Unsupported, match="this machine is riscv64"):
        system.machine()


def test_a_32_bit_python_is_not_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="x86_64"))
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    with pytest.raises(system.Unsupported, match="32 bits"):
        system.machine()


def test_another_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(system.Unsupported, match="darwin"):
        system.machine()


def test_without_ctypes_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    system._libc.cache_clear()
    with pytest.raises(system.Unsupported, match="ctypes"):
        system.call("getpid")


def test_importing_the_package_does_not_import_ctypes() -> None:
    code = "import sys; from nrepl_py.sandbox import landlock, seccomp, system; print('ctypes' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "False\n"
