"""Settings: five places, one order, and sentences that name the place and the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nrepl_py.config import NOT_FOR_PROJECTS, ConfigError, Settings, load
from nrepl_py.limits import Limits


def load_in(
    directory: Path, flags: dict[str, Any] | None = None, config: str | None = None, **environ: str
) -> Settings:
    return load(flags, config=config, environ=environ, directory=directory)


def project(directory: Path, text: str) -> None:
    (directory / "pyproject.toml").write_text(f"[tool.nrepl-py]\n{text}\n")


def test_defaults(tmp_path: Path) -> None:
    settings = load_in(tmp_path)
    assert settings == Settings()
    assert settings.host == "127.0.0.1"
    assert settings.limits == Limits()


def test_flags_win_over_variables_over_config_over_project(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    project(tmp_path, 'log-level = "debug"')
    assert load_in(tmp_path).log_level == "debug"
    config.write_text('log-level = "info"')
    assert load_in(tmp_path, config=str(config)).log_level == "info"
    assert load_in(tmp_path, NREPL_PY_CONFIG=str(config)).log_level == "info"
    assert load_in(tmp_path, config=str(config), NREPL_PY_LOG_LEVEL="warning").log_level == "warning"
    settings = load_in(tmp_path, {"log_level": "error", "host": None}, str(config), NREPL_PY_LOG_LEVEL="warning")
    assert settings.log_level == "error"
    assert settings.host == "127.0.0.1"


def test_limits_are_merged_one_by_one(tmp_path: Path) -> None:
    project(tmp_path, "limits = {max-queue-evals = 7, max-connections = 8}")
    config = tmp_path / "own.toml"
    config.write_text("[limits]\nmax-connections = 9000\n")
    settings = load_in(tmp_path, {"limits": {"max-stdin-bytes": 4096}}, str(config), NREPL_PY_STALL_SECONDS="1.5")
    limits = settings.limits
    assert (limits.max_queue_evals, limits.max_connections, limits.max_stdin_bytes) == (7, 9000, 4096)
    assert limits.stall_seconds == 1.5
    assert load_in(tmp_path, {"limits": Limits(max_connections=3)}).limits.max_connections == 3


def test_variables_are_converted(tmp_path: Path) -> None:
    settings = load_in(
        tmp_path,
        NREPL_PY_PORT="4000",
        NREPL_PY_PRELOAD="numpy, pandas,",
        NREPL_PY_INSECURE="true",
        NREPL_PY_ALLOW_UIDS="1000,1001",
        NREPL_PY_TOKENS="/etc/tokens.json",
        HOME="/x",
        NREPL_PY_UNIX="",
    )
    assert settings.port == 4000
    assert settings.preload == ("numpy", "pandas")
    assert settings.insecure
    assert settings.allow_uids == (1000, 1001)
    assert settings.tokens == "/etc/tokens.json"
    assert settings.unix is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [("prot = 1", ["pyproject.toml", "'prot'", "did you mean 'port'?"]),
     ('port = "x"', ["pyproject.toml", "'port'", "int"]),
     ("port = 70000", ["'port'", "65535"]), ("preload = 1", ["'preload'", "array"]),
     ('preload = [1]', ["'preload'", "str"]),
     ('log-level = "loud"', ["'log-level'", "'loud'"]), ("limits = 3", ["'limits'"]),
     ("limits = {max-conections = 1}", ["limits", "did you mean 'max-connections'?"]),
     ("limits = {max-connections = 0}", ["limits", "'max-connections'"]), ("x = ", ["not valid TOML"])],
)  # fmt: skip
def test_mistakes_in_files_are_named(tmp_path: Path, text: str, parts: list[str]) -> None:
    project(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_in(tmp_path)
    assert all(part in str(error.value) for part in parts), error.value


def test_mistakes_elsewhere_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"NREPL_PY_PORT.*cannot be 'x'"):
        load_in(tmp_path, NREPL_PY_PORT="x")
    with pytest.raises(ConfigError, match="NREPL_PY_PROT is no setting; did you mean 'port'"):
        load_in(tmp_path, NREPL_PY_PROT="1")
    with pytest.raises(ConfigError, match="the command line: 'port'"):
        load_in(tmp_path, {"port": -1})
    with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read"):
        load_in(tmp_path, config=str(tmp_path / "missing.toml"))
    (tmp_path / "own.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"own\.toml: is not valid TOML"):
        load_in(tmp_path, config=str(tmp_path / "own.toml"))
    (tmp_path / "pyproject.toml").write_text("[tool]\nnrepl-py = 1")
    with pytest.raises(ConfigError, match="must be a table"):
        load_in(tmp_path)


@pytest.mark.parametrize("key", sorted(NOT_FOR_PROJECTS))
def test_a_project_cannot_say_who_may_connect_or_where_we_write(tmp_path: Path, key: str) -> None:
    value = {
        "allow-origins": '["http://evil"]',
        "allow-hosts": '["evil"]',
        "insecure": "true",
        "audit-code": "true",
        "sandbox": '"none"',
        "network": '"host"',
        "allow-degraded": "true",
        "allow-uids": "[1]",
        **dict.fromkeys(("allow-read", "allow-write", "allow-pythons", "allow-env"), '["x"]'),
    }.get(key, '"x"')
    project(tmp_path, f"{key} = {value}")
    with pytest.raises(ConfigError, match=f"'{key}' cannot be set by a project"):
        load_in(tmp_path)
    config = tmp_path / "own.toml"
    (tmp_path / "pyproject.toml").rename(tmp_path / "other.toml")
    config.write_text(f"{key} = {value}")
    load_in(tmp_path, config=str(config))


def test_a_project_can_only_lower_bounds(tmp_path: Path) -> None:
    project(tmp_path, "limits = {max-connections = 1001}")
    with pytest.raises(ConfigError, match="may only be lowered"):
        load_in(tmp_path)


def test_every_setting_says_what_it_is() -> None:
    import msgspec

    for field in msgspec.structs.fields(Settings):
        if field.name != "limits":
            assert "description" in str(field.type), field.name


def test_lists_come_from_everywhere(tmp_path: Path) -> None:
    found = load_in(tmp_path, {"allow_read": ["/a"]}, NREPL_PY_ALLOW_WRITE="/b, /c")
    assert (found.allow_read, found.allow_write, found.allow_env) == (("/a",), ("/b", "/c"), None)


def test_the_servers_own_files_are_known(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('log-file = "log"')
    found = load_in(tmp_path, {"unix": "/run/s"}, config=str(tmp_path / "own.toml"))
    assert found.files == ("/run/s", str(tmp_path / "own.toml"), str(Path.cwd() / "log"))
    with pytest.raises(ConfigError, match="no setting 'config'"):
        (tmp_path / "own.toml").write_text('config = "x"')
        load_in(tmp_path, config=str(tmp_path / "own.toml"))
