"""Which system calls a session may not make, and the filter that has the kernel refuse them.

A deny list, since what users install must work: refused is what would change the machine or the
session's own walls, and what reaches far into the kernel without being needed. The filter is classic
BPF (seccomp(2)), assembled here as nested choices. Each block of instructions ends in a return, so that
blocks compose by standing one after the other. Which calls are allowed whatever their arguments, the
kernel (from Linux 5.11 on) finds out at installation, and then runs no filter for them.
"""

from __future__ import annotations

import errno
import struct
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from . import system

Numbers = Tuple[int, Optional[int]]
"""Of a system call, on each of system.MACHINES; None where the machine does not have it."""


class Group(NamedTuple):
    """System calls that are refused with EPERM for the same reason."""

    why: str
    calls: Mapping[str, Numbers]


DENIED = (
    Group(
        "What a session sees of the file system is settled before it starts.",
        {
            "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
            "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
            "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
        },
    ),
    Group(
        # name_to_handle_at stays: it tells of a file that the caller can reach anyway, and only this opens it.
        "A handle opens a file whatever stands between: no path is walked that could be refused.",
        {"open_by_handle_at": (304, 265)},
    ),
    Group(
        "In namespaces of its own a session is root and reaches kernel code that is meant for root.",
        {"unshare": (272, 97), "setns": (308, 268)},
    ),
    Group(
        "Wide doors into the kernel that hardly a program needs. What io_uring does also passes this filter by.",
        {
            "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "lookup_dcookie": (212, 18),
            "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
        },
    ),
    Group(
        "Keyrings belong to the user, not to the session, and may hold the user's secrets.",
        {"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
    ),
    Group(
        "The kernel itself, its modules and its log.",
        {
            "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
            "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "syslog": (103, 116),
        },
    ),
    Group(
        "What all of the machine shares: its clock, name, swap, quotas, accounts, terminals and ports.",
        {
            "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
            "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162),
            "swapon": (167, 224), "swapoff": (168, 225),
            "quotactl": (179, 60), "quotactl_fd": (443, 443), "acct": (163, 89), "nfsservctl": (180, 42),
            "vhangup": (153, 58), "iopl": (172, None), "ioperm": (173, None),
        },
    ),
    Group("It tells how objects of the kernel lie in its memory.", {"kcmp": (312, 272)}),
)  # fmt: skip

TRACING = Group(
    "A debugger reads and writes another process whole: members of a session can, others' are out of its sight.",
    {
        "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
        "pidfd_getfd": (438, 438),
    },
)  # fmt: skip
"""Refused only where asked for."""

CHECKED: Mapping[str, Numbers] = {
    "clone": (56, 220), "clone3": (435, 435), "ioctl": (16, 29), "socket": (41, 198), "socketpair": (53, 199),
    "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "creat": (85, None),
    "mknod": (133, None), "mknodat": (259, 33),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
}  # fmt: skip
"""Decided by an argument, in `_checks`."""

FAMILIES = {"unix": 1, "inet": 2, "inet6": 10}
"""The address families that `program` can allow, by socket(2)'s number."""

# Linux UAPI; what is not given by machine is the same on both.
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_X32 = 0x40000000  # and above: x86-64's second set of calls, for 32-bit pointers
_CLONE_NEW = 0x7E020000  # NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET; clone(2) has no NEWTIME
_SET_UID = 0o4000  # stat(2); a directory's or group's is harmless beside it, and is copied with directories
_CREATING = 0o100 | 0o20000000  # open(2): O_CREAT, O_TMPFILE
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # ioctl_tty(2): type into a terminal; paste into a console

# struct seccomp_data {int nr; u32 arch; u64 instruction_pointer, args[6];}: both machines are little-endian.
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
# linux/bpf_common.h, and the actions of linux/seccomp.h
_LOAD, _JUMP, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_FARTHEST = 255  # instructions that a conditional jump can pass over: its distance has eight bits

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2  # prctl(2)
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter

_Block = List[bytes]
"""Instructions that end in a return, whatever way is taken through them."""


def program(*, machine: str, families: Sequence[str], ptrace: bool = True) -> bytes:
    """The filter for `machine` (of system.MACHINES), as an array of struct sock_filter.

    `families`, of FAMILIES, are what `socket` may be asked for; `ptrace` is whether processes of the session
    may trace each other. Raises ValueError for a family and system.Unsupported for a machine it does not know.
    """
    unknown = set(families) - set(FAMILIES)
    if unknown:
        raise ValueError(f"no such address family: {', '.join(sorted(unknown))} (there are {', '.join(FAMILIES)})")
    if machine not in system.MACHINES:
        raise system.Unsupported(f"there is no filter for {machine}, only for {' and '.join(system.MACHINES)}")
    column = system.MACHINES.index(machine)
    groups = DENIED if ptrace else (*DENIED, TRACING)
    cases = {numbers[column]: _refuse(errno.EPERM) for group in groups for numbers in group.calls.values()}
    cases.update((CHECKED[name][column], check) for name, check in _checks(families).items())
    choice = _choose({number: block for number, block in cases.items() if number is not None}, _allow())
    if machine == "x86_64":
        choice = _if(_AT_LEAST, _X32, _refuse(errno.ENOSYS), choice)
    ours = [_instruction(_LOAD, _NUMBER), *choice]
    # Another set of calls, such as a 32-bit program's, has other numbers: none of this would hold.
    foreign = [_instruction(_RETURN, _KILL_PROCESS)]
    return b"".join([_instruction(_LOAD, _ARCH), *_if(_EQUAL, _AUDIT_ARCH[machine], ours, foreign)])


def install(program: bytes) -> None:
    """Have the kernel filter this thread's calls, and those of all it starts, for good.

    `system.no_new_privs` comes before. Raises OSError.
    """
    import ctypes

    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog {unsigned short len; struct sock_filter *filter;}
    sock_fprog = struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(buffer))
    system.call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, sock_fprog)


def _checks(families: Sequence[str]) -> Dict[str, _Block]:
    """What decides the calls of CHECKED. Only the low half of an argument is looked at: the kernel's are 32-bit."""
    refuse_family = _refuse(errno.EAFNOSUPPORT)
    return {
        "clone": [_argument(0), *_if(_ANY_BIT, _CLONE_NEW, _refuse(errno.EPERM), _allow())],
        # Its flags are behind a pointer, where a filter cannot look. Without it libc takes clone.
        "clone3": _refuse(errno.ENOSYS),
        # What is typed into a terminal that others read too is run by them.
        "ioctl": [_argument(1), *_choose({_TIOCSTI: _refuse(errno.EPERM), _TIOCLINUX: _refuse(errno.EPERM)}, _allow())],
        "socket": [_argument(0), *_choose({FAMILIES[name]: _allow() for name in families}, refuse_family)],
        # A program with it, in a directory of the machine's, gives whoever starts it outside the rights of its owner.
        **{name: _without_set_uid(mode) for name, mode in _MODES.items()},
        **{
            name: [_argument(mode - 1), *_if(_ANY_BIT, _CREATING, _without_set_uid(mode), _allow())]
            for name, mode in _OPENS.items()
        },
        # Its mode is behind a pointer. Without it programs take openat.
        "openat2": _refuse(errno.ENOSYS),
        # A pair is connected to itself only; asyncio wakes its loop through one.
        "socketpair": [_argument(0), *_choose({FAMILIES["unix"]: _allow()}, refuse_family)],
    }


_MODES = {"creat": 1, "mknod": 1, "mknodat": 2, "chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2}
_OPENS = {"open": 2, "openat": 3}
"""Which argument is the mode of a file; with the latter it is one only where a file is made, as the one before says."""


def _without_set_uid(argument: int) -> _Block:
    return [_argument(argument), *_if(_ANY_BIT, _SET_UID, _refuse(errno.EPERM), _allow())]


def _choose(cases: Mapping[int, _Block], otherwise: _Block) -> _Block:
    """The block for the value that was loaded, found by halving: at installation the kernel looks up every number."""
    ordered = sorted(cases.items())
    if not ordered:
        return otherwise
    if len(ordered) == 1:
        value, block = ordered[0]
        return _if(_EQUAL, value, block, otherwise)
    middle = len(ordered) // 2
    low, high = dict(ordered[:middle]), dict(ordered[middle:])
    return _if(_AT_LEAST, ordered[middle][0], _choose(high, otherwise), _choose(low, otherwise))


def _if(test: int, value: int, then: _Block, otherwise: _Block) -> _Block:
    if len(then) <= _FARTHEST:
        return [_instruction(test, value, 0, len(then)), *then, *otherwise]
    return [_instruction(test, value, 1, 0), _instruction(_JUMP, len(then)), *then, *otherwise]


def _argument(index: int) -> bytes:
    return _instruction(_LOAD, _ARGUMENTS + 8 * index)


def _allow() -> _Block:
    return [_instruction(_RETURN, _ALLOW)]


def _refuse(number: int) -> _Block:
    return [_instruction(_RETURN, _ERRNO | number)]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, if_true, if_false, value)
