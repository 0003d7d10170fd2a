"""The server's settings: declared once, resolved from five places.

Flags win over `NREPL_PY_*` variables, over the file of `--config`, over `[tool.nrepl-py]` of the
`pyproject.toml` in the working directory, over the defaults here. Files use the flags' names
(`log-level = "debug"`), bounds stand in a table `limits`; a variable is the name in capitals
(`NREPL_PY_LOG_LEVEL`, `NREPL_PY_MAX_QUEUE_EVALS`, lists separated by commas).

A project's file comes with the code one happens to look at, so it may narrow the policy, never
widen it: it cannot say who may connect or where files are written, and it can only lower bounds.
"""

from __future__ import annotations

import difflib
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo, fields

from nrepl_py.limits import Limits
from nrepl_py.ops import Tier

VARIABLE_PREFIX: Final = "NREPL_PY_"


class ConfigError(Exception):
    """A setting cannot be used; the text is a sentence naming where it stands and its key."""


class Settings(Struct, frozen=True, kw_only=True, rename="kebab"):
    """What a server is started with. Make one with `load`, or directly in tests and embedding."""

    # Loopback: anything wider puts an evaluator of arbitrary code on the network.
    host: Annotated[str, Meta(min_length=1, description="address to listen on")] = "127.0.0.1"
    # None differs from 0 only beside `unix`: a server asked for a socket alone opens no port.
    port: Annotated[int, Meta(ge=0, le=65535, description="0 picks one; absent beside `unix`: none")] | None = None
    unix: Annotated[str, Meta(min_length=1, description="path of a Unix socket to listen on")] | None = None
    connection_file: Annotated[str, Meta(min_length=1, description="where clients find the server")] | None = None
    python: Annotated[str, Meta(min_length=1, description="interpreter of sessions")] | None = None
    preload: Annotated[tuple[str, ...], Meta(description="modules sessions start with, already imported")] = ()
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="least level logged")] = "info"
    log_format: Annotated[Literal["text", "json"], Meta(description="a readable line, or one JSON object")] = "text"
    log_file: Annotated[str, Meta(min_length=1, description="file to log to; reopened on SIGHUP")] | None = None
    audit_file: Annotated[str, Meta(min_length=1, description="JSON lines of who asked what")] | None = None
    audit_code: Annotated[bool, Meta(description="the audit file holds the code of evals too")] = False
    allow_origins: Annotated[tuple[str, ...], Meta(description="origins of web pages that may connect, exact")] = ()
    allow_hosts: Annotated[tuple[str, ...], Meta(description="further names this server is reached by, exact")] = ()
    insecure: Annotated[bool, Meta(description="listen beyond loopback without TLS (a proxy adds it)")] = False
    # None: `sandbox` on Linux and `process` elsewhere for a server; `process` for what a program or a command starts
    # for itself, which could do all that itself.
    sandbox: Annotated[Tier, Meta(description="how far sessions are confined, at least")] | None = None
    network: Annotated[Literal["none", "host"], Meta(description="what confined sessions may have")] = "none"
    allow_degraded: Annotated[bool, Meta(description="serve with less, where the machine cannot confine so far")] = (
        False
    )
    # Of these, None is all for the owner of the server, who could do it himself, and nothing for others.
    allow_read: Annotated[tuple[str, ...] | None, Meta(description="paths `cwd` and `sandbox.read` may name")] = None
    allow_write: Annotated[tuple[str, ...] | None, Meta(description="paths `cwd` and `sandbox.write` may name")] = None
    allow_pythons: Annotated[tuple[str, ...] | None, Meta(description="further interpreters `python` may name")] = None
    allow_env: Annotated[tuple[str, ...] | None, Meta(description="variables `inherit-env` may name")] = None
    tokens: Annotated[str, Meta(min_length=1, description="file of further tokens, and what they allow")] | None = None
    certfile: Annotated[str, Meta(min_length=1, description="TLS certificate, PEM; reread on SIGHUP")] | None = None
    keyfile: Annotated[str, Meta(min_length=1, description="its key, where it is not in the same file")] | None = None
    allow_uids: Annotated[tuple[int, ...], Meta(description="further users the Unix socket is open to")] = ()
    # 0: who starts a server by hand ends it by hand.
    unused_seconds: Annotated[
        float, Meta(ge=0, description="until it ends, if nobody is connected and nothing runs")
    ] = 0
    config: Annotated[str, Meta(description="the file of `--config`")] | None = None
    limits: Limits = Limits()

    @property
    def files(self) -> tuple[str, ...]:
        """The server's own, as absolute paths: whoever could write to one of them could widen its policy, speak in its
        name, or change what it notes."""
        named = (self.connection_file, self.unix, self.tokens, self.certfile, self.keyfile, self.config)
        return tuple(os.path.abspath(path) for path in (*named, self.log_file, self.audit_file) if path is not None)


NOT_FOR_PROJECTS: Final = frozenset(
    ("host", "unix", "connection-file", "log-file", "allow-origins", "allow-hosts", "allow-uids", "insecure", "tokens",
      "certfile", "keyfile", "audit-file", "audit-code", "sandbox", "network", "allow-degraded", "allow-read",
      "allow-write", "allow-pythons", "allow-env")
)  # fmt: skip
"""Who may connect, and where the server writes: the user's own to say."""


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    config: str | None = None,
    environ: Mapping[str, str] | None = None,
    directory: str | Path | None = None,
) -> Settings:
    """The settings in force. `flags` has `Settings`' field names, None where a flag was not given;
    `config` is the path of `--config` (else `NREPL_PY_CONFIG`). Raises `ConfigError`."""
    environ = os.environ if environ is None else environ
    config = config or environ.get(VARIABLE_PREFIX + "CONFIG")
    layers = [_project(Path(directory or ".") / "pyproject.toml")]
    if config:
        layers.append(_checked(_toml(Path(config)), config))
    layers.append(_variables(environ))
    given = {key.replace("_", "-"): value for key, value in (flags or {}).items() if value is not None}
    layers.append(_checked(given, "the command line"))
    settings: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for layer in layers:
        limits |= layer.pop("limits", {})
        settings |= layer
    return Settings(**settings | {"config": config}, limits=Limits(**limits))


_SETTINGS: Final = {field.encode_name: field for field in fields(Settings) if field.name != "config"}
_LISTS: Final = frozenset(name for name, field in _SETTINGS.items() if "tuple[" in str(field.type))
_LIMITS: Final = {field.encode_name: field for field in fields(Limits)}


def _project(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    table = _toml(path).get("tool", {}).get("nrepl-py", {})
    where = f"{path}, [tool.nrepl-py]"
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: must be a table of settings")
    for key in table:
        if key in NOT_FOR_PROJECTS:
            raise ConfigError(f"{where}: '{key}' cannot be set by a project; use a flag or a file given with --config")
    layer = _checked(table, where)
    defaults = Limits()
    for name, value in layer.get("limits", {}).items():
        default = getattr(defaults, name)
        # Of a session's bounds, 0 is none at all.
        if (value or math.inf) > (default or math.inf) if name.startswith("session_") else value > default:
            raise ConfigError(
                f"{where}, limits: '{name.replace('_', '-')}' may only be lowered by a project "
                f"(the default is {getattr(defaults, name)})"
            )
    return layer


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None


def _variables(environ: Mapping[str, str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for variable, text in environ.items():
        key = variable.removeprefix(VARIABLE_PREFIX).lower().replace("_", "-")
        if not variable.startswith(VARIABLE_PREFIX) or key == "config" or text == "":
            continue
        into, known = (limits, _LIMITS) if key in _LIMITS else (layer, _SETTINGS)
        if key == "limits" or key not in known:
            raise ConfigError(f"the environment: {variable} is no setting{_guess(key, {**_SETTINGS, **_LIMITS})}")
        field = known[key]
        value = _list(text) if key in _LISTS else text
        into[field.name] = _value(value, field, "the environment", variable, strict=False)
    return layer | ({"limits": limits} if limits else {})


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _checked(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The table under `Settings`' field names, every value converted."""
    layer = {}
    for key, value in table.items():
        field = _known(key, _SETTINGS, where)
        if key != "limits" or isinstance(value, Limits):
            layer[field.name] = _value(value, field, where, key)
        elif not isinstance(value, Mapping):
            raise ConfigError(f"{where}: 'limits' must be a table")
    limits = table.get("limits", {})
    if isinstance(limits, Limits):
        layer["limits"] = msgspec.structs.asdict(limits)
    elif limits:
        inside = f"{where}, limits"
        layer["limits"] = {
            (field := _known(key, _LIMITS, inside)).name: _value(value, field, inside, key)
            for key, value in limits.items()
        }
    return layer


def _known(key: str, known: Mapping[str, FieldInfo], where: str) -> FieldInfo:
    if key not in known:
        raise ConfigError(f"{where}: there is no setting '{key}'{_guess(key, known)}")
    return known[key]


def _guess(key: str, known: Mapping[str, FieldInfo]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _value(value: Any, field: FieldInfo, where: str, key: str, *, strict: bool = True) -> Any:
    try:
        return msgspec.convert(value, field.type, strict=strict)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: '{key}' cannot be {value!r}: {error}") from None
