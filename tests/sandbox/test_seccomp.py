"""The filter: run by a small BPF machine for every call, on both machines; and by this kernel, for real."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrepl_py.sandbox import seccomp, system
from tests.conftest import CI
from tests.sandbox import everyday
from tests.sandbox.child import USERS, Killed, on_known_machines, refusal, told

pytestmark = on_known_machines

Found = TypeVar("Found")

ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
FAMILIES = {"unix": socket.AF_UNIX, "inet": socket.AF_INET, "inet6": socket.AF_INET6}
NEW = {
    "NEWNS": 0x20000, "NEWCGROUP": 0x2000000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000, "NEWUSER": 0x10000000,
    "NEWPID": 0x20000000, "NEWNET": 0x40000000,
}  # fmt: skip
SUBSETS = list(chain.from_iterable(combinations(FAMILIES, size) for size in range(4)))
NO_SENSE = (-1,) * 6
"""Arguments with which the calls do no harm, should the filter let one through."""
LONGEST = 4096  # instructions the kernel takes: BPF_MAXINSNS

words = st.integers(0, 2**64 - 1)
arguments = st.lists(words, min_size=6, max_size=6)
machines = st.sampled_from(system.MACHINES)


def numbers(machine: str, *groups: seccomp.Group) -> dict[str, int]:
    column = system.MACHINES.index(machine)
    found = {name: both[column] for group in groups for name, both in group.calls.items()}
    return {name: number for name, number in found.items() if number is not None}


def checked(machine: str, name: str) -> int:
    number = seccomp.CHECKED[name][system.MACHINES.index(machine)]
    assert number is not None
    return number


def action(program: bytes, number: int, arch: int, args: Sequence[int] = (0,) * 6) -> int:
    """What the kernel would do: the program's return, by the rules of linux/filter.h."""
    instructions = list(struct.iter_unpack("<HBBI", program))
    data = struct.pack("<IIQ6Q", number, arch, 0, *args)
    accumulator = at = 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            assert value % 4 == 0
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:  # BPF_RET | BPF_K
            return int(value)
        elif code == 0x05:  # BPF_JMP | BPF_JA
            at += value
        else:  # BPF_JMP with BPF_JEQ, BPF_JGE, BPF_JSET; a KeyError for any other
            test = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value != 0}[code]
            at += if_true if test else if_false


def refused(program: bytes, machine: str, number: int, args: Sequence[int] = (0,) * 6) -> str | None:
    """The name of the errno that a call of that machine's gets; None where it is allowed."""
    found = action(program, number, ARCH[machine], args)
    if found == ALLOW:
        return None
    assert found & 0xFFFF0000 == ERRNO
    return errno.errorcode[found & 0xFFFF]


# -- the program, on a machine of our own --------------------------------------------------------


@pytest.mark.parametrize("ptrace", [True, False])
@pytest.mark.parametrize("machine", system.MACHINES)
def test_the_calls_of_the_table_are_refused_and_all_others_allowed(machine: str, ptrace: bool) -> None:
    program = seccomp.program(machine=machine, families=["unix"], ptrace=ptrace)
    denied = set(numbers(machine, *seccomp.DENIED, *([] if ptrace else [seccomp.TRACING])).values())
    column = system.MACHINES.index(machine)
    decided = {both[column] for both in seccomp.CHECKED.values()}
    for number in set(range(1024)) - decided:
        assert refused(program, machine, number) == ("EPERM" if number in denied else None), number


@given(machines, st.data(), arguments)
def test_a_refusal_does_not_depend_on_arguments(machine: str, data: st.DataObject, args: list[int]) -> None:
    program = seccomp.program(machine=machine, families=list(FAMILIES), ptrace=False)
    number = data.draw(st.sampled_from(list(numbers(machine, *seccomp.DENIED, seccomp.TRACING).values())))
    assert refused(program, machine, number, args) == "EPERM"


@given(machines, st.integers(1024, 0x3FFFFFFF), arguments)
def test_numbers_nobody_knows_yet_are_allowed(machine: str, number: int, args: list[int]) -> None:
    assert refused(seccomp.program(machine=machine, families=[]), machine, number, args) is None


@given(st.integers(0x40000000, 0xFFFFFFFF))
def test_calls_for_32_bit_pointers_are_not_there(number: int) -> None:
    assert refused(seccomp.program(machine="x86_64", families=list(FAMILIES)), "x86_64", number) == "ENOSYS"


@given(machines, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_another_architecture_is_killed(machine: str, arch: int, number: int) -> None:
    program = seccomp.program(machine=machine, families=list(FAMILIES))
    for foreign in {arch, *ARCH.values(), 0x40000003, 0x40000028} - {ARCH[machine]}:  # the last are their 32-bit modes
        assert action(program, number, foreign) == KILL_PROCESS


@given(machines, words)
def test_clone_makes_no_namespace(machine: str, flags: int) -> None:
    program = seccomp.program(machine=machine, families=[])
    expected = "EPERM" if any(flags & flag for flag in NEW.values()) else None
    assert refused(program, machine, checked(machine, "clone"), [flags, 0, 0, 0, 0, 0]) == expected


@pytest.mark.parametrize("machine", system.MACHINES)
def test_clone_makes_processes_and_threads(machine: str) -> None:
    program = seccomp.program(machine=machine, families=[])
    fork, vfork, thread = 0x01200011, 0x00004111, 0x003D0F00  # as glibc calls it
    for flags in (fork, vfork, thread):
        assert refused(program, machine, checked(machine, "clone"), [flags, 0, 0, 0, 0, 0]) is None
    assert refused(program, machine, checked(machine, "clone3")) == "ENOSYS"


MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1, "mknod": 1, "mknodat": 2}


@given(machines, words, words)
def test_nothing_becomes_set_uid(machine: str, mode: int, flags: int) -> None:
    program = seccomp.program(machine=machine, families=[])
    expected = "EPERM" if mode & 0o4000 else None
    column = system.MACHINES.index(machine)
    for name, at in MODES.items():
        if seccomp.CHECKED[name][column] is not None:
            args = [0, flags, flags, flags, 0, 0]
            args[at] = mode
            assert refused(program, machine, checked(machine, name), args) == expected, name
    # A mode means something only where a file is made: elsewhere whatever was in the register stands there.
    creates = bool(flags & 0o20000100)
    assert refused(program, machine, checked(machine, "openat"), [0, 0, flags, mode, 0, 0]) == (
        expected if creates else None
    )
    assert refused(program, machine, checked(machine, "openat2")) == "ENOSYS"


@given(machines, st.sampled_from(SUBSETS), words | st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_sockets_are_of_the_families_given(machine: str, families: tuple[str, ...], family: int, above: int) -> None:
    program = seccomp.program(machine=machine, families=families)
    family = above << 32 | family & 0xFFFFFFFF  # the kernel does not look there
    args = [family, 1, 0, 0, 0, 0]
    allowed = family & 0xFFFFFFFF in {FAMILIES[name] for name in families}
    assert refused(program, machine, checked(machine, "socket"), args) == (None if allowed else "EAFNOSUPPORT")
    pairs = family & 0xFFFFFFFF == socket.AF_UNIX
    assert refused(program, machine, checked(machine, "socketpair"), args) == (None if pairs else "EAFNOSUPPORT")


@pytest.mark.parametrize("families", SUBSETS)
@pytest.mark.parametrize("machine", system.MACHINES)
def test_each_family_is_allowed_alone_and_together(machine: str, families: tuple[str, ...]) -> None:
    program = seccomp.program(machine=machine, families=families)
    for number in range(64):
        allowed = number in {FAMILIES[name] for name in families}
        found = refused(program, machine, checked(machine, "socket"), [number, 1, 0, 0, 0, 0])
        assert found == (None if allowed else "EAFNOSUPPORT")


@given(machines, st.sampled_from([0x5412, 0x541C]), st.integers(0, 2**32 - 1), words)
def test_nothing_is_typed_into_terminals(machine: str, request: int, above: int, other: int) -> None:
    program = seccomp.program(machine=machine, families=[])
    ioctl = checked(machine, "ioctl")
    assert refused(program, machine, ioctl, [0, above << 32 | request, 0, 0, 0, 0]) == "EPERM"
    expected = "EPERM" if other & 0xFFFFFFFF in (0x5412, 0x541C) else None
    assert refused(program, machine, ioctl, [0, other, 0, 0, 0, 0]) == expected


@given(machines, st.sampled_from(SUBSETS), st.booleans())
def test_the_kernel_can_take_it(machine: str, families: tuple[str, ...], ptrace: bool) -> None:
    assert_well_formed(seccomp.program(machine=machine, families=families, ptrace=ptrace))


def assert_well_formed(program: bytes) -> None:
    """As the kernel's checker: every way stays inside and ends in a return."""
    instructions = list(struct.iter_unpack("<HBBI", program))
    assert 0 < len(instructions) <= LONGEST
    for at, (code, if_true, if_false, value) in enumerate(instructions):
        assert code in (0x20, 0x05, 0x15, 0x35, 0x45, 0x06)
        if code == 0x06:
            continue
        distances = [value] if code == 0x05 else [0] if code == 0x20 else [if_true, if_false]
        assert all(at + 1 + distance < len(instructions) for distance in distances)


@pytest.mark.parametrize("count", [0, 1, *range(50, 66), 128, 600])  # one of them makes a jump of 256, just too far
def test_no_table_is_too_long_to_jump_over(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    denied = {1000 + 3 * index for index in range(count)}
    group = seccomp.Group("as many as it takes", {str(number): (number, number) for number in denied})
    monkeypatch.setattr(seccomp, "DENIED", (group,))
    program = seccomp.program(machine="x86_64", families=[])
    assert_well_formed(program)
    for number in range(900, 1100 + 3 * count):
        assert refused(program, "x86_64", number) == ("EPERM" if number in denied else None)
    assert refused(program, "x86_64", checked("x86_64", "socket"), [socket.AF_UNIX, 0, 0, 0, 0, 0]) == "EAFNOSUPPORT"
    assert action(program, 0, ARCH["aarch64"]) == KILL_PROCESS


def test_what_it_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="no such address family: vsock"):
        seccomp.program(machine="x86_64", families=["unix", "vsock"])
    with pytest.raises(system.Unsupported, match="riscv64"):
        seccomp.program(machine="riscv64", families=[])


# -- the table ----------------------------------------------------------------------------------

TOO_NEW = {"open_tree_attr": 467}  # of Linux 6.15, on all machines; the libraries that are common now do not know it


@pytest.mark.parametrize("machine", system.MACHINES)
def test_the_numbers_are_those_libseccomp_knows(machine: str) -> None:
    try:
        resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    except OSError:
        (pytest.fail if CI else pytest.skip)("this test needs libseccomp.so.2")
    column = system.MACHINES.index(machine)
    table = {name: both[column] for group in (*seccomp.DENIED, seccomp.TRACING) for name, both in group.calls.items()}
    table |= {name: both[column] for name, both in seccomp.CHECKED.items()}
    found = {name: resolve(ctypes.c_uint32(ARCH[machine]), name.encode()) for name in table}
    found |= {name: number for name, number in TOO_NEW.items() if found[name] == -1}
    assert {name: number if number >= 0 else None for name, number in found.items()} == table


@pytest.mark.parametrize("machine", system.MACHINES)
def test_no_call_stands_twice(machine: str) -> None:
    groups, column = (*seccomp.DENIED, seccomp.TRACING), system.MACHINES.index(machine)
    names = [*seccomp.CHECKED, *(name for group in groups for name in group.calls)]
    assert len(names) == len(set(names))
    found = [*numbers(machine, *groups).values(), *(both[column] for both in seccomp.CHECKED.values() if both[column])]
    assert len(found) == len(set(found))


# -- the kernel ---------------------------------------------------------------------------------


def confined(work: Callable[[], Found], families: Sequence[str] = (), ptrace: bool = True) -> Callable[[], Found]:
    """What a child calls to do that work below the filter."""

    def run() -> Found:
        system.no_new_privs()
        seccomp.install(seccomp.program(machine=system.machine(), families=families, ptrace=ptrace))
        return work()

    return run


@pytest.mark.parametrize("ptrace", [True, False])
def test_each_denied_call_is_refused(user: int, ptrace: bool) -> None:
    groups = seccomp.DENIED if ptrace else (*seccomp.DENIED, seccomp.TRACING)
    denied = numbers(system.machine(), *groups)

    def attempt() -> dict[str, str | None]:
        return {name: refusal(partial(system.syscall, number, *NO_SENSE)) for name, number in denied.items()}

    assert told(confined(attempt, ptrace=ptrace), user=user) == dict.fromkeys(denied, "EPERM")


def test_it_is_the_filter_that_refuses() -> None:
    denied = numbers(system.machine(), *seccomp.DENIED, seccomp.TRACING)
    others = {name: number for name, number in denied.items() if name != "vhangup"}  # takes no arguments, and hangs up

    def attempt() -> dict[str, str | None]:
        return {name: refusal(partial(system.syscall, number, *NO_SENSE)) for name, number in others.items()}

    without = told(attempt)
    assert len([name for name, found in without.items() if found != "EPERM"]) > len(others) / 2, without


def test_namespaces_cannot_be_cloned(user: int) -> None:
    number = checked(system.machine(), "clone")

    def clone(flags: int) -> None:
        child = system.syscall(number, flags | signal.SIGCHLD, None, None, None, None)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def attempt() -> tuple[dict[str, str | None], str | None, str | None]:
        found = {name: refusal(partial(clone, flag)) for name, flag in NEW.items()}
        clone3 = refusal(lambda: system.syscall(checked(system.machine(), "clone3"), None, 0))
        return found, clone3, refusal(lambda: clone(0))

    assert told(confined(attempt), user=user) == (dict.fromkeys(NEW, "EPERM"), "ENOSYS", None)


@pytest.mark.parametrize("families", SUBSETS)
def test_families_are_refused_unless_given(user: int, families: tuple[str, ...]) -> None:
    others = {"netlink": 16, "packet": 17, "alg": 38, "vsock": 40}

    def open_socket(family: int) -> None:
        socket.socket(family).close()

    def attempt() -> dict[str, str | None]:
        one, other = socket.socketpair()
        one.sendall(b"x")
        assert other.recv(1) == b"x"
        every = FAMILIES | others
        return {name: refusal(partial(open_socket, family)) for name, family in every.items()}

    expected = {name: None if name in families else "EAFNOSUPPORT" for name in (*FAMILIES, *others)}
    assert told(confined(attempt, families), user=user) == expected


def test_a_terminal_is_not_typed_into_but_set_up(user: int) -> None:
    def attempt() -> tuple[str | None, str | None, list[int]]:
        leader, follower = os.openpty()
        typed = refusal(lambda: fcntl.ioctl(follower, termios.TIOCSTI, b"x"))
        pasted = refusal(lambda: fcntl.ioctl(follower, termios.TIOCLINUX, b"\2"))
        termios.tcsetwinsize(leader, (24, 80))
        return typed, pasted, list(termios.tcgetwinsize(follower))

    assert told(confined(attempt), user=user) == ("EPERM", "EPERM", [24, 80])


def test_tracing_within_a_session_is_possible_unless_refused(user: int) -> None:
    def attempt() -> str | None:
        return refusal(lambda: system.syscall(numbers(system.machine(), seccomp.TRACING)["ptrace"], 0, 0, 0, 0))

    assert told(confined(attempt, ptrace=True), user=user) is None
    assert told(confined(attempt, ptrace=False), user=user) == "EPERM"


def test_calls_for_32_bit_pointers_are_really_not_there(user: int) -> None:
    getpid = 0x40000000 | 39
    assert told(confined(lambda: refusal(lambda: system.syscall(getpid))), user=user) == "ENOSYS"


def getpid_of_32_bits() -> int:
    """By the gate of 32-bit programs, which is open to others too."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
    found: int = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
    return found


def test_a_foreign_call_ends_the_process(user: int) -> None:
    try:
        told(getpid_of_32_bits)
        expected = signal.SIGSYS
    except Killed as killed:  # a kernel, or a machine, without that gate
        expected = signal.Signals(killed.number)
    with pytest.raises(Killed, match=expected.name):
        told(confined(getpid_of_32_bits), user=user)


def test_what_it_starts_is_filtered_too(user: int) -> None:
    def attempt() -> tuple[str | None, str]:
        found: list[str | None] = []
        thread = threading.Thread(target=lambda: found.append(refusal(lambda: os.chroot("/"))))
        thread.start()
        thread.join()
        return found[0], subprocess.check_output(["grep", "^Seccomp:", "/proc/self/status"], text=True)

    assert told(confined(attempt), user=user) == ("EPERM", "Seccomp:\t2\n")


def test_without_no_new_privs_an_ordinary_user_may_not_install_it() -> None:
    program = seccomp.program(machine=system.machine(), families=[])
    assert told(lambda: refusal(lambda: seccomp.install(program)), user=USERS[-1]) == "EACCES"


def test_what_is_no_program_is_refused() -> None:
    def attempt() -> list[str | None]:
        system.no_new_privs()
        return [refusal(partial(seccomp.install, program)) for program in (b"", b"\xff" * 8)]

    assert told(attempt) == ["EINVAL", "EINVAL"]


@pytest.mark.parametrize("work", everyday.ALL, ids=lambda work: work.__name__)
def test_everyday_work_goes_on(work: Callable[[], None], user: int, place: Path) -> None:
    def there() -> None:
        tempfile.tempdir = str(place)
        work()

    told(confined(there, ptrace=False), user=user, before=work)


def test_servers_on_localhost_work_where_the_family_is_given(user: int) -> None:
    def attempt() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            client.sendall(b"through")
            return server.accept()[0].recv(10)

    assert told(confined(attempt, ["inet"]), user=user, before=attempt) == b"through"
