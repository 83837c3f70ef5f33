"""The plan of a run, and a line for each case."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.machine.health import BUSY_LOAD
from perfgate.plugin import progress, public
from perfgate.plugin.record_log import RecordLog
from perfgate.records.record import Metric, Record
from perfgate.report import duration

from tests.conftest import Project
from tests.support.benchmark_items import Item, items, row
from tests.support.report_sections import record

BUILTIN = "sums/builtin-n10"


class TestSession:
    def test_a_line_for_each_case_as_it_finishes(self, project: Project) -> None:
        result = project.run()
        result.stdout.fnmatch_lines([f"perfgate: [[]1/3] {BUILTIN}: * s, peak 2.0 MiB*"])

    def test_the_plan_comes_first(self, project: Project) -> None:
        result = project.run()
        result.stdout.fnmatch_lines(
            ["perfgate: 3 cases on cpu (3 sums)*", "perfgate: 1 of them cannot run here*doctor*"]
        )


class TestLines:
    def test_one_line_where_there_is_no_terminal(self, project: Project) -> None:
        found = project.run().outlines
        assert not any(line.startswith("test_sums.py") or line.endswith("%]") for line in found)
        lines = [line for line in found if line.startswith("perfgate: [")]
        assert len(lines) == 1
        assert lines[0].startswith("perfgate: [1/3] sums/")

    def test_a_failure_is_told_at_once_with_its_reason(self, project: Project) -> None:
        project.benchmark(
            """
            def test_broken(measure):
                raise ValueError("the abacus broke")
            """
        )
        lines = project.run().outlines
        told = [n for n, line in enumerate(lines) if line.startswith("perfgate: FAILED test_broken")]
        assert len(told) == 1
        assert "the abacus broke" in lines[told[0]]
        assert told[0] < next(n for n, line in enumerate(lines) if "= FAILURES =" in line)


class TestBusy:
    @pytest.fixture
    def looks(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The looks that were taken at a machine whose last minute was busy, and which is busy still."""
        taken: list[float] = []
        monkeypatch.setattr(os, "getloadavg", lambda: (BUSY_LOAD + 0.1, 0.0, 0.0), raising=False)
        monkeypatch.setattr(psutil, "cpu_percent", lambda interval: taken.append(interval) or 100.0)
        return taken

    def test_whoever_measures_is_told(self, project: Project, looks: list[float]) -> None:
        assert f"perfgate: this machine is busy (load {BUSY_LOAD + 0.1:g})" in project.run().stdout.str()
        assert len(looks) == 1

    def test_nobody_else_waits_for_a_look(
        self, project: Project, looks: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert "is busy" not in project.run("--collect-only").stdout.str()
        monkeypatch.setattr(public, "is_child", lambda config: True)  # each process of a comparison would
        assert "is busy" not in project.run().stdout.str()
        assert looks == []


def context_of(items: list[Any], **remembered: float) -> Any:
    """A session in which these items wait."""
    log = RecordLog("cpu", ())
    log.waiting = items
    log.remembered = {f"sums/{how}": seconds for how, seconds in remembered.items()}
    return SimpleNamespace(log=log, device="cpu")


class TestPlan:
    def test_nothing_to_run_is_no_plan(self) -> None:
        assert progress.plan(context_of([])) == []

    def test_cases_are_counted_by_benchmark_and_their_times_added(self) -> None:
        waiting = [*items("loop", "builtin"), Item(name="test_other")]
        (line,) = progress.plan(context_of(waiting, loop=70.0, builtin=50.0))
        assert line.startswith(f"perfgate: 3 cases on cpu (2 sums, 1 test_other), about {duration(120.0)}")
        assert "1 case of unknown length" in line
        assert "a guess" not in line

    def test_a_guess_is_called_one(self) -> None:
        (line,) = progress.plan(context_of([Item(row("loop", expected_s=70.0))]))
        assert f"about {duration(70.0)}" in line
        assert "a guess" in line


class TestLine:
    RECORD = Record("sums", 1, {}, "sums/loop", metrics={"latency_s": Metric("sampled", "s", "lower", 0.5)})

    @pytest.mark.parametrize(
        ("position", "left_s", "told"), [(1, 90.0, True), (3, 90.0, False), (1, 0.0, False), (1, None, False)]
    )
    def test_what_is_left_is_told_while_there_is_any(self, position: int, left_s: float | None, told: bool) -> None:
        text = progress.line(self.RECORD, position, 3, 2.0, left_s)
        assert text.startswith(f"[{position}/3] sums/loop: ")
        assert (" left)" in text) is told

    def test_a_failure_is_one_line(self) -> None:
        report: Any = SimpleNamespace(longrepr="two\n  lines", nodeid="test_sums.py::test_one")
        assert progress.reason(report, "a\nline") == "two lines"
        report.longrepr = object()  # a traceback of pytest's
        assert progress.reason(report, "a\nline") == "a line"
        assert progress.reason(report, None) == "test_sums.py::test_one"


class TestHeadline:
    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (record(throughput_tokens_per_s=14.25, latency_s=1.0, peak_memory_bytes=2**20), "14.2 tokens/s, peak 1.0"),
            (record(latency_s=0.5), "500 ms"),
            (Record("sums", 1, {}, "k", status="failed", reason="wrong sum"), "failed: wrong sum"),
        ],
    )
    def test_headline(self, given: Record, text: str) -> None:
        assert text in progress.headline(given)

    def test_line_with_the_time_left(self) -> None:
        line = progress.line(record(latency_s=0.5), position=3, total=13, took_s=23.2, left_s=200)
        assert line == "[3/13] sums/loop: 500 ms (23 s; about 3 min 20 s left)"

    @pytest.mark.parametrize(("position", "left_s"), [(13, 200), (3, None), (3, 0.0)])
    def test_line_where_nothing_is_left_or_known(self, position: int, left_s: float | None) -> None:
        line = progress.line(record(latency_s=0.5), position=position, total=13, took_s=23.2, left_s=left_s)
        assert line.endswith("500 ms (23 s)")
