"""Lines that stay and the one that changes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from perfgate.measure.clocks import FakeClock
from perfgate.plugin.terminal_lines import EVERY_S, Lines


class Reporter:
    """Keeps what a terminal reporter is asked to write."""

    def __init__(self, *, isatty: bool) -> None:
        self.isatty = isatty
        self.written: list[str] = []
        self.rewritten: list[str] = []

    def ensure_newline(self) -> None:
        pass

    def write_line(self, text: str) -> None:
        self.written.append(text)

    def rewrite(self, text: str, **_: object) -> None:
        self.rewritten.append(text)


def config(reporter: Reporter) -> Any:
    return SimpleNamespace(
        pluginmanager=SimpleNamespace(get_plugin=lambda name: reporter),
        get_terminal_writer=lambda: SimpleNamespace(fullwidth=20),
    )


def test_where_nothing_can_be_rewritten_one_a_minute_is_printed() -> None:
    reporter = Reporter(isatty=False)
    lines = Lines(config(reporter), "judge", FakeClock(iter([EVERY_S / 4] * 9)))
    for number in range(9):
        lines.show(f"pair {number}")
    assert reporter.written == ["judge: pair 0", "judge: pair 4", "judge: pair 8"]
    assert reporter.rewritten == []


def test_on_a_terminal_it_is_rewritten_within_the_width() -> None:
    reporter = Reporter(isatty=True)
    lines = Lines(config(reporter), "judge", FakeClock())
    lines.show("a case with a long name")
    assert reporter.written == []
    assert reporter.rewritten == ["judge: a case with a"[:19]]


def test_a_line_that_stays_takes_its_place() -> None:
    reporter = Reporter(isatty=True)
    lines = Lines(config(reporter), "judge", FakeClock())
    lines.show("short")
    lines.say("done")
    assert reporter.rewritten == ["judge: short", "", ""]
    assert reporter.written == ["judge: done"]


@pytest.mark.parametrize("isatty", [True, False])
def test_nothing_is_cleared_where_nothing_was_shown(isatty: bool) -> None:
    reporter = Reporter(isatty=isatty)
    Lines(config(reporter), "judge", FakeClock()).clear()
    assert reporter.rewritten == []
