"""`nrepl-py`: the commands and their options.

Exit codes: 0; 1 where something failed (the reason on stderr, in one line); 2 for a usage error; 130
after Ctrl-C; and what `eval` says of its own. `--help` and `--version` load nothing but this file.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from nrepl_py.version import __version__

TIERS = ("none", "process", "landlock", "sandbox", "strict")
"""As `ops.TIERS` has them, which this file does not load."""

INTERRUPTED = 130
"""What a shell reports for a program ended by Ctrl-C: 128 + SIGINT."""

BROKEN_PIPE = 141
"""What a shell reports for a program whose reader went away: 128 + SIGPIPE."""

_DEFAULT_TOKENS = "($XDG_CONFIG_HOME/nrepl-py/tokens.json, where there is one)"

_SUBCOMMANDS: Any = {"dest": "subcommand", "required": True, "metavar": "COMMAND"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. Raises SystemExit for usage errors and `--help`."""
    _have_streams()
    args = _parser().parse_args(argv)
    module, _, function = args.run.partition(":")
    from nrepl_py.errors import NreplError

    try:
        code: int = getattr(importlib.import_module(f"nrepl_py.cli.{module}"), function)(args)
        sys.stdout.flush()
        return code
    except NreplError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered must not fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        return _fail(f"{args.command} failed: {type(error).__name__}: {error}")


def _have_streams() -> None:
    """Who starts a program with descriptors 0 to 2 closed, as some that start daemons do, must not have the next ones
    that are opened, a client's socket say, in their place."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            setattr(sys, name, open(os.devnull, "w" if fd else "r"))  # noqa: SIM115 - of the lowest number that is free


def _fail(sentence: str) -> int:
    print(f"nrepl-py: {sentence}", file=sys.stderr, flush=True)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nrepl-py", description="Evaluate Python in live sessions.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"nrepl-py {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: str, help: str, description: str = "") -> argparse.ArgumentParser:
        about = description or f"{help[0].upper()}{help[1:]}."
        added = commands.add_parser(name, help=help, description=about, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    _serve(command("serve", "serve:serve", "run a server until SIGTERM or Ctrl-C"))
    _eval(
        command(
            "eval",
            "evaluate:evaluate",
            "evaluate code and print what it says, its value last",
            "Evaluate code on the server of this directory, or without one in a process of its own. Prints output as "
            "it comes and the value last. Exit code: 0, 1 if the code raised, 130 if it was interrupted, or what it "
            "exits with.",
        )
    )
    repl = command("repl", "repl:repl", "evaluate line by line, with history and completions")
    _session_options(repl)
    _where(repl)
    page = command(
        "open",
        "open:open_",
        "open the page of this directory's server in a browser, and start one where none runs",
        "Open the page of this directory's server in a browser. A server is started in the background where none runs; "
        "nrepl-py stop ends it.",
    )
    page.add_argument("--session", metavar="NAME", help="a session to show")
    page.add_argument("--no-browser", action="store_true", help="print the page's address, with its token, instead")
    _files(page)
    lsp = command(
        "lsp",
        "lsp:lsp",
        "serve an editor as a language server",
        "Speak the Language Server Protocol over standard input and output: a live session beside the editor's text. "
        "Without a server in the workspace, the first run starts one that ends with the editor.",
    )
    lsp.add_argument("--port", type=int, metavar="N", help="listen on a port of this machine, for one editor; 0: any")
    _session_options(lsp)
    _where(lsp)
    attach = command(
        "attach",
        "attach:attach",
        "look on: print what a session says, whoever asked for it",
        "Print what runs in a session and all that it says, as it comes, until the session is closed or Ctrl-C.",
    )
    attach.add_argument("session", metavar="SESSION", help="its id or name")
    attach.add_argument("--since", type=int, metavar="N", help="begin after message N; 0: all that is kept (now)")
    attach.add_argument("--json", action="store_true", help="print the raw messages, one line each")
    _where(attach)
    sessions = command("sessions", "manage:sessions", "list the server's sessions")
    sessions.add_argument("--json", action="store_true", help="as one JSON list")
    _where(sessions)
    close = command("close", "manage:close", "end a session")
    close.add_argument("session", metavar="SESSION", help="its id or name")
    _where(close)
    interrupt = command("interrupt", "manage:interrupt", "interrupt what runs in a session")
    interrupt.add_argument("session", metavar="SESSION", help="its id or name")
    interrupt.add_argument("--id", help="only the eval with this id")
    interrupt.add_argument("--all", action="store_true", help="cancel what waits in the queue too")
    interrupt.add_argument(
        "--kill-after", type=float, metavar="SECONDS", help="kill the session's worker if it still runs then"
    )
    _where(interrupt)
    restart = command("restart", "manage:restart", "give a session a fresh worker, whatever the old one does")
    restart.add_argument("session", metavar="SESSION", help="its id or name")
    _where(restart)
    _where(command("describe", "manage:describe", "say what the server is and can do, as JSON"))
    doctor = command("doctor", "manage:doctor", "say what this machine can do to confine sessions, and what to change")
    doctor.add_argument("--json", action="store_true", help="as one JSON object")
    stop = command("stop", "manage:stop", "stop the server, and wait until it has ended")
    _files(stop)
    _token(command("token", "", "say who else may use a server, and for what").add_subparsers(**_SUBCOMMANDS))
    return parser


def _serve(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", help="address to listen on (127.0.0.1)")
    add("--port", type=int, help="port to listen on; 0 picks one (0, or none beside --unix)")
    add("--unix", metavar="PATH", help="Unix socket to listen on")
    add("--connection-file", metavar="PATH", help="where clients find the server (in the user's runtime directory)")
    add("--python", metavar="EXE", help="interpreter of sessions (the server's own)")
    add("--preload", metavar="MODULES", help="modules imported before a session starts, separated by commas")
    add("--config", metavar="FILE", help="TOML file with settings")
    add("--log-level", choices=("debug", "info", "warning", "error"), help="least level logged (info)")
    add("--log-format", choices=("text", "json"), help="a readable line each, or one JSON object (text)")
    add("--log-file", metavar="PATH", help="file to log to; reopened on SIGHUP (stderr)")
    add("--audit-file", metavar="PATH", help="file to note in who asked what; reopened on SIGHUP (none)")
    add("--audit-code", action="store_true", default=None, help="put the code of evals into the audit file too")
    add("--allow-origin", action="append", metavar="ORIGIN", help="a web page's origin that may connect; repeatable")
    add("--allow-host", action="append", metavar="HOST", help="a further name the server is reached by; repeatable")
    add("--sandbox", choices=TIERS, metavar="TIER", help=f"how far sessions are confined: {', '.join(TIERS)}")
    add("--network", choices=("none", "host"), help="what confined sessions may have of the network (none)")
    add("--allow-degraded", action="store_true", default=None, help="serve with less where the machine cannot do that")
    others = "repeatable (anything for you, nothing for others)"
    add("--allow-read", action="append", metavar="PATH", help=f"what sessions may be given to read; {others}")
    add("--allow-write", action="append", metavar="PATH", help=f"what sessions may be given to write to; {others}")
    add("--allow-python", action="append", metavar="PATH", help=f"a further interpreter to choose; {others}")
    add("--allow-env", action="append", metavar="NAME", help=f"a variable that sessions may inherit; {others}")
    add("--insecure", action="store_true", default=None, help="listen beyond this machine without TLS")
    add("--certfile", metavar="PATH", help="TLS certificate and what signed it, PEM; read again on SIGHUP")
    add("--keyfile", metavar="PATH", help="its key, where it is not in the same file")
    add("--tokens", metavar="PATH", help=f"tokens of others than you, see nrepl-py token {_DEFAULT_TOKENS}")
    add("--allow-uid", action="append", type=int, metavar="UID", help="a user the Unix socket is open to; repeatable")
    add(
        "--unused",
        type=float,
        metavar="SECONDS",
        help="end when nobody was connected and nothing ran for so long (never)",
    )


def _token(commands: Any) -> None:
    """The subcommands of `token`."""
    create = commands.add_parser(
        "create",
        help="make a token and print it; it cannot be had again",
        description="Make a token and print it, once. The file keeps its hash only. Servers that run know it at once.",
    )
    create.add_argument("name", metavar="NAME", help="what it is called; its sessions are this principal's")
    create.add_argument(
        "--capability",
        action="append",
        choices=("eval", "observe", "admin"),
        help="eval: all in its own sessions; observe: see them; admin: list and close everybody's; repeatable (eval)",
    )
    create.add_argument("--principal", metavar="NAME", help="whose sessions it opens, where that is another than NAME")
    create.add_argument("--sessions", type=int, metavar="N", help="sessions it may have at once")
    create.add_argument("--evals", type=int, metavar="N", help="evals that may run or wait at once, in all of them")
    create.add_argument("--memory", type=int, metavar="BYTES", help="memory of each of its sessions")
    create.add_argument("--tier", action="append", help="a sandbox tier it may ask for; repeatable (all)")
    create.add_argument("--expires", type=float, metavar="SECONDS", help="until it is no longer valid")
    listed = commands.add_parser("list", help="list the tokens, without the tokens themselves")
    listed.add_argument("--json", action="store_true", help="as one JSON list")
    revoke = commands.add_parser(
        "revoke",
        help="make a token invalid, and disconnect who has used it",
        description="Make a token invalid, and disconnect who has used it, at once. Its sessions live on, as after any "
        "disconnection; who started the server sees and closes them.",
    )
    revoke.add_argument("name", metavar="NAME", help="what it is called")
    for parser, run in (create, "create"), (listed, "list_"), (revoke, "revoke"):
        parser.set_defaults(run=f"tokens:{run}")
        parser.add_argument("--tokens", metavar="PATH", help=f"the tokens file {_DEFAULT_TOKENS}")
        parser.add_argument("--connection-file", metavar="PATH", help="a server to tell whose connection file is PATH")


def _eval(parser: argparse.ArgumentParser) -> None:
    code = parser.add_mutually_exclusive_group(required=True)
    code.add_argument("code", nargs="?", metavar="CODE", help="what to evaluate; - reads it from standard input")
    code.add_argument("--file", metavar="FILE", help="evaluate this file's contents")
    parser.add_argument("--json", action="store_true", help="print the raw messages, one line each")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="interrupt it when it has run for so long")
    parser.add_argument("--kill-after", type=float, metavar="SECONDS", help="and kill its worker so much later")
    _session_options(parser)
    _where(parser)


def _session_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--session", metavar="NAME", help="a session that lives on; made if there is none so named")
    parser.add_argument("--python", metavar="EXE", help="interpreter of a session made for this call")


def _where(parser: argparse.ArgumentParser) -> None:
    """Which server; a token is never given on the command line, where everyone can read it."""
    where: Any = parser.add_argument_group("which server", "The token is in the file NREPL_PY_TOKEN_FILE names.")
    where.add_argument("--url", help="its address, ws://HOST:PORT or wss://HOST:PORT")
    where.add_argument("--unix", metavar="PATH", help="its Unix socket")
    where.add_argument("--cafile", metavar="PATH", help="who signed its certificate, PEM (NREPL_PY_CAFILE)")
    _files(where)


def _files(parser: Any) -> None:
    parser.add_argument("--directory", metavar="DIR", help="the server started in DIR, or nearest above (here)")
    parser.add_argument("--connection-file", metavar="PATH", help="the server that wrote this file")
