"""A server in a running program: its own threads and streams stay its own, and it goes as it came."""

from __future__ import annotations

import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nrepl_py import connect, connection_file
from nrepl_py.config import ConfigError
from nrepl_py.embed import Embedded, serve_in_thread
from nrepl_py.limits import Limits

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60  # seconds before a silent process fails a test


def test_worker_processes(server: Embedded) -> None:
    with connect(server.url, server.token) as s:
        assert s.eval("import os; os.getpid()").value != str(os.getpid())
        assert s.describe()["limits"]["max-frame"] == 4 << 20


def test_signals_and_the_runtime_directory_stay_as_they_were(server: Embedded) -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert os.getpid() not in {file.pid for file in connection_file.servers()}


def test_stop_ends_its_thread_and_its_port_and_may_be_repeated() -> None:
    server = serve_in_thread(kind="local")
    port = int(server.url.rstrip("/").rpartition(":")[2])
    server.stop()
    server.stop()
    assert not server._thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_limits_and_settings_are_taken() -> None:
    with (
        serve_in_thread(kind="local", limits=Limits(max_queue_evals=3), preload=("json",)) as server,
        connect(server.url, server.token) as s,
    ):
        assert s.describe()["limits"]["max-queue-evals"] == 3
        assert s.eval("import sys; 'json' in sys.modules").value == "True"


def test_what_cannot_be_served_is_raised_here() -> None:
    before = threading.enumerate()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot listen on 127.0.0.1, port"):
            serve_in_thread(kind="local", port=taken.getsockname()[1])
    with pytest.raises(ValueError, match="kind must be 'inprocess' or 'local', not 'cloud'"):
        serve_in_thread(kind="cloud")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="prot"):
        serve_in_thread(kind="local", prot=1)
    assert threading.enumerate() == before


# Inside a program: a process of its own, since pytest and embedded sessions both want sys.stdout.


def run(code: str) -> tuple[dict[str, Any], list[str], str]:
    """Run a program; returns the report it wrote as its last line, its other lines, and its stderr."""
    ended = subprocess.run(
        [sys.executable, "-c", inspect.cleandoc(code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    *lines, report = ended.stdout.splitlines()
    return json.loads(report), lines, ended.stderr


@pytest.fixture(scope="module")
def told() -> tuple[dict[str, Any], list[str], str]:
    return run("""
        import json, sys, threading, types
        from nrepl_py import connect, serve_in_thread

        shop = types.ModuleType("shop")
        shop.prices = {"tea": 3}
        sys.modules["shop"] = shop
        streams = sys.stdin, sys.stdout, sys.stderr
        hooks = sys.displayhook, sys.excepthook

        go, done = threading.Event(), threading.Event()
        def work():
            go.wait()
            print("mine, from a thread")
            done.set()
        threading.Thread(target=work).start()

        report = {}
        with serve_in_thread() as server, connect(server.url, server.token) as s:
            report["value"] = s.eval("prices['tea'] += 1; prices", module="shop", data=True).data
            shop.go, shop.done = go, done
            result = s.eval("import sys; print('yours'); print('warned', file=sys.stderr); go.set(); done.wait()",
                            module="shop")
            report["out"], report["err"] = result.out, result.err
            print("mine")
            failed = s.eval("1 / 0")
            report["error"] = failed.error["type"]
            report["input"] = s.eval("input('? ')", on_input=lambda prompt, password: prompt + "yes").value
            report["module"] = s.eval("x = 1; __name__").value
            report["leaked"] = hasattr(sys.modules["__main__"], "x")
            code = "print('running')\\nwhile True: pass"
            for message in s.stream(code):
                if "out" in message:
                    break
            report["after"] = s.eval("'alive'").value
        report["prices"] = shop.prices
        report["streams"] = [now is then for now, then in zip((sys.stdin, sys.stdout, sys.stderr), streams)]
        report["hooks"] = [now is then for now, then in zip((sys.displayhook, sys.excepthook), hooks)]
        report["threads"] = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        print("mine again")
        print(json.dumps(report))
    """)


def test_code_runs_inside_the_program_and_its_modules(told: tuple[dict[str, Any], list[str], str]) -> None:
    report, _, _ = told
    assert report["value"] == report["prices"] == {"tea": 4}


def test_output_goes_to_the_client_and_the_programs_own_stays(told: tuple[dict[str, Any], list[str], str]) -> None:
    report, lines, stderr = told
    assert (report["out"], report["err"]) == ("yours\n", "warned\n")
    assert lines == ["mine, from a thread", "mine", "mine again"]
    assert stderr == ""


def test_errors_input_and_interrupts_as_anywhere(told: tuple[dict[str, Any], list[str], str]) -> None:
    report, _, _ = told
    assert (report["error"], report["input"], report["after"]) == ("ZeroDivisionError", "'? yes'", "'alive'")


def test_a_session_has_a_main_of_its_own(told: tuple[dict[str, Any], list[str], str]) -> None:
    report, _, _ = told
    assert (report["module"], report["leaked"]) == ("'__main__'", False)


def test_stop_restores_streams_and_hooks(told: tuple[dict[str, Any], list[str], str]) -> None:
    report, _, _ = told
    assert report["streams"] == [True, True, True]
    assert report["hooks"] == [True, True]
    assert not {"nrepl-py server", "nrepl-py client", "nrepl-py session"} & set(report["threads"])


def test_stop_leaves_no_thread(told: tuple[dict[str, Any], list[str], str]) -> None:
    report, _, _ = told
    assert report["threads"] == []


def test_a_program_that_forgets_to_stop_still_ends() -> None:
    for kind in ("inprocess", "local"):
        report, _, _ = run(f"""
            import json
            from nrepl_py import connect, serve_in_thread
            server = serve_in_thread(kind={kind!r})
            s = connect(server.url, server.token)
            print(json.dumps({{"value": s.eval("1 + 1").value}}))
        """)
        assert report == {"value": "2"}
