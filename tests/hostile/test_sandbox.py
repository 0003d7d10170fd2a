"""What a session must not be able to do, tried: in the tiers that promise it, as root and as an ordinary user.

Each attack is code of a session's that gives the outcome as a word: the name of an errno, or of an exception.
Where `landlock` does not hold a line, the test says what happens there instead, and the run's end lists it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nrepl_py.server.main import MAX_DESCRIPTORS
from tests.contract.driver import Session
from tests.hostile.harness import PATIENCE, Attack, Victim, another
from tests.hostile.places import places

PLACES = places("sandbox", "landlock")
LIMITS = {
    "session_memory_bytes": 1 << 30, "session_processes": 64, "session_tmp_bytes": 8 << 20,
    "session_open_files": 256, "session_file_bytes": 1 << 30,
}  # fmt: skip
HELPERS = """
import ctypes, errno, os, socket, sys
def outcome(attempt, *arguments, **named):
    try:
        found = attempt(*arguments, **named)
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    except BaseException as error:
        return type(error).__name__
    return "done" if found is None or found is True else found
libc = ctypes.CDLL(None, use_errno=True)
def syscall(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) == -1:
        raise OSError(ctypes.get_errno(), "")
"""


def tried(attack: Attack, code: str, session: Session | None = None) -> Any:
    """What the attack's last expression gives, while an innocent session is served."""
    session = session or attack.session()
    session.ok(HELPERS)
    run = session.eval(code, data=True)
    attack.innocent_is_served()
    assert "data" in run.last, run.messages
    return run.last["data"]


HIDDEN = {"ENOENT", "EACCES"}


def test_secrets_of_the_user_and_of_the_server(attack: Attack) -> None:
    home = attack.victim.directory / "home"
    (home / "id_secret").write_text("secret")
    for path in (home / "id_secret", attack.victim.directory / "connection.json", "/etc/shadow", "/root/.profile"):
        assert tried(attack, f"outcome(open, {str(path)!r})") in HIDDEN, path
    assert tried(attack, f"outcome(os.listdir, {str(home)!r})") in HIDDEN


def test_another_sessions_files(attack: Attack) -> None:
    other = attack.session()
    other.ok("import os, tempfile\npath = os.path.join(tempfile.gettempdir(), 'mine')\nopen(path, 'w').write('x')")
    path = other.ok("path").value or ""
    assert tried(attack, f"outcome(open, {path})") in HIDDEN
    home = other.ok("open(os.path.expanduser('~/mine'), 'w').write('x')\nos.path.expanduser('~/mine')").value or ""
    assert tried(attack, f"outcome(open, {home})") in HIDDEN


@pytest.mark.parametrize("path", ["/usr/x", "/etc/x", "/x", "/dev/x", sys.prefix + "/x", os.__file__])
def test_writing_outside_the_workspace(attack: Attack, path: str) -> None:
    assert tried(attack, f"outcome(open, {path!r}, 'w')") in {"EROFS", "EACCES", "ENOENT"}


def test_links_pipes_and_devices_offered_to_the_server(attack: Attack) -> None:
    work = attack.victim.directory / "work"
    session = attack.session()
    session.ok(f"import os\nos.chdir({str(work)!r})\nos.symlink('../home', 'link'); os.mkfifo('pipe')")
    try:
        for name in ("link", "pipe", "none"):
            reply = attack.peer().request("clone", cwd=str(work / name)).last
            assert "start-failed" in reply["status"], reply
            reply = attack.peer().request("clone", sandbox={"write": [str(work / name)]}).last
            assert "start-failed" in reply["status"], reply
        attack.innocent_is_served()
    finally:
        for name in ("link", "pipe"):
            (work / name).unlink()


def test_killing_and_tracing_others(attack: Attack) -> None:
    sibling = attack.session()
    for pid in (attack.victim.process.pid, sibling.reply["info"]["pid"]):
        for action in (f"os.kill, {pid}, 9", f"syscall, 101, 16, {pid}, 0, 0"):  # PTRACE_ATTACH
            found = tried(attack, f"outcome({action})")
            assert found in {"ESRCH", "EPERM", "EACCES"}, (pid, action)
    assert sibling.ok("1 + 1").value == "2"


@pytest.mark.parametrize("name", ["environ", "mem", "fd"])
def test_the_first_process(attack: Attack, name: str) -> None:
    code = f"outcome({'os.readlink' if name == 'fd' else 'lambda p: open(p).read(1)'}, '/proc/1/{name}{'/0' * (name == 'fd')}')"
    assert tried(attack, code) in {"EACCES", "EPERM", "EIO"}


def test_no_secret_in_what_processes_show(attack: Attack) -> None:
    code = """
import glob
shown = b""
for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
    try:
        shown += open(path, "rb").read()
    except OSError:
        pass
shown
"""
    shown = tried(attack, code)
    assert attack.victim.token.encode() not in bytes(str(shown), "utf-8")
    assert b"NREPL_PY_SESSION_MEMORY_BYTES" not in bytes(str(shown), "utf-8")  # of the server's environment


BOMB = """
import time
children = []
def bomb():
    for _ in range({most}):
        pid = os.fork()
        if pid == 0:
            time.sleep(1000)
            os._exit(0)
        children.append(pid)
found = outcome(bomb)
[os.kill(pid, 9) for pid in children], [os.waitpid(pid, 0) for pid in children]
found
"""


def bounded_as_one(session: Session) -> bool:
    """Whether a control group bounds it."""
    return bool(session.reply["info"]["sandbox"]["memory-bound"] == "session")


def test_a_fork_bomb(attack: Attack) -> None:
    session = attack.session()
    if attack.tier == "sandbox" or bounded_as_one(session):
        assert tried(attack, BOMB.format(most=10**6), session) == "EAGAIN"
    else:
        # Without a user namespace the kernel counts all processes of the user.
        attack.not_held("the number of its processes, where there are no control groups")
        assert tried(attack, BOMB.format(most=2 * LIMITS["session_processes"]), session) == "done"


def test_a_memory_bomb(attack: Attack) -> None:
    assert tried(attack, "outcome(bytearray, 2 << 30)") == "MemoryError"


def test_filling_the_disk(attack: Attack) -> None:
    places = ("~", "/tmp", "/dev/shm") if attack.tier == "sandbox" else ("~",)
    write = "with open(os.path.expanduser({!r} + '/f'), 'wb') as file: file.write(bytes(9 << 20))"
    for place in places:
        session = attack.session()
        if attack.tier == "sandbox":
            code = f"def fill():\n    {write.format(place)}\noutcome(fill)"
            assert tried(attack, code, session) == "ENOSPC", place
            many = f"(open(os.path.expanduser(f'{place}/{{n}}'), 'w').close() for n in range(10**6))"
            assert tried(attack, f"outcome(lambda: [0 for _ in {many}])", session) == "ENOSPC", place
        else:
            # Its private directory is one of the machine's disk; a file in it is bounded as any other.
            attack.not_held(
                "the size of its private directory, which is a disk's, and of /dev/shm, which is the machine's"
            )
            code = f"def fill():\n    {write.format(place)}\noutcome(fill)"
            assert tried(attack, code, session) == "done"
        session.close()


def test_a_sparse_file(attack: Attack) -> None:
    code = "import signal\nwith open('sparse', 'w') as file: found = outcome(os.truncate, 'sparse', 1 << 40)\n"
    assert tried(attack, code + "os.unlink('sparse')\nfound") == "EFBIG"


def test_using_up_descriptors(attack: Attack) -> None:
    code = "kept = []\nfound = outcome(lambda: [kept.append(open('/dev/null')) for _ in range(10**6)])\nkept.clear()\nfound"
    assert tried(attack, code) == "EMFILE"


def test_the_network(attack: Attack) -> None:
    port = attack.victim.port
    refused = {"ECONNREFUSED", "ENETUNREACH", "EAFNOSUPPORT", "EACCES", "gaierror", "EHOSTUNREACH", "EPERM"}
    for code in (
        f"socket.create_connection, ('127.0.0.1', {port}), 5",
        "socket.create_connection, ('169.254.169.254', 80), 5",
        "lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))",
        "socket.getaddrinfo, 'example.org', 80",
        "socket.create_connection, ('example.org', 80), 5",
    ):
        assert tried(attack, f"outcome({code})") in refused, code


def test_the_servers_own_socket(attack: Attack) -> None:
    code = f"outcome(lambda: socket.socket(socket.AF_UNIX).connect({attack.victim.unix!r}))"
    assert tried(attack, code) in {"ENOENT", "EACCES", "EAFNOSUPPORT"}


@pytest.mark.parametrize("family", ["AF_VSOCK", "AF_NETLINK", "AF_PACKET", "AF_ALG"])
def test_other_socket_families(attack: Attack, family: str) -> None:
    assert tried(attack, f"outcome(socket.socket, socket.{family}, socket.SOCK_RAW)") in {"EAFNOSUPPORT", "EPERM"}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("unshare", "272, 0x10000000"), ("mount", "165, 0, 0, 0, 0, 0"), ("bpf", "321, 0, 0, 0"), ("setns", "308, 0, 0"),
        ("io_uring", "425, 1, 0"), ("perf", "298, 0, 0, -1, -1, 0"), ("userfaultfd", "323, 0"),
        ("keyctl", "250, 0, 0"), ("clone", "56, 0x10000011, 0, 0, 0, 0"),
    ],
)  # fmt: skip
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of another machine's system calls")
def test_dangerous_system_calls(attack: Attack, name: str, code: str) -> None:
    assert tried(attack, f"outcome(syscall, {code})") == "EPERM"


def test_more_rights(attack: Attack) -> None:
    session = attack.session()
    assert tried(attack, "open('/proc/self/status').read().count('CapEff:\\t0000000000000000')", session) == 1
    assert tried(attack, "open('/proc/self/status').read().count('NoNewPrivs:\\t1')", session) == 1
    raised = "import resource\noutcome(resource.setrlimit, resource.RLIMIT_NOFILE, (100000, 100000))"
    assert tried(attack, raised, session) in {"ValueError", "EPERM"}
    if session.ok("os.getuid()").value != "0":
        assert tried(attack, "outcome(os.setuid, 0)", session) in {"EPERM", "EINVAL"}  # 0 is nobody there


def test_programs_that_lend_their_owners_rights(attack: Attack) -> None:
    """None can be made, for others to run outside; and those there are lend nothing."""
    work = attack.victim.directory / "work"
    session = attack.session()
    path = str(work / "lent")
    made = (
        f"os.chmod, {path!r}, 0o4755", f"lambda: os.close(os.open({path + '2'!r}, os.O_CREAT | os.O_WRONLY, 0o4755))",
        f"os.mknod, {path + '2'!r}, 0o104755", f"lambda: os.fchmod(os.open({path!r}, 0), 0o6755)",
    )  # fmt: skip
    session.ok(f"open({path!r}, 'w').close(); import os; os.chmod({path!r}, 0o755)")
    for attempt in made:
        assert tried(attack, f"outcome({attempt})", session) == "EPERM", attempt
    assert not [file for file in work.iterdir() if file.stat().st_mode & 0o4000]
    lends = "/usr/bin/mount", "/usr/bin/su", "/usr/bin/newgrp", "/usr/bin/passwd"
    (program, *_) = [path for path in lends if os.path.exists(path) and os.stat(path).st_mode & 0o4000]
    code = f"import subprocess, time\np = subprocess.Popen(['{program}'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)"
    status = "open(f'/proc/{p.pid}/status').read().split('Uid:')[1].split('\\n')[0].split()"
    ids = tried(
        attack, f"{code}\nfound = {status}\np.kill(); p.communicate()\n[set(found) == {{str(os.getuid())}}][0]", session
    )
    assert ids is True
    (work / "lent").unlink()


def running(command: bytes) -> list[str]:
    """Processes of the machine with this command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cmdline").read_bytes() == command:
                found.append(process.name)
    return found


DAEMON = """
import os, subprocess, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3): os.dup2(null, fd)
        os.execvp("sleep", ["sleep", {seconds!r}])
    os._exit(0)
"""


def test_a_daemon_ends_with_its_session(attack: Attack) -> None:
    session = attack.session()
    session.ok(DAEMON.format(seconds="1000.75"))
    until(lambda: len(running(b"sleep\x001000.75\0")) == 1)
    attack.innocent_is_served()
    session.close()
    if attack.tier == "landlock" and not bounded_as_one(session):
        attack.not_held("a daemon that left its process group, where there are no control groups")
        assert len(running(b"sleep\x001000.75\0")) == 1
        os.kill(int(running(b"sleep\x001000.75\0")[0]), signal.SIGKILL)
    until(lambda: not running(b"sleep\x001000.75\0"))


def test_nothing_survives_the_router(victim: Victim) -> None:
    directory = Path(tempfile.mkdtemp())
    other = Victim(directory, tier=victim.tier, user=victim.user)
    sessions = [Session(other.peer()) for _ in range(3)]
    pids = [session.reply["info"]["pid"] for session in sessions]
    for session in sessions:
        session.start("import subprocess\nsubprocess.Popen(['sleep', '1000.5'])\nwhile True: pass")
    until(lambda: len(running(b"sleep\x001000.5\0")) == 3)
    other.process.kill()
    until(lambda: not running(b"sleep\x001000.5\0") and not any(Path(f"/proc/{pid}").exists() for pid in pids))
    other.process.communicate()
    for session in sessions:
        session.peer.close()
    shutil.rmtree(directory)


def test_mounts_of_the_machine_stay_as_they_are(attack: Attack) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    assert tried(attack, "1") == 1
    assert Path("/proc/self/mountinfo").read_text() == before


def until(test: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not test():
        assert time.monotonic() < deadline
        time.sleep(0.01)


WORKS = {
    "threads": "import threading\nt = threading.Thread(target=int); t.start(); t.join()",
    "asyncio": "import asyncio\nasyncio.run(asyncio.sleep(0))",
    "subprocess": "import subprocess\nassert subprocess.run(['ls', '/usr'], capture_output=True).returncode == 0",
    "shell": "import os\nassert os.system('true') == 0",
    "pool": "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as p: assert p.map(abs, [-1]) == [1]",
    "spawn": "import multiprocessing\nwith multiprocessing.get_context('spawn').Pool(1) as p: assert p.map(abs, [-1]) == [1]",
    "forkserver": "import multiprocessing\nwith multiprocessing.get_context('forkserver').Pool(1) as p: assert p.map(abs, [-1]) == [1]",
    "manager": "import multiprocessing\nwith multiprocessing.Manager() as m: assert list(m.list([1])) == [1]",
    "executor": "import concurrent.futures\nwith concurrent.futures.ProcessPoolExecutor(1) as e: assert e.submit(abs, -1).result() == 1",
    "sqlite3": "import sqlite3\nwith sqlite3.connect('a.db') as c: c.execute('create table if not exists t(a)')",
    "shared memory": "from multiprocessing import shared_memory\ns = shared_memory.SharedMemory(create=True, size=9); s.close(); s.unlink()",
    "tempfile": "import tempfile\nwith tempfile.TemporaryDirectory() as d: open(d + '/f', 'w').close()",
    "zoneinfo": "import zoneinfo\nzoneinfo.ZoneInfo('Europe/Berlin')",
    "ssl": "import ssl\nssl.create_default_context()",
    "home": "import os\nopen(os.path.expanduser('~/f'), 'w').close()",
    "terminal": "import os, pty\nos.openpty()",
    "localhost": "import socket\ns = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())",
    "unix socket": "import socket\nsocket.socket(socket.AF_UNIX).bind('/tmp/s')",
    "compiler": "import subprocess\nopen('/tmp/a.c', 'w').write('int main() {return 42;}')\nassert subprocess.run(['cc', '-o', '/tmp/a', '/tmp/a.c']).returncode == 0\nassert subprocess.run('/tmp/a').returncode == 42".replace(
        "/tmp", "{home}"
    ),
    "udp": "import socket\na = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.bind(('127.0.0.1', 0)); a.sendto(b'x', a.getsockname()); assert a.recv(1) == b'x'",
    "git": "import subprocess\nassert subprocess.run(['git', 'init', '-q', '.'], capture_output=True).returncode == 0",
}
NOT_IN_LANDLOCK = {
    "forkserver",
    "manager",
    "localhost",
    "udp",
    "unix socket",
}  # no socket of its own, and none of the machine's


@pytest.mark.parametrize("what", WORKS)
def test_what_users_do_goes_on_working(victim: Victim, what: str) -> None:
    peer = victim.peer()
    session = Session(peer)
    home = session.ok("import os\nprint(os.path.expanduser('~'))").out.strip()
    run = session.eval(WORKS[what].replace("{home}", home))
    fails = victim.tier == "landlock" and what in NOT_IN_LANDLOCK
    assert ("eval-error" in run.status) is fails, run.messages
    session.close()
    peer.close()


def test_an_interpreter_of_a_sessions_making(attack: Attack) -> None:
    """It runs confined or not at all, and its links show nothing."""
    home = attack.victim.directory / "home"
    (home / "keys").mkdir(exist_ok=True)
    (home / "keys" / "id").write_text("secret")
    work = attack.victim.directory / "work"
    session = attack.session()
    made = f"""
import os
os.makedirs("{work}/fake/bin", exist_ok=True)
with open("{work}/fake/bin/python", "w") as file:
    file.write("#!/bin/sh\\ntouch {home}/outside\\ncat {home}/keys/id >&2\\nexit 3\\n")
os.chmod("{work}/fake/bin/python", 0o755)
if not os.path.lexists("{work}/fake/bin/linked"):
    os.symlink("{home}/keys/python", "{work}/fake/bin/linked")
"""
    session.ok(made)
    for name in ("python", "linked"):
        reply = attack.peer().request("clone", python=f"{work}/fake/bin/{name}").last
        assert "start-failed" in reply["status"], reply
        assert "secret" not in reply["message"]
    attack.innocent_is_served()
    assert not (home / "outside").exists()
    shutil.rmtree(work / "fake")


MANY = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        kept = b'x' * (60 << 20)
        time.sleep({seconds})
        os._exit(0)
"""


def test_a_memory_bomb_of_many_processes(attack: Attack) -> None:
    """None goes beyond the bound by itself; together they are the end of their session, and of no other."""
    session = attack.session(limits={"memory-bytes": 200 << 20})
    if not bounded_as_one(session):
        attack.not_held("the memory of a session's processes together, where there are no control groups")
        assert tried(attack, MANY.format(seconds=0) + "[os.wait()[1] for _ in range(8)]", session) == [0] * 8
        return
    last = session.peer.until(session.start(MANY.format(seconds=1000) + "time.sleep(1000)")).last
    assert {"session-died", "oom"} <= set(last["status"]), last
    assert last["cause"]["kind"] == "oom"
    attack.innocent_is_served()
    assert session.ok("1 + 1").value == "2"


def test_memory_that_no_process_owns(attack: Attack) -> None:
    """Files in memory count as the session's too, where anything does."""
    session = attack.session(limits={"memory-bytes": 200 << 20})
    code = "fd = os.memfd_create('x')\nfor at in range(0, 300 << 20, 1 << 20): os.pwrite(fd, b'x' * (1 << 20), at)\nos.close(fd)"
    id = session.start(f"import os\n{code}")
    attack.innocent_is_served()
    last = session.peer.until(id).last
    if bounded_as_one(session):
        assert {"session-died", "oom"} <= set(last["status"]), last
    else:
        attack.not_held("memory shared between processes (memfd, mmap), where there are no control groups")
        assert last["status"] == ["done"]


def test_processor_time_without_end(attack: Attack) -> None:
    session = attack.session(limits={"cpu-seconds": 1})
    id = session.start("while True: pass")
    attack.innocent_is_served()
    last = session.peer.until(id).last
    assert last["status"] == ["session-died", "cpu-limit", "done"]
    assert last["cause"]["kind"] == "limit"
    assert session.ok("1 + 1").value == "2"


def test_processor_time_without_end_and_a_deaf_ear(attack: Attack) -> None:
    """Who does not want to hear of the bound is killed one second later."""
    session = attack.session(limits={"cpu-seconds": 1})
    id = session.start("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass")
    attack.innocent_is_served()
    last = session.peer.until(id).last
    assert last["cause"]["signal"] == "SIGKILL"
    assert session.ok("1 + 1").value == "2"


def test_who_goes_first_when_there_is_no_memory_left(attack: Attack) -> None:
    """Sessions before zygotes, and those before the server."""
    session = attack.session()

    def rank(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    server = attack.victim.process.pid
    zygotes = [
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        if parent(int(process.name)) == server and b"python" in (process / "cmdline").read_bytes()
    ]
    assert zygotes
    attack.innocent_is_served()
    assert rank(server) < min(map(rank, zygotes)) <= max(map(rank, zygotes)) < rank(session.reply["info"]["pid"])


def parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return -1


def test_the_end_of_a_zygote(victim: Victim) -> None:
    """Its sessions are told by whom they died; the next ones have a new zygote, without anybody's help."""
    with another(victim, LIMITS) as (other, witness):
        peer = other.peer()
        kept = Session(peer, sandbox={"workspace": "fresh"})  # of another zygote than the witness'
        first = set(_children(other.process.pid))
        doomed = Session(peer, sandbox={"workspace": "fresh", "read": [str(other.directory / "work")]})
        kept.ok("kept = 1")
        (zygote,) = set(_children(other.process.pid)) - first
        id = doomed.start("import time\ntime.sleep(1000)")
        peer.until(id, key="started")
        os.kill(zygote, signal.SIGKILL)
        last = peer.until(id).last
        assert last["status"] == ["session-died", "done"]
        assert (last["cause"]["kind"], last["cause"]["by"]) == ("killed", "zygote")
        witness.answers()
        assert kept.ok("kept").value == "1"
        assert doomed.ok("1 + 1").value == "2"
        peer.close()


def _children(pid: int) -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent(int(path.name)) == pid]


def test_a_user_for_each_session(victim: Victim) -> None:
    """As root: a session that writes to nothing of the machine's has a user id of its own."""
    with another(victim, LIMITS) as (other, witness):
        peer = other.peer()
        sessions = [Session(peer, sandbox={"workspace": "fresh"}) for _ in range(2)]
        users = [os.stat(f"/proc/{session.reply['info']['pid']}").st_uid for session in sessions]
        witness.answers()
        if victim.tier == "sandbox" and victim.user is None and os.geteuid() == 0:
            assert len({0, *users}) == 3
        else:
            owner = os.geteuid() if victim.user is None else victim.user.uid
            assert users == [owner, owner]
        peer.close()


def test_output_without_end(attack: Attack) -> None:
    session = attack.session(limits={"output-bytes": 1 << 16})
    run = session.eval("while True: print('x' * 99)")
    attack.innocent_is_served()
    assert {"output-limit", "interrupted"} <= run.status, run.last
    assert 0 < len(run.out) <= 1 << 16
    assert session.ok("1 + 1").value == "2"


def test_time_without_end(attack: Attack) -> None:
    session = attack.session(limits={"eval-seconds": 0.1})
    run = session.eval("while True: pass", timeout=1000)
    attack.innocent_is_served()
    assert {"timeout", "interrupted"} <= run.status, run.last


def test_what_a_session_inherits(attack: Attack) -> None:
    """Its own channels and nothing of its zygote's, through which it could reach its siblings or what starts later."""
    code = """
found = []
for fd in os.listdir("/proc/self/fd"):
    try:
        found.append(os.readlink("/proc/self/fd/" + fd).partition(":[")[0])
    except OSError:
        pass  # that of the listing
sorted(found)
"""
    word = "/memfd:nrepl-py-interrupt (deleted)"
    assert tried(attack, code) == ["/dev/null", word, "pipe", "pipe", "socket", "socket"]


def test_an_environment_that_starts_programs(victim: Victim) -> None:
    """What the loader is told holds for the confined interpreter only, and not for what confines it."""
    with another(victim, LIMITS) as (other, witness):
        home, peer = other.directory / "home", other.peer()
        for name, value in (("LD_DEBUG_OUTPUT", str(home / "outside")), ("LD_PRELOAD", str(home / "no.so"))):
            assert Session(peer, env={"LD_DEBUG": "libs", name: value}).ok("1 + 1").value == "2"
        witness.answers()
        assert not [path for path in home.iterdir() if path.name.startswith("outside")]
        peer.close()


def test_what_another_principal_may_name(victim: Victim) -> None:
    """Nothing of the owner's: no files, interpreters or variables, and it cannot find out what there is."""
    with another(victim, LIMITS) as (other, witness):
        work, home, peer = other.directory / "work", other.directory / "home", other.peer(token=other.guest())
        for place in (work, home):
            (place / "secret").write_text("secret")
        named: tuple[dict[str, Any], ...] = (
            {"cwd": str(work)}, {"cwd": str(home / "missing")}, {"inherit-env": ["XDG_RUNTIME_DIR"]},
            {"python": str(work / "python")}, {"python": str(work / "missing")},
            *(
                {"sandbox": {key: [str(path)]}}
                for key in ("read", "write")
                for path in (work, home, home / "secret", home / "missing", "/", "/proc")
            ),
        )  # fmt: skip
        for fields in named:
            assert peer.request("clone", **fields).last["status"] == ["error", "forbidden", "done"], fields
        session = Session(peer)
        session.ok(HELPERS)
        for path in (home / "secret", work / "secret", other.log, other.directory / "tokens.json"):
            assert session.eval(f"outcome(open, {str(path)!r})", data=True).last["data"] in HIDDEN, path
        assert session.ok("open('mine', 'w').write('x')").value == "1"
        witness.answers()
        peer.close()


def test_another_principals_sessions(attack: Attack) -> None:
    """It has no way to learn that they are there, by any op."""
    peer = attack.peer(token=attack.victim.guest())
    fields: dict[str, dict[str, Any]] = {
        "eval": {"code": "1"}, "load-file": {"code": "1"}, "interrupt": {}, "stdin": {"stdin": "x"}, "close": {},
        "completions": {"code": "o", "cursor": 1}, "signature": {"code": "o(", "cursor": 2}, "lookup": {"sym": "o"},
        "is-complete": {"code": "1"},
    }  # fmt: skip
    for op, needed in fields.items():
        for session in (attack.witness.session.id, "0" * 16):
            assert peer.request(op, session=session, **needed).last["status"][:2] == ["error", "unknown-session"], op
    assert peer.request("ls-sessions").last["sessions"] == []
    assert peer.request("ls-sessions", all=True).last["status"][:2] == ["error", "forbidden"]
    attack.innocent_is_served()


def test_abstract_sockets_of_the_machine(victim: Victim) -> None:
    """They have no path, so only the network keeps them apart; who shares the machine's is kept from them anyway."""
    with socket.socket(socket.AF_UNIX) as outside, another(victim, LIMITS, "--network", "host") as (other, witness):
        name = b"\0nrepl-" + secrets.token_hex(8).encode()
        outside.bind(name)
        outside.listen()
        peer = other.peer()
        session = Session(peer)
        assert session.reply["info"]["sandbox"]["network"] == "host"
        session.ok(HELPERS)
        found = session.eval(f"outcome(lambda: socket.socket(socket.AF_UNIX).connect({name!r}))", data=True).last[
            "data"
        ]
        assert found in {"EPERM", "EACCES", "EAFNOSUPPORT", "ECONNREFUSED"}, found
        assert (
            session.eval(f"outcome(socket.create_connection, ('127.0.0.1', {other.port}), 5) is not None").value
            == "True"
        )
        own = "import socket\none = socket.socket(socket.AF_UNIX); one.bind('\\0own'); one.listen()\nsocket.socket(socket.AF_UNIX).connect('\\0own')"
        assert ("eval-error" in session.eval(own).status) is (victim.tier == "landlock")
        witness.answers()
        peer.close()


def test_devices_of_the_machine(attack: Attack) -> None:
    """Disks, memory, virtual machines, microphones: none can be opened, whoever may outside."""
    known = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "stdout", "stderr"}
    nodes = [str(path) for path in Path("/dev").rglob("*") if path.is_char_device() or path.is_block_device()]
    nodes = [node for node in nodes if node.split("/")[2] not in {*known, "pts", "shm"}]
    assert nodes
    code = f"[node for node in {nodes!r} if outcome(os.open, node, 0) not in ('ENOENT', 'EACCES', 'EPERM', 'ENXIO')]"
    assert tried(attack, code) == []


def test_more_paths_than_can_be_told(victim: Victim) -> None:
    """Refused, and nobody's end: they go to a zygote in one message."""
    with another(victim, LIMITS) as (other, witness):
        deep = other.directory / "work" / "/".join(["d" * 200] * 15)
        deep.mkdir(parents=True)
        for number in range(64):
            (deep / str(number)).mkdir()
        for path in (other.directory / "work").rglob("*") if other.user else ():
            os.chown(path, other.user.uid, other.user.gid)  # type: ignore[union-attr]
        peer = other.peer()
        reply = peer.request("clone", sandbox={"read": [str(deep / str(number)) for number in range(64)]}).last
        if victim.tier == "landlock":
            assert reply["status"] == ["error", "start-failed", "done"], reply
            assert "too many and too long" in reply["message"]
        witness.answers()
        assert Session(peer).ok("1").value == "1"
        peer.close()


def test_the_server_takes_all_descriptors_it_may(attack: Attack) -> None:
    """A session takes six of them; and has a bound of its own."""

    def bounds(pid: int) -> list[str]:
        text = Path(f"/proc/{pid}/limits").read_text()
        return next(line.split()[3:5] for line in text.splitlines() if line.startswith("Max open files"))

    session = attack.session()
    soft, hard = bounds(attack.victim.process.pid)
    attack.innocent_is_served()
    assert int(soft) == min(int(hard), MAX_DESCRIPTORS)
    assert bounds(session.reply["info"]["pid"]) == [str(LIMITS["session_open_files"])] * 2


def test_an_environment_that_eats_memory_as_it_starts(victim: Victim) -> None:
    """What a virtual environment runs at its start may be a session's work: it has no more than a session."""
    with another(victim, LIMITS) as (other, witness):
        peer, work = other.peer(), other.directory / "work"
        venv = f"import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'venv', '--without-pip', {str(work / 'v')!r}], check=True)"
        site = work / "v" / "lib" / f"python3.{sys.version_info[1]}" / "site-packages" / "eat.pth"
        session = Session(peer)
        session.ok(
            f"{venv}\nopen({str(site)!r}, 'w').write('import sys; eaten = bytearray(2 << 30); open(1, chr(119)).write(chr(33))')"
        )
        reply = peer.request("clone", python=str(work / "v" / "bin" / "python")).last
        # `site` says what went wrong there and goes on.
        assert "new-session" in reply, reply
        session = Session(peer, python=str(work / "v" / "bin" / "python"))
        assert session.ok("import sys\n'eaten' in vars(sys.modules['site'])").value == "False"
        witness.answers()
        peer.close()
