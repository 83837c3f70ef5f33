"""The plan of a run, and a line for each case."""

from __future__ import annotations

import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice

from tests.conftest import Project

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
