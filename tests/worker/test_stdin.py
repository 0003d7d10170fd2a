"""Input is asked for as it is wanted, without a router."""

from __future__ import annotations

import threading

import pytest

from nrepl_py.worker import stdin


class Asked:
    """A client that answers each question with the next of its texts."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.prompts: list[tuple[str, bool]] = []
        self.input = stdin.Input(self._ask)
        self.input.begin(1, True)

    def _ask(self, serial: int, prompt: str, password: bool) -> None:
        self.prompts.append((prompt, password))
        text = self.texts.pop(0)
        threading.Thread(target=self.input.feed, args=(serial, text)).start()


def test_lines_are_asked_for_as_they_are_needed() -> None:
    asked = Asked("a\nb\n", "c", "d\n", "")
    assert [asked.input.readline(prompt="? ") for _ in range(4)] == ["a\n", "b\n", "cd\n", ""]
    assert [prompt for prompt, _ in asked.prompts] == ["? ", "? ", "", "? "]


def test_end_of_file_ends_one_read() -> None:
    asked = Asked("half", "", "more\n")
    assert asked.input.readline() == "half"
    assert asked.input.read(0) == ""
    assert [asked.input.readline(3) for _ in range(2)] == ["", "mor"]


def test_read_takes_all_until_the_end() -> None:
    assert Asked("a\n", "b", "").input.read() == "a\nb"
    assert Asked("abc\n").input.read(2) == "ab"


def test_input_not_allowed_is_end_of_file() -> None:
    source = stdin.Input(lambda *question: pytest.fail("asked"))
    source.begin(1, False)
    assert source.readline() == ""
    with pytest.raises(EOFError):
        stdin.ask_line(source, "", False)


def test_the_end_of_the_eval_wakes_who_still_waits() -> None:
    asking = threading.Event()
    source = stdin.Input(lambda *question: asking.set())
    source.begin(1, True)
    lines: list[str] = []
    thread = threading.Thread(target=lambda: lines.append(source.readline()))
    thread.start()
    assert asking.wait(60)
    source.feed(2, "for another eval\n")
    source.end()
    thread.join()
    assert lines == [""]
