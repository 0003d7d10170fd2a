"""The tokens file: what it takes to be believed, and that editing it loses nothing."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from nrepl_py import tokens
from nrepl_py.config import ConfigError
from tests.server.fakes import add_token

ENTRY = {"name": "ann", "sha256": "a" * 64, "created": 1.0}


def write(path: Path, *entries: dict[str, Any], mode: int = 0o600) -> str:
    path.write_text(json.dumps({"tokens": entries}))
    path.chmod(mode)
    return str(path)


def test_tokens_are_random_and_safe_in_headers() -> None:
    made = {tokens.new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(len(token) >= 43 and token.isascii() and " " not in token for token in made)


def test_a_digest_is_a_sha256() -> None:
    assert tokens.digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert tokens.digest("\ud800") != tokens.digest("x")


def test_no_file_is_no_tokens(tmp_path: Path) -> None:
    assert tokens.read(str(tmp_path / "none")) == ()
    assert tokens.identity(str(tmp_path / "none")) is None


def test_the_default_is_in_the_users_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert tokens.default_path() == str(tmp_path / "nrepl-py" / "tokens.json")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tokens.default_path() == str(tmp_path / ".config" / "nrepl-py" / "tokens.json")


def test_what_is_written_is_read_back_and_holds_no_token(tmp_path: Path) -> None:
    path = tmp_path / "new" / "tokens.json"
    token = add_token(path, "ann", capabilities=["observe"], quota={"sessions": 2, "memory-bytes": 9}, expires=5.0)
    (entry,) = tokens.read(str(path))
    assert (entry.name, entry.capabilities, entry.quota.sessions, entry.quota.evals) == ("ann", ("observe",), 2, None)
    assert (entry.quota.memory_bytes, entry.expires, entry.principal, entry.tiers) == (9, 5.0, None, None)
    assert entry.sha256 == tokens.digest(token)
    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o601, 0o620, 0o700])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "t", ENTRY, mode=mode)
    with pytest.raises(ConfigError, match=f"{path} has mode {mode:04o}.* chmod 600"):
        tokens.read(path)


def test_another_users_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t", ENTRY)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(ConfigError, match="belongs to another user"):
        tokens.read(path)


def test_what_is_no_file_is_refused_and_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(ConfigError, match="is not a file"):
            tokens.read(str(path))
    with pytest.raises(ConfigError, match="cannot be read: Not a directory"):
        tokens.read(str(tmp_path / "fifo" / "x"))


@pytest.mark.parametrize(
    "change",
    [{"name": "a b"}, {"name": ""}, {"name": "ann\n"}, {"sha256": "A" * 64}, {"sha256": "a" * 63}, {"capabilities": []},
     {"capabilities": ["all"]}, {"expire": 1}, {"quota": {"session": 1}}, {"quota": {"sessions": -1}}, {"created": "now"},
     {"principal": "x/y"}],
)  # fmt: skip
def test_an_entry_that_is_not_understood_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "t", ENTRY | change)
    with pytest.raises(ConfigError, match="is not valid"):
        tokens.read(path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"tokens": 1}', '{"token": []}', "\xff"])
def test_a_file_that_is_not_understood_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="is not valid"):
        tokens.read(str(path))


def test_two_tokens_of_one_name_and_too_many_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t", ENTRY, ENTRY)
    with pytest.raises(ConfigError, match="two tokens named 'ann'"):
        tokens.read(path)
    monkeypatch.setattr(tokens, "MAX_FILE", 10)
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        tokens.read(path)


def test_editing_never_overwrites_what_cannot_be_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "t", ENTRY, mode=0o644)
    before = Path(path).read_text()
    with pytest.raises(ConfigError):
        add_token(Path(path), "bob")
    assert Path(path).read_text() == before


def test_an_edit_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t"
    add_token(path, "ann")
    before = path.read_text()
    with pytest.raises(KeyError), tokens.editing(str(path)) as entries:
        entries.clear()
        raise KeyError
    assert path.read_text() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["t", "t.lock"]


def test_edits_at_once_are_all_there_and_readers_never_see_a_half(tmp_path: Path) -> None:
    path = tmp_path / "t"
    threads = [threading.Thread(target=add_token, args=(path, f"n{n}")) for n in range(20)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        tokens.read(str(path))
    for thread in threads:
        thread.join()
    assert len(tokens.read(str(path))) == 20


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "t")
    add_token(tmp_path / "t", "ann")
    add_token(tmp_path / "link", "bob")
    assert (tmp_path / "link").is_symlink()
    assert len(tokens.read(str(tmp_path / "t"))) == 2


def test_each_edit_is_another_state(tmp_path: Path) -> None:
    path = tmp_path / "t"
    add_token(path, "ann")
    before = tokens.identity(str(path))
    assert before == tokens.identity(str(path))
    add_token(path, "bob")
    assert before != tokens.identity(str(path))
