"""The report of a session: its files, what the terminal has of them, and the exit status."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.plugin.session_report import SessionReport

from tests.conftest import Project

BUILTIN, LOOP, MANY = "sums/builtin-n10", "sums/loop-n10", "sums/builtin-n99"
ROUNDS = [1.0, 1.5, 1.25]


class TestReport:
    def test_terminal_markdown_and_json_show_the_same_figures(self, project: Project) -> None:
        result = project.run()
        record = project.records()[LOOP]
        assert min(ROUNDS) <= record["metrics"]["latency_s"]["value"] <= max(ROUNDS)
        assert record["metrics"]["peak_memory_bytes"]["value"] == 2 * 2**20
        milliseconds = f"{record['metrics']['latency_s']['value'] * 1000:,.1f}"
        result.stdout.fnmatch_lines([f"*{LOOP} *{milliseconds} *2.0*"])
        assert f"| {LOOP} | {milliseconds} | 2.0 |" in project.summary().splitlines()
        rows = {row["case"]: row for row in project.results()["sections"]["sums"]["rows"]}
        assert rows[LOOP]["latency_s"] == record["metrics"]["latency_s"]["value"]

    def test_a_suites_section_is_in_all_three(self, project: Project) -> None:
        result = project.run()
        result.stdout.fnmatch_lines(["*- All the sums -*", "Sums of small numbers.", "*- a note on sums"])
        lines = project.summary().splitlines()
        assert {"## All the sums", "Sums of small numbers.", "- a note on sums"} <= set(lines)
        section = project.results()["sections"]["sums"]
        assert [section["title"], section["notes"]] == ["All the sums", ["a note on sums"]]

    def test_report_dir(self, project: Project) -> None:
        result = project.run("--perfgate-report-dir=deep/er")
        result.stdout.fnmatch_lines(["perfgate: wrote results.json, summary.md, index.html into deep/er"])
        assert project.results("deep/er")["session"]["ledger"] == {"measured": [BUILTIN, LOOP], "skipped": [MANY]}
        assert not (project.path / "perf-report").exists()

    def test_one_that_cannot_be_written_fails_the_run_but_is_shown(self, project: Project) -> None:
        (project.path / "file").touch()
        result = project.run("--perfgate-report-dir=file/below")
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.assert_outcomes(passed=2, skipped=1, deselected=1)
        result.stdout.fnmatch_lines(
            [f"*{LOOP} *", "perfgate: the report could not be written to *pass --perfgate-report-dir DIR*"]
        )


class TestExitCodes:
    def test_only_skips_is_nothing_measured(self, project: Project) -> None:
        assert project.run("-k", "n99").ret == pytest.ExitCode.NO_TESTS_COLLECTED

    def test_skips_beside_a_plain_test_that_passed_are_not(self, project: Project) -> None:
        project.pytester.makepyfile(test_plain="def test_plain(): pass")
        assert project.run("-k", "n99 or plain").ret == pytest.ExitCode.OK


INTERRUPT = """
    import os, signal
    import pytest

    signal.signal(signal.SIGINT, signal.default_int_handler)  # some shells start their children deaf to it

    @pytest.mark.parametrize("position", ["first", "second", "third"])
    def test_one(measure, position):
        measure(lambda: os.kill(os.getpid(), signal.SIGINT) if position == "second" else 42)
"""


class TestProcess:
    @pytest.mark.skipif(os.name == "nt", reason="Windows cannot send SIGINT to one process")
    def test_an_interrupted_run_saves_and_reports_what_it_has(self, project: Project) -> None:
        project.benchmark(INTERRUPT)
        result = project.run_subprocess("--benchmark-json=out.json")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        assert list(project.records()) == ["test_one/first"]
        result.stdout.fnmatch_lines(
            [
                "Interrupted: only the cases below were measured.",
                "*wrote results.json, summary.md, index.html into perf-report",
            ]
        )
        session = json.loads((project.path / "out.json").read_text())["perfgate"]
        assert session["interrupted"] is project.results()["session"]["interrupted"] is True


class TestExitStatus:
    def status(self, statuses: list[str], given: int = 0, collected: int = 2, error: str | None = None) -> int:
        records = {str(n): SimpleNamespace(status=one) for n, one in enumerate(statuses)}
        context: Any = SimpleNamespace(records=records)
        report = SessionReport(context, None, interrupted=False)
        report.error = error
        return report.exit_status(given, collected)

    @pytest.mark.parametrize(
        ("statuses", "status"),
        [
            (["measured", "skipped"], pytest.ExitCode.OK),
            (["skipped", "skipped"], pytest.ExitCode.NO_TESTS_COLLECTED),
            (["skipped"], pytest.ExitCode.OK),  # another test passed
            ([], pytest.ExitCode.OK),
        ],
        ids=["measured", "all skipped", "skipped beside another", "none"],
    )
    def test_nothing_measured_is_no_success(self, statuses: list[str], status: int) -> None:
        assert self.status(statuses) == status

    def test_a_report_that_could_not_be_written_fails(self) -> None:
        assert self.status(["measured"], error="no space") == pytest.ExitCode.TESTS_FAILED

    def test_what_pytest_found_stays(self) -> None:
        assert self.status(["skipped", "skipped"], pytest.ExitCode.INTERRUPTED) == pytest.ExitCode.INTERRUPTED
