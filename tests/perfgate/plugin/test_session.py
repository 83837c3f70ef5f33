"""A session's context: when nothing is measured."""

from __future__ import annotations

import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice

from tests.conftest import Project


class TestDisabled:
    def test_benchmarks_run_once_and_say_that_nothing_was_measured(self, project: Project) -> None:
        result = project.run("--benchmark-disable")
        result.assert_outcomes(passed=2, skipped=1, deselected=1)
        result.stdout.fnmatch_lines(["*ran once as plain tests; nothing was measured"])
        assert not (project.path / "perf-report").exists()

    def test_also_where_the_first_case_is_skipped(self, project: Project) -> None:
        """A report of nothing but the skipped case must not replace the one that is there."""
        project.run()
        before = project.results()
        rows = "def test_sums(", "@cases(lambda config: reversed([*table(config)]))\ndef test_sums("
        project.benchmark((project.path / "test_sums.py").read_text().replace("@cases(table)\n", "").replace(*rows))
        project.run("--benchmark-disable").assert_outcomes(passed=2, skipped=1, deselected=1)
        assert project.results() == before

    def test_a_wrong_result_still_fails(self, project: Project) -> None:
        project.benchmark((project.path / "test_sums.py").read_text().replace("total == 45", "total == 46"))
        project.run("--benchmark-disable").assert_outcomes(failed=2, skipped=1, deselected=1)

    def test_a_run_without_benchmarks_says_nothing_about_them(self, project: Project) -> None:
        project.benchmark("def test_plain(): pass")
        result = project.run("--benchmark-disable")
        result.stdout.no_fnmatch_line("*nothing was measured*")
