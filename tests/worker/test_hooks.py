"""The standard library's parts that a session's process patches, in each interpreter there is."""

from __future__ import annotations

import pytest

from tests.worker.remote import everywhere, interpreters, name_of, run

DEFINITIONS = """
import collections, dataclasses, enum, multiprocessing
class Point:
    made = 0
    def __init__(self, x): self.x = x
    def __eq__(self, other): return type(other) is Point and other.x == self.x
    def moved(self, by): return Point(self.x + by)
class Color(enum.Enum):
    RED = 1
@dataclasses.dataclass
class Pair:
    left: int
    right: int = 0
Named = collections.namedtuple("Named", "a b")
class Oops(Exception): pass
class Stateful:
    count = 0
class Child(multiprocessing.Process):
    def __init__(self, queue): super().__init__(); self.queue = queue
    def run(self): self.queue.put(Point(7))
offset = 10
model = None
def helper(n): return n + offset
def double(p): return Point(helper(p.x) * 2)
def init(value):
    global model
    model = value
def use(n): return (model, n)
def identity(x): return x
def fail(x): raise Oops(x)
def is_point(p): return isinstance(p, Point)
def count(): Stateful.count += 1; return Stateful
def into(queue, x): queue.put(identity(x))
def nested(method):
    with multiprocessing.get_context(method).Pool(1) as pool: return pool.map(double, [Point(1)])
"""
START = f"""
import multiprocessing
path = list(sys.path)
install()
session({DEFINITIONS!r})
"""
METHODS = pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
# PyPy's own ProcessPoolExecutor only knows fork: with the others it fails in a plain interpreter too.
EXECUTORS = [
    pytest.param(python, method, id=f"{name_of(python)}-{method}")
    for python in interpreters()
    for method in ("fork", "spawn", "forkserver")
    if method == "fork" or not name_of(python).startswith("pypy")
]


@everywhere
@METHODS
def test_a_pool_and_what_the_session_defined(python: str, method: str) -> None:
    script = f"""{START}
with multiprocessing.get_context({method!r}).Pool(2, initializer=main.init, initargs=("given",)) as pool:
    points = pool.map(main.double, [main.Point(1), main.Point(2)])
    things = [main.Point, main.helper, main.Color.RED, main.Pair(1), main.Named(1, 2)]
    same = pool.map(main.identity, things)
    result = [
        [type(point) is main.Point for point in points], [point.x for point in points],
        [a is b for a, b in zip(same[:3], things)], same[3:] == things[3:],
        pool.map(main.use, [1, 2]), pool.map(main.is_point, [main.Point(1)]), pool.apply(main.Point(1).moved, (2,)).x,
        pool.apply(main.count) is main.Stateful, main.Stateful.count, main.model,
        path == sys.path, type(main.__builtins__).__name__,
    ]
    try:
        pool.apply(main.fail, (1,))
    except main.Oops as error:
        result.append(error.args)
"""
    used = [["given", 1], ["given", 2]]
    expected = [[True] * 2, [22, 24], [True] * 3, True, used, [True], 3, True, 0, None, True, "module", [1]]
    assert run(python, script) == expected


@pytest.mark.parametrize(("python", "method"), EXECUTORS)
def test_an_executor(python: str, method: str) -> None:
    script = f"""{START}
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context({method!r})) as pool:
    (point,) = pool.map(main.double, [main.Point(3)])
    result = [type(point) is main.Point, point.x]
    try:
        pool.submit(main.fail, 1).result()
    except main.Oops as error:
        result.append(error.args)
"""
    assert run(python, script) == [True, 26, [1]]


@everywhere
@METHODS
def test_a_process_and_a_queue(python: str, method: str) -> None:
    script = f"""{START}
context = multiprocessing.get_context({method!r})
queue = context.Queue()
Process = type("Process", (main.Child, context.Process), {{"__module__": "__main__"}})
main.Process = Process
children = [context.Process(target=main.into, args=(queue, main.Point(5))), Process(queue)]
result = []
for child in children:
    child.start()
    point = queue.get(timeout=60)
    child.join(60)
    result.append([type(point) is main.Point, point.x, child.exitcode])
"""
    assert run(python, script) == [[True, 5, 0], [True, 7, 0]]


@everywhere
def test_a_redefinition_reaches_a_spawned_pool(python: str) -> None:
    script = f"""{START}
with multiprocessing.get_context("spawn").Pool(1) as pool:
    result = [pool.apply(main.double, (main.Point(1),)).x]
    session("def helper(n): return n + 100\\ndef double(p): return helper(p.x)\\nclass Point(Point): pass")
    result += [pool.apply(main.double, (main.Point(1),)), pool.apply(main.is_point, (main.Point(1),))]
    result.append(type(pool.apply(main.identity, (main.Point(1),))) is main.Point)
    session("square = lambda n: n * n\\ndef make(k):\\n    def inner(n): return n * k\\n    return inner")
    result += [pool.apply(main.square, (3,)), pool.apply(main.make(4), (3,))]
"""
    assert run(python, script) == [22, 101, True, True, 9, 12]


@everywhere
def test_children_of_children(python: str) -> None:
    script = f"""{START}
queue = multiprocessing.get_context("spawn").Queue()
session("def outer(queue): queue.put(nested('spawn')[0])")
child = multiprocessing.get_context("spawn").Process(target=main.outer, args=(queue,))
child.start()
result = [queue.get(timeout=60).x, type(main.Point(1)) is main.Point]
child.join(60)
"""
    assert run(python, script) == [22, True]


@everywhere
def test_a_fork_pickles_by_name_until_a_child_is_spawned(python: str) -> None:
    script = f"""{START}
from multiprocessing.reduction import ForkingPickler
session("huge = b'x' * 1000000\\ndef weigh(n): return len(huge)")
by_name = len(bytes(ForkingPickler.dumps(main.weigh)))
with multiprocessing.get_context("spawn").Pool(1) as pool:
    weight = pool.apply(main.weigh, (1,))
result = [by_name < 100, weight, len(bytes(ForkingPickler.dumps(main.weigh))) > 1000000]
"""
    assert run(python, script) == [True, 1000000, True]


def test_without_cloudpickle_all_is_as_it_was() -> None:
    script = f"lender.paths.clear()\n{START}\nfrom multiprocessing import reduction, spawn\n" + (
        "spawn.get_preparation_data('x')\n"
        "result = [bytes(reduction.ForkingPickler.dumps(main.helper)).count(b'helper'), 'cloudpickle' in sys.modules]"
    )
    assert run(interpreters()[0], script) == [1, False]


@everywhere
def test_children_are_those_of_a_plain_interpreter(python: str) -> None:
    script = """
        import subprocess
        before = subprocess._args_from_interpreter_flags()
        install()
        after = subprocess._args_from_interpreter_flags()
        result = ["-I" in before, [flag for flag in after if flag in ("-I", "-S", "-E", "-s", "-P")]]
    """
    assert run(python, script) == [True, []]


@everywhere
@pytest.mark.parametrize("early", [True, False], ids=["imported before", "imported after"])
def test_the_source_of_classes(python: str, early: bool) -> None:
    script = f"""
{"import inspect" if early else ""}
install()
session("class Other:\\n    x = 1\\n", "/project/other.py")
session("x = 1\\nclass Plain:\\n    'Doc.'\\n    value = 1\\n\\ny = 2\\n", "/project/plain.py")
session('''
import dataclasses
class Methods:
    def method(self): pass
class Outer:
    class Inner:
        value = 2
@dataclasses.dataclass
class Data:
    field: int
class Properties:
    @property
    def one(self): return 1
    @staticmethod
    def two(): pass
''', "untitled:1")
import inspect
names = ("Plain", "Methods", "Outer", "Data", "Properties")
result = {{name: inspect.getsource(getattr(main, name)) for name in names}}
result["Inner"] = inspect.getsource(main.Outer.Inner)
result["files"] = [inspect.getfile(main.Other), inspect.getfile(main.Methods), inspect.getsourcefile(main.Plain)]
session("class Plain:\\n    value = 3\\n", "newer")
result["newest"] = inspect.getsource(main.Plain)
result["function"] = inspect.getsource(main.Methods.method)
result["standard"] = inspect.getfile(inspect.Parameter).endswith("inspect.py")
for case in (int, 3, type("Made", (), {{"__module__": "__main__"}})):
    try:
        inspect.getfile(case)
    except (TypeError, OSError) as error:
        result[str(case)] = True
"""
    found = run(python, script)
    assert found["Plain"] == "class Plain:\n    'Doc.'\n    value = 1\n"
    assert found["Methods"] == "class Methods:\n    def method(self): pass\n"
    assert found["Outer"] == "class Outer:\n    class Inner:\n        value = 2\n"
    assert found["Inner"] == "    class Inner:\n        value = 2\n"
    assert found["Data"].endswith("class Data:\n    field: int\n")
    assert found["Properties"].startswith("class Properties:\n    @property")
    assert found["files"] == ["/project/other.py", "untitled:1", "/project/plain.py"]
    assert found["newest"] == "class Plain:\n    value = 3\n"
    assert found["function"] == "    def method(self): pass\n"
    assert [found[key] for key in ("standard", "<class 'int'>", "3", "<class '__main__.Made'>")] == [True] * 4


@everywhere
def test_passwords_backends_and_warnings(python: str) -> None:
    script = """
        import os, warnings
        os.environ.pop("MPLBACKEND", None)
        def touch(module): module.touched = module.__loader__ is module.__spec__.loader
        install(extra={"colorsys": touch})
        import colorsys, getpass
        with warnings.catch_warnings(record=True) as seen:
            warnings.warn("This process (pid=7) is multi-threaded, use of fork() may lead to deadlocks in the child.",
                          DeprecationWarning)
            warnings.warn("another", UserWarning)
        result = [getpass.getpass(), getpass.getpass("PIN: ", stream=None), os.environ["MPLBACKEND"],
                  [str(warning.message) for warning in seen], colorsys.touched, type(colorsys.__loader__).__name__]
    """
    assert run(python, script) == ["asked Password: ", "asked PIN: ", "Agg", ["another"], True, "SourceFileLoader"]


def test_a_backend_that_was_chosen_stays() -> None:
    script = "import os\ninstall()\nresult = os.environ['MPLBACKEND']"
    assert run(interpreters()[-1], script, env={"MPLBACKEND": "svg"}) == "svg"


@everywhere
def test_a_child_cannot_tell_but_by_what_it_needs(python: str) -> None:
    script = f"""{START}
session('''
def look():
    import sys
    return [sys.flags.isolated, sys.flags.no_site, sys.path, [n for n in sys.modules if "nrepl" in n]]
''')
with multiprocessing.get_context("spawn").Pool(1) as pool:
    isolated, no_site, seen, modules = pool.apply(main.look)
result = [isolated, no_site, seen == path, modules]
"""
    assert run(python, script) == [0, 0, True, ["_nrepl_children"]]
