"""The report's files: which are written where, what GitHub gets of them, and what stops them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.lockstep import fresh_process
from perfgate.report import Column, Section, Table, decimals, write
from perfgate.report.results import Results

from tests.conftest import Project
from tests.support import report_sections
from tests.support.report_sections import record

RESULTS = Results({"machine_key": "cpu-2c"}, [record(latency_s=0.5)], report_sections.everything())


class TestWritten:
    def test_without_html(self, project: Project) -> None:
        project.run("--perfgate-no-html")
        assert {path.name for path in (project.path / "perf-report").iterdir()} == {"results.json", "summary.md"}

    def test_github_gets_the_summary_after_what_is_there(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shared = project.path / "step.md"
        shared.write_text("before\n")
        monkeypatch.setenv(write.STEP_SUMMARY, str(shared))
        project.run()
        assert shared.read_text() == f"before\n{project.summary()}\n"

    def test_a_fresh_process_of_another_run_shares_nothing(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shared = project.path / "step.md"
        monkeypatch.setenv(write.STEP_SUMMARY, str(shared))
        monkeypatch.setenv(fresh_process.ONLY, json.dumps(["sums/loop-n10"]))
        monkeypatch.setattr(fresh_process, "die_with_parent", lambda: None)
        project.run()
        assert list(project.records()) == ["sums/loop-n10"]
        assert not shared.exists()

    def test_githubs_limit_holds_over_all_that_a_step_writes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shared = tmp_path / "step.md"
        shared.write_text("x" * 850_000)
        monkeypatch.setenv(write.STEP_SUMMARY, str(shared))
        found = Results({}, [], report_sections.large(2000))
        write.write(tmp_path / "report", found, html=False, shared=True)
        assert 850_000 < shared.stat().st_size < 1_048_576
        assert "more lines do not fit here" in shared.read_text()

    def test_a_folder_that_cannot_be_made(self, project: Project) -> None:
        (project.path / "taken").write_text("a file")
        result = project.run("--perfgate-report-dir", "taken/report")
        assert result.ret not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        result.stdout.fnmatch_lines(
            ["*the report could not be written to *taken/report/results.json*--perfgate-report-dir DIR*"]
        )

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable to root")
    def test_a_folder_without_the_right_to_write(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(write.OutputError, match="could not be written"):
            write.write(tmp_path, RESULTS, html=False, shared=False)

    def test_what_json_has_no_word_for_is_refused_and_nothing_is_written(self, tmp_path: Path) -> None:
        rows = [{"a": "row", "n": float("nan")}]
        section = Section("s", "S", table=Table([Column("a", "a"), Column("n", "n", decimals(1))], rows))
        with pytest.raises(write.OutputError, match=r"results\.json: .*--perfgate-report-dir DIR"):
            write.write(tmp_path, Results({}, [], [section]), html=True, shared=False)
        assert list(tmp_path.iterdir()) == []
