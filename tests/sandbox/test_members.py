"""What a family's init takes for its members, what it says of their ends, and what goes with them: with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def in_process(code: str) -> Any:
    """What the code leaves in `told`, in a process of its own: this is about all children of one."""
    setup = (
        "import json, os, select, signal, time\nfrom nrepl_py.sandbox import members\nfrom nrepl_py.worker import lineage\n"
        "told = []\nfamily = members.Members(lambda pid, number, status: told.append([number, status]))\n"
        "def wait():\n    poll = select.poll(); poll.register(family.wake, select.POLLIN); poll.poll(); family.reap()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", f"{setup}{code}\nprint(json.dumps(told))"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_ends_are_told_of_members_only() -> None:
    code = """
pids = []
for end in ("os._exit(7)", "os.kill(os.getpid(), 11)", "os.abort()", "os._exit(245)", "os._exit(0)"):
    pid = os.fork()
    if pid == 0: exec(end)
    pids.append(pid)
family.numbers.update({pid: number for number, pid in enumerate(pids[:-1])})
while family.numbers: wait()
told = [[number, [os.waitstatus_to_exitcode(status), os.WIFSIGNALED(status)]] for number, status in sorted(told)]
"""
    assert in_process(code) == [[0, [7, False]], [1, [-11, True]], [2, [-6, True]], [3, [245, False]]]


def test_only_a_child_is_adopted_and_once() -> None:
    code = """
child = os.fork()
if child == 0: time.sleep(1000)
pidfd, own, other = os.pidfd_open(child), os.pidfd_open(os.getpid()), os.pidfd_open(os.getppid())
adopted = [family.adopt(fd, number) for number, fd in enumerate((own, other, family.wake, pidfd, pidfd))]
os.kill(child, 9)
while family.numbers: wait()
told = [adopted, *told, family.adopt(pidfd, 9)]  # now it is reaped
"""
    assert in_process(code) == [[False, False, False, True, False], [3, 9], False]


def test_an_orphan_is_adopted_even_where_it_has_ended() -> None:
    code = """
lineage.adopt_orphans()
read, write = os.pipe()
between = os.fork()
if between == 0:
    if os.fork() == 0:
        os.write(write, b"%d" % os.getpid()); time.sleep(1000)
    os._exit(0)
os.waitpid(between, 0)
orphan = int(os.read(read, 20))
pidfd = os.pidfd_open(orphan)
os.kill(orphan, 9)
select.select([pidfd], [], [])
adopted = family.adopt(pidfd, 5)
family.reap()
told = [adopted, *told]
"""
    assert in_process(code) == [True, [5, 9]]


def test_a_tree_ends_whole_and_nothing_else() -> None:
    code = """
def start(*more):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        for step in more: step()
        os.write(write, b"x"); time.sleep(1000)
    os.read(read, 1)
    return pid
def leader(): os.setsid(); start(); start(os.setsid)
member, spared, other = start(leader), start(leader), start()
def alive(): return {p.pid for p in members.processes() if p.alive}
mine, theirs = {p.pid for p in members.below(member)}, {p.pid for p in members.below(spared)}
known = members.below(member) + members.below(spared)
members.end_tree(member, known, theirs, family.wake)
left = alive()
told = [len(mine), len(theirs), len(mine & left), len(theirs & left), other in left, member in left]
for pid in {member, spared, other, *theirs}: members.kill(pid)
"""
    assert in_process(code) == [2, 2, 0, 2, True, True]
