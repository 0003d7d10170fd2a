"""What Landlock leaves of files, ports and processes, tried in children that this kernel really confines."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import termios
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from nrepl_py.sandbox import landlock, seccomp, system
from tests.conftest import CI
from tests.sandbox import everyday
from tests.sandbox.child import USERS, on_known_machines, refusal, told
from tests.worker import remote

pytestmark = on_known_machines

Paths = Sequence[str | int | Path]

ABI = landlock.abi()
PROGRAMS = ("/usr", "/bin", "/lib", "/lib64")  # what it takes to start /bin/sh
MPTCP = 262  # IPPROTO_MPTCP, in `socket` from Python 3.10 on some systems

with_landlock = pytest.mark.usefixtures("needs_landlock")
with_each_abi = pytest.mark.parametrize("abi", range(1, min(ABI, 7) + 1) or [1])


@pytest.fixture
def needs_landlock() -> None:
    """Without Landlock the test is skipped; in CI it fails."""
    if ABI == 0:
        (pytest.fail if CI else pytest.skip)("this test needs a kernel with Landlock")


def restrict(
    read: Paths = (),
    write: Paths = (),
    execute: Paths = (),
    *,
    abi: int = ABI,
    network: bool = True,
    scoped: bool = False,
) -> None:
    lists = [[path if isinstance(path, int) else str(path) for path in paths] for paths in (read, write, execute)]
    system.no_new_privs()
    landlock.restrict(lists[0], lists[1], execute=lists[2], abi=abi, network=network, scoped=scoped)


# -- files --------------------------------------------------------------------------------------


def run_program(path: Path) -> None:
    os.waitpid(os.posix_spawn(path, [str(path)], {}), 0)


def listen_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


ATTEMPTS: dict[str, Callable[[Path], object]] = {
    "read": lambda at: (at / "file").read_bytes(),
    "list": os.listdir,
    "execute": lambda at: run_program(at / "program"),
    "write": lambda at: (at / "file").open("r+").close(),
    "truncate": lambda at: os.truncate(at / "file", 0),
    "create": lambda at: (at / "new").touch(),
    "make a directory": lambda at: (at / "new-directory").mkdir(),
    "make a symlink": lambda at: (at / "new-link").symlink_to("file"),
    "make a FIFO": lambda at: os.mkfifo(at / "new-fifo"),
    "make a socket": lambda at: listen_at(at / "new-socket"),
    "rename": lambda at: (at / "one" / "file").rename(at / "one" / "renamed"),
    "move": lambda at: (at / "one" / "other").rename(at / "two" / "moved"),
    "link": lambda at: (at / "two" / "link").hardlink_to(at / "one" / "third"),
    "remove": lambda at: (at / "removed").unlink(),
    "remove a directory": lambda at: (at / "three").rmdir(),
}
READING = {"read", "list"}
CHANGING = ATTEMPTS.keys() - READING - {"execute"}


def fill(directory: Path, user: int) -> Path:
    """What the attempts need, as that user's."""
    for name in (".", "one", "two", "three"):
        (directory / name).mkdir(exist_ok=True)
    for name in ("file", "removed", "one/file", "one/other", "one/third"):
        (directory / name).write_text("words")
    shutil.copy("/bin/true", directory / "program")
    for path in (directory, *directory.rglob("*")):
        os.chown(path, user, -1)
    return directory


def allowed(at: Path) -> set[str]:
    """Which attempts in that directory are not refused; refusals that Landlock does not give are errors."""
    found = {name: refusal(partial(attempt, at)) for name, attempt in ATTEMPTS.items()}
    assert set(found.values()) <= {None, "EACCES", "EXDEV"}, found
    return {name for name, errno in found.items() if errno is None}


@with_landlock
@with_each_abi
def test_each_list_gives_its_rights_and_nothing_else_has_any(user: int, place: Path, abi: int) -> None:
    directories = {name: fill(place / name, user) for name in ("read", "write", "execute", "work", "outside")}

    def attempt() -> dict[str, set[str]]:
        read, write, execute, work, _ = directories.values()
        restrict([read], [write, work], [*PROGRAMS, execute, work], abi=abi)
        return {name: allowed(directory) for name, directory in directories.items()}

    moves = {"move", "link"} if abi < 2 else set()  # from one directory to another
    unseen = {"truncate"} if abi < 3 else set()
    assert told(attempt, user=user) == {
        "read": READING | unseen,
        "write": READING | CHANGING - moves,
        "execute": READING | {"execute"} | unseen,
        "work": ATTEMPTS.keys() - moves,
        "outside": unseen,
    }


@with_landlock
@with_each_abi
def test_nothing_moves_out_or_in(user: int, place: Path, abi: int) -> None:
    inside, outside = fill(place / "inside", user), fill(place / "outside", user)

    def attempt() -> list[str | None]:
        restrict(write=[inside], abi=abi)
        return [
            refusal(lambda: (inside / "file").rename(outside / "moved")),
            refusal(lambda: (outside / "file").rename(inside / "moved")),
            refusal(lambda: (inside / "link").hardlink_to(outside / "file")),
            refusal(lambda: (outside / "link").hardlink_to(inside / "file")),
        ]

    assert told(attempt, user=user) == ["EACCES", "EACCES", "EXDEV", "EACCES"]


@with_landlock
def test_links_do_not_lead_out(user: int, place: Path) -> None:
    inside, outside = fill(place / "inside", user), fill(place / "outside", user)
    (inside / "link").symlink_to(outside / "file")
    (inside / "directory").symlink_to(outside)

    def attempt() -> list[str | None]:
        restrict(write=[inside])
        (inside / "made").symlink_to(outside / "file")
        names = ("link", "made", "directory/file", "../outside/file", "file")
        found = [refusal((inside / name).read_bytes) for name in names]
        descriptor = os.open(inside, os.O_RDONLY)
        return [*found, refusal(lambda: os.open("../outside/file", os.O_RDONLY, dir_fd=descriptor))]

    assert told(attempt, user=user) == ["EACCES", "EACCES", "EACCES", "EACCES", None, "EACCES"]


@with_landlock
def test_a_link_that_is_given_stands_for_where_it_leads(user: int, place: Path) -> None:
    fill(place / "inside", user)
    (place / "link").symlink_to("inside")

    def attempt() -> set[str]:
        restrict([place / "link"])
        return allowed(place / "inside")

    assert told(attempt, user=user) == READING


@with_landlock
def test_a_file_is_given_alone(user: int, place: Path) -> None:
    fill(place, user)

    def attempt() -> list[str | None]:
        restrict([place / "one" / "file"], [place / "file"], [*PROGRAMS, place / "program"])
        return [
            refusal((place / "one" / "file").read_bytes),
            refusal(lambda: (place / "one" / "file").write_text("")),
            refusal(lambda: (place / "file").write_text("")),
            refusal(lambda: run_program(place / "program")),
            refusal((place / "removed").read_bytes),
            refusal((place / "file").unlink),
        ]

    assert told(attempt, user=user) == [None, "EACCES", None, None, "EACCES", "EACCES"]


@with_landlock
def test_descriptors_are_given_and_stay_open(user: int, place: Path) -> None:
    inside = fill(place / "inside", user)

    def attempt() -> tuple[set[str], list[str]]:
        descriptor = os.open(inside, os.O_RDONLY)
        restrict([descriptor])
        return allowed(inside), os.listdir(descriptor)

    found, names = told(attempt, user=user)
    assert found == READING
    assert "file" in names


@with_landlock
def test_no_descriptor_is_left_open(user: int, place: Path) -> None:
    def attempt() -> tuple[list[str], list[str]]:
        before = os.listdir("/proc/self/fd")
        refusal(lambda: restrict(["/usr", -1], abi=ABI))
        restrict(["/usr", "/proc", place], ["/dev/null"])
        return before, os.listdir("/proc/self/fd")

    before, after = told(attempt, user=user)
    assert before == after


@with_landlock
def test_what_does_not_exist_is_passed_over(user: int, place: Path) -> None:
    inside = fill(place / "inside", user)

    def attempt() -> set[str]:
        restrict([place / "nowhere", inside / "file" / "below", inside], [place / "nowhere"])
        return allowed(inside)

    assert told(attempt, user=user) == READING


@with_landlock
def test_what_cannot_be_opened_is_told(place: Path) -> None:
    (place / "loop").symlink_to("loop")
    assert told(lambda: refusal(lambda: restrict([place / "loop"]))) == "ELOOP"
    assert told(lambda: refusal(lambda: restrict([-1]))) == "EBADF"


@with_landlock
def test_what_was_open_stays_usable(user: int, place: Path) -> None:
    fill(place, user)

    def attempt() -> tuple[str, str | None]:
        with (place / "file").open("r+") as file:
            restrict()
            return file.read(), refusal((place / "file").read_bytes)

    assert told(attempt, user=user) == ("words", "EACCES")


@with_landlock
def test_what_it_starts_is_restricted_too(user: int, place: Path) -> None:
    inside, outside = fill(place / "inside", user), fill(place / "outside", user)

    def attempt() -> tuple[str, int, str]:
        restrict([inside], ["/dev/null"], PROGRAMS)
        done = subprocess.run(
            ["/bin/sh", "-c", 'cat "$0/file"; cat "$1/file"', inside, outside], capture_output=True, text=True
        )
        return done.stdout, done.returncode, done.stderr

    out, code, err = told(attempt, user=user)
    assert (out, code) == ("words", 1)
    assert "Permission denied" in err


# -- devices ------------------------------------------------------------------------------------


@with_landlock
@with_each_abi
def test_devices_that_may_be_written_keep_working(user: int, abi: int) -> None:
    def attempt() -> tuple[list[int], int]:
        restrict(["/usr"], ["/dev/null", "/dev/ptmx", "/dev/pts"], abi=abi)
        leader, follower = os.openpty()
        with open(os.ttyname(follower), "r+b", buffering=0) as terminal:
            termios.tcsetwinsize(terminal, (24, 80))
            termios.tcgetattr(terminal)
            with open("/dev/null", "w") as null:
                return list(termios.tcgetwinsize(leader)), null.write("words")

    assert told(attempt, user=user) == ([24, 80], 5)


@with_landlock
@with_each_abi
def test_devices_that_may_only_be_read_take_no_ioctl(user: int, abi: int) -> None:
    def attempt() -> str | None:
        restrict(["/dev"], abi=abi)
        entropy = 0x80045200  # RNDGETENTCNT
        with open("/dev/urandom", "rb", buffering=0) as random:
            assert len(random.read(8)) == 8
            return refusal(lambda: fcntl.ioctl(random, entropy, bytes(4)))

    assert told(attempt, user=user) == ("EACCES" if abi >= 5 else None)


# -- ports --------------------------------------------------------------------------------------


def connect(address: tuple[str, int], protocol: int = 0) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol) as sock:
        sock.connect(address)


def bind() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))


@with_landlock
@with_each_abi
@pytest.mark.parametrize("network", [True, False])
def test_tcp_is_refused_without_network(user: int, abi: int, network: bool) -> None:
    def attempt() -> list[str | None]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            restrict(abi=abi, network=network)
            return [refusal(lambda: connect(server.getsockname())), refusal(bind)]

    assert told(attempt, user=user) == (["EACCES"] * 2 if abi >= 4 and not network else [None] * 2)


@with_landlock
def test_ways_around_the_ports_are_closed_by_the_filter(user: int) -> None:
    """UDP, fast open, another protocol, listening without a port: Landlock sees none of them."""

    def listen() -> None:
        with socket.socket() as sock:
            sock.listen()

    def attempt() -> list[str | None]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            restrict(network=False)
            seccomp.install(seccomp.program(machine=system.machine(), families=["unix"]))
            address = server.getsockname()
            return [
                refusal(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", address)),
                refusal(lambda: socket.socket().sendto(b"x", socket.MSG_FASTOPEN, address)),
                refusal(lambda: connect(address, MPTCP)),
                refusal(listen),
            ]

    assert told(attempt, user=user) == ["EAFNOSUPPORT"] * 4


# -- processes ----------------------------------------------------------------------------------


def waiting() -> tuple[int, int]:
    """A child that ends with its parent, or with the descriptor."""
    ours, kept = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(kept)
        os.read(ours, 1)
        os._exit(0)
    os.close(ours)
    return pid, kept


@with_landlock
@with_each_abi
@pytest.mark.parametrize("scoped", [True, False])
def test_signals_do_not_reach_out_of_scope(user: int, abi: int, scoped: bool) -> None:
    def attempt() -> tuple[str | None, str | None, int]:
        outside, _kept = waiting()
        watching = os.pidfd_open(outside)
        restrict(abi=abi, scoped=scoped)
        by_number = refusal(lambda: os.kill(outside, 0))
        by_descriptor = refusal(lambda: signal.pidfd_send_signal(watching, signal.SIGTERM))
        inside, _kept = waiting()
        os.kill(inside, signal.SIGKILL)
        return by_number, by_descriptor, os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1])

    expected = "EPERM" if abi >= 6 and scoped else None
    assert told(attempt, user=user) == (expected, expected, -signal.SIGKILL)


@with_landlock
@with_each_abi
@pytest.mark.parametrize("scoped", [True, False])
def test_abstract_sockets_do_not_reach_out_of_scope(user: int, abi: int, scoped: bool) -> None:
    def listening() -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        server.bind("")  # the kernel chooses an abstract name
        server.listen()
        return server

    def connect_to(server: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(server.getsockname())

    def attempt() -> tuple[str | None, str | None]:
        with listening() as outside:
            restrict(abi=abi, scoped=scoped)
            with listening() as inside:
                return refusal(lambda: connect_to(outside)), refusal(lambda: connect_to(inside))

    assert told(attempt, user=user) == ("EPERM" if abi >= 6 and scoped else None, None)


# -- the rest -----------------------------------------------------------------------------------


def test_without_landlock_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "DENIED", [seccomp.Group("as in a strict container", {"landlock": (444, 444)})])

    def attempt() -> int:
        system.no_new_privs()
        seccomp.install(seccomp.program(machine=system.machine(), families=[]))
        return landlock.abi()

    assert told(attempt) == 0
    with pytest.raises(system.Unsupported, match="Landlock"):
        landlock.restrict([], [], execute=[], abi=0, network=False, scoped=True)


def test_on_another_machine_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine="riscv64"))
    assert landlock.abi() == 0


@with_landlock
def test_without_no_new_privs_an_ordinary_user_may_not_restrict() -> None:
    def attempt() -> str | None:
        return refusal(lambda: landlock.restrict(["/"], [], execute=[], abi=ABI, network=True, scoped=False))

    assert told(attempt, user=USERS[-1]) == "EPERM"


@with_landlock
@pytest.mark.parametrize("work", everyday.ALL, ids=lambda work: work.__name__)
def test_everyday_work_goes_on(work: Callable[[], None], user: int, place: Path) -> None:
    def attempt() -> None:
        restrict(["/etc"], [place, "/dev/null", "/dev/shm"], PROGRAMS, network=False, scoped=True)
        tempfile.tempdir = str(place)
        work()

    told(attempt, user=user, before=work)


CONFINE = """
import errno, json, os, sys
sys.path.insert(0, sys.argv[1])
from sandbox import landlock, seccomp, system

def refusal(work):
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno]

system.no_new_privs()
abi = landlock.abi()
landlock.restrict(["/usr"], [], execute=[], abi=abi, network=False, scoped=True)
seccomp.install(seccomp.program(machine=system.machine(), families=[]))
print(json.dumps([abi, refusal(lambda: os.chroot("/")), refusal(lambda: os.listdir("/etc")), refusal(lambda: os.listdir("/usr"))]))
"""


@with_landlock
@remote.everywhere
def test_any_interpreter_can_be_confined(python: str) -> None:
    package = str(Path(landlock.__file__).parents[1])
    found = subprocess.check_output([python, "-I", "-S", "-c", CONFINE, package], text=True)
    assert json.loads(found) == [ABI, "EPERM", "EACCES", None]
