"""How tests ended, a JSON line each, written at once: a run that is killed loses nothing that came before.

A pytest plugin (``-p tests.gpu.outcomes --outcomes FILE``) that works under pytest-xdist too, and the reader of its
file. The paths that a test proves (its ``gpu`` marks) travel with its reports.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tests.gpu import EvidenceError

if TYPE_CHECKING:
    import pytest  # only there: it is also read where pytest is not installed yet

PATHS = "gpu_paths"
"""The user property of a test's report that holds the paths."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", metavar="FILE", help="write each test's outcome there, a JSON line each")


def pytest_configure(config: pytest.Config) -> None:
    target = config.getoption("--outcomes")
    if target and not hasattr(config, "workerinput"):  # under xdist its controller sees every report
        config.pluginmanager.register(Writer(Path(target)), "gpu-outcomes-writer")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        named = sorted({name for mark in item.iter_markers("gpu") for name in mark.args})
        item.user_properties.append((PATHS, named))


class Writer:
    """Writes the lines."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("w", encoding="utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        line = {
            "test": report.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "paths": dict(report.user_properties).get(PATHS, []),
            "seconds": round(report.duration, 3),
            "why": "" if report.passed else _why(report),
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def pytest_unconfigure(self) -> None:
        self._file.close()


def _why(report: pytest.TestReport) -> str:
    """A skip's reason, or a failure's message."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])[:300]
    crash = getattr(report.longrepr, "reprcrash", None)
    said = report.longreprtext if crash is None else crash.message
    return (said.strip().splitlines() or [""])[0][:300]


@dataclass
class Outcomes:
    """How the tests of each path ended. ``failures``: the last line of each failure, by test."""

    paths: dict[str, set[str]] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        """Take in one line.

        Raises:
            KeyError, TypeError, ValueError: it is not one of :class:`Writer`.
        """
        test, outcome, names, why = line["test"], line["outcome"], line["paths"], line["why"]
        if outcome not in ("passed", "failed", "skipped") or not all(
            isinstance(one, str) for one in (test, why, *names)
        ):
            raise ValueError(f"not an outcome: {line}")
        self.paths[test] = set(names)
        if outcome == "failed":
            self.failed.add(test)
            self.failures[test] = why
        elif outcome == "passed":
            self.passed.add(test)
        else:
            self.skipped[why] += 1

    def proved(self) -> list[str]:
        """The paths of which a test passed and none failed."""
        passed: set[str] = set().union(*(self.paths[test] for test in self.passed))
        return sorted(passed.difference(*(self.paths[test] for test in self.failed)))

    def counted(self) -> str:
        """The numbers of tests in words."""
        passed = len(self.passed - self.failed)
        return f"{passed} passed, {len(self.failed)} failed, {self.skipped.total()} skipped"


def read(lines: Iterable[str], name: str) -> Outcomes:
    """The outcomes in a file's lines. A last line that was cut by a kill is left out.

    Raises:
        EvidenceError: another line is not one of :class:`Writer`.
    """
    found = Outcomes()
    every = list(lines)
    for number, line in enumerate(every, 1):
        try:
            found.add(json.loads(line))
        except (KeyError, TypeError, ValueError) as wrong:
            if number == len(every):
                break
            raise EvidenceError(f"{name}, line {number}: {wrong!r}; bring the file again") from None
    return found
