"""A project that has nothing to do with language models: its calls spin for some milliseconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.subprocesses import ROOT, finding, ran

PERF = ROOT / "perf"
BENCHMARK = """
import time

import pytest
from perfgate import Case, Row, cases, part
from dataclasses import dataclass
from typing import ClassVar


def spin(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return 42


@dataclass(frozen=True, kw_only=True)
class SpinCase(Case):
    benchmark: ClassVar[str] = "spin"
    ms: int = part("{}ms")


def table(config):
    yield Row(SpinCase(ms=1), quick=True)
    yield Row(SpinCase(ms=2))
    yield Row(SpinCase(ms=3), extra=True)


@cases(table)
def test_spin(case, measure):
    def check(answer):
        assert answer == 42

    measure(spin, case.ms / 1000, check=check, budget_s=0.1)
"""


NOT_BUSY = "from perfgate.machine import health\nhealth.doubts_about_stored = lambda *_: []\n"
"""A conftest.py for what stored times decide: on a busy machine they decide nothing."""


class Project:
    """The foreign project; ``run`` runs pytest there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table()
        (folder / "test_spin.py").write_text(BENCHMARK)

    def table(self, text: str = "") -> None:
        (self.folder / "pyproject.toml").write_text(f"[tool.pytest.ini_options]\n[tool.perfgate]\n{text}")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "-p", "perfgate.plugin", "-p", "no:cacheprovider", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return finding(PERF, PYTEST_ADDOPTS="", COLUMNS="250")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return ran(self.command(*arguments), self.folder, self.environment)

    def refresh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            "--perfgate-refresh-baseline", "--perfgate-reason", "because", "--perfgate-accept-busy", *arguments
        )

    def baselines(self) -> list[Path]:
        return sorted(self.folder.glob("baselines/*/*.json"))

    def verdicts(self) -> dict[str, dict[str, Any]]:
        data = json.loads((self.folder / "perf-report/results.json").read_text())["sections"]
        return {key.partition("/")[2]: one for key, one in data["gate"]["verdicts"].items()}

    def statuses(self) -> dict[str, str]:
        return {key: one["status"] for key, one in self.verdicts().items()}
