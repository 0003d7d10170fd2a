"""Workers that lie about their clones, or misuse what clones share: in the tiers that are a boundary, as root and as an
ordinary user. Whoever lies has no clone, and nobody else notices."""

from __future__ import annotations

import os

import pytest

from tests.contract.test_live_clone import copy, ended, pid_of
from tests.hostile.harness import Attack
from tests.hostile.places import places

PLACES = places("sandbox", "landlock")
LIMITS = {"start_seconds": 5, "stop_grace_seconds": 0.3, "max_family_sessions": 4, "session_memory_bytes": 1 << 29}
MIB = 1 << 20


TAKE_OVER = """
import json, os, socket, struct, sys, time
module = sys.modules['_nrepl_py.worker.clone']
honest, kept = module.clone, []
def born(birth, **more):
    birth.send(json.dumps(dict({'say': 'born', 'threads': [], 'children': 0, 'sockets': 0, 'files': 0}, **more)).encode())
def clone(worker, descriptors, force):
    birth = socket.socket(fileno=os.dup(descriptors[-1]))
    lie(worker, descriptors, birth)
    birth.close()
    for fd in descriptors: os.close(fd)
module.clone = clone
"""
"""Code in a session can do as it likes with the code of its worker."""

LIES = {
    "never": "def lie(worker, descriptors, birth): kept.extend(map(os.dup, descriptors))",
    "nothing": "def lie(worker, descriptors, birth): pass",
    "garbage": "def lie(worker, descriptors, birth): birth.send(b'\\xff' * 100)",
    "too much": "def lie(worker, descriptors, birth): birth.send(b' ' * 100_000)",
    "itself": "def lie(worker, descriptors, birth): born(birth)",
    "its child": """
def lie(worker, descriptors, birth):
    worker.host.copying = True
    if os.fork() == 0:
        born(birth); time.sleep(1000)
""",
    "its daemon": """
def lie(worker, descriptors, birth):
    worker.host.copying = True
    if os.fork() == 0:
        if os.fork(): os._exit(0)
        while os.getppid() == os.getpid(): pass
        time.sleep(0.2); born(birth); time.sleep(1000)
    os.wait()
""",
    "its daemon, with garbage": """
def lie(worker, descriptors, birth):
    worker.host.copying = True
    if os.fork() == 0:
        if os.fork(): os._exit(0)
        time.sleep(0.2); born(birth); birth.recv(1)
        os.write(descriptors[0], b'\\x7f' * 1000); time.sleep(1000)
    os.wait()
""",
    "another's pid": """
def lie(worker, descriptors, birth):
    for pid in (1, os.getppid()):
        rights = struct.pack('3i', pid, os.getuid(), os.getgid())
        try: birth.sendmsg([b'{"say": "born"}'], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, rights)])
        except OSError: pass
""",
    "dead": """
def lie(worker, descriptors, birth):
    worker.host.copying = True
    if os.fork() == 0:
        if os.fork(): os._exit(0)
        time.sleep(0.1); born(birth); os._exit(0)
    os.wait()
""",
}


@pytest.mark.once
@pytest.mark.parametrize("lie", LIES)
def test_lies_about_a_clone(attack: Attack, lie: str) -> None:
    session, sibling = attack.session(), attack.session()
    session.ok(f"{TAKE_OVER}{LIES[lie]}\nx = 'kept'")
    id = session.peer.send("clone", session=session.id, force=True)
    attack.innocent_is_served()
    reply = session.peer.until(id).last
    assert reply["status"] == ["error", "start-failed", "done"], reply
    # It goes on, and so do its clones once it is honest.
    session.ok("for fd in kept: os.close(fd)\nmodule.clone = honest")
    assert copy(session, force=True).ok("x").value == "'kept'"
    assert sibling.ok("1").value == "1"


def test_one_that_speaks_twice_is_one(attack: Attack) -> None:
    session = attack.session()
    session.ok(
        "import json, sys\nmodule = sys.modules['_nrepl_py.worker.clone']\nsay = module._say\n"
        "def twice(birth, what, **words):\n    say(birth, what, **words)\n    say(birth, what, **words)\nmodule._say = twice"
    )
    clones = [copy(session) for _ in range(2)]
    attack.innocent_is_served()
    assert [clone.ok("1").value for clone in clones] == ["1", "1"]


def test_what_it_says_of_itself_is_not_believed(attack: Attack) -> None:
    session = attack.session()
    session.ok(
        "import sys\nmodule = sys.modules['_nrepl_py.worker.clone']\nmodule._about = lambda: {'pid': 1, 'python': 'x',"
        " 'sandbox': {'tier': 'strict'}, 'copied': {'threads': ['lie']}}"
    )
    info = copy(session).reply["info"]
    attack.innocent_is_served()
    assert info["pid"] != 1
    assert info["sandbox"]["tier"] == attack.tier
    assert info["left-behind"]["threads"] == []


def test_members_end_one_by_one(attack: Attack) -> None:
    """Also here, and as an ordinary user: each death is its own, and told as what it was."""
    session = attack.session()
    session.ok("x = 'kept'; import subprocess")
    closed, killed, last = copy(session), copy(session), copy(session)
    child = int(closed.ok("child = subprocess.Popen(['sleep', '1000']); 1").value or 0)
    assert child
    wait = ended(pid_of(closed))
    closed.close()
    wait()
    attack.innocent_is_served()
    cause = killed.eval("import ctypes; ctypes.string_at(0)").last["cause"]
    assert (cause["kind"], cause["signal"]) == ("signal", "SIGSEGV")
    session.close()
    assert last.ok("x").value == "'kept'"
    assert last.eval("import os; os._exit(9)").last["cause"] == {"kind": "exit", "code": 9}


def test_a_family_has_a_bound(attack: Attack) -> None:
    session = attack.session()
    for _ in range(3):
        copy(session)
    refused = session.peer.request("clone", session=session.id).last
    attack.innocent_is_served()
    assert refused["status"] == ["error", "quota-exceeded", "done"]
    assert attack.session().ok("1").value == "1"


def test_a_flood_of_clones(attack: Attack) -> None:
    """Asked for all at once: as many as there may be are made, each of the others is answered."""
    session = attack.session()
    session.ok("x = 'kept'")
    ids = [session.peer.send("clone", session=session.id) for _ in range(50)]
    attack.innocent_is_served()
    replies = [session.peer.until(id).last for id in ids]
    made = [reply for reply in replies if reply["status"] == ["done"]]
    refused = {reply["status"][1] for reply in replies if "error" in reply["status"]}
    assert len(made) == 3
    assert refused == {"quota-exceeded"}
    assert session.ok("x").value == "'kept'"


def test_members_that_attack_each_other(attack: Attack) -> None:
    """They are one family, and nobody else's: what they do to each other is told, and ends there."""
    session = attack.session()
    clone = copy(session)
    inner = int(session.ok("import os; os.getpid()").value or 0)
    clone.eval(f"import os; os.kill({inner}, 9)")
    event = session.peer.wait_for(session=session.id, event="died")
    attack.innocent_is_served()
    assert event["cause"] == {"kind": "signal", "signal": "SIGKILL"}
    assert clone.ok("1").value == "1"
    for signal in (9, 19):
        assert clone.ok(f"try: os.kill(1, {signal})\nexcept OSError: pass\n2").value == "2"
    assert clone.ok("3").value == "3"


def test_memory_is_one_bound_for_all(attack: Attack) -> None:
    """Where the system can: the one that takes most ends, and the others go on."""
    session = attack.session()
    session.ok("x = 'kept'")
    clone = copy(session)
    if clone.reply["info"]["sandbox"]["memory-bound"] != "family":
        attack.innocent_is_served()
        return  # each process has a bound of its own, which test_sandbox looks at
    code = "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        x = bytearray(200 << 20); time.sleep(1000)\ntime.sleep(1000)"
    hog = clone.start(code)
    attack.innocent_is_served()
    last = clone.peer.until(hog).last
    assert "session-died" in last["status"], last
    assert session.ok("x").value == "'kept'"


def test_nothing_is_left_of_a_family(attack: Attack) -> None:
    """The end of the attack looks for what is left: here, for families that were cut off in all ways."""
    for how in ("close", "exit", "kill"):
        session = attack.session()
        clones = [copy(session), copy(session)]
        for one in (session, *clones):
            one.ok("import subprocess; child = subprocess.Popen(['sleep', '1000'], start_new_session=False)")
        if how == "close":
            for one in (clones[0], session, clones[1]):
                one.close()
        elif how == "exit":
            for one in (session, *clones):
                one.eval("import os; os._exit(1)")
        else:
            for one in (session, *clones):
                os.kill(pid_of(one), 9)
    attack.innocent_is_served()


def test_the_router_does_not_wait_for_a_stopped_member(attack: Attack) -> None:
    session = attack.session()
    clone = copy(session)
    id = clone.start("import os\nprint('now', flush=True)\nos.kill(os.getpid(), 19)")
    clone.peer.until(id, key="out")
    attack.innocent_is_served()
    wait = ended(pid_of(clone))
    clone.close()
    wait()
    assert session.ok("1").value == "1"
