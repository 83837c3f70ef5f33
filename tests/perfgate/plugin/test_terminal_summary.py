"""What a session shows on the terminal, and where pytest-benchmark's own table stands."""

from __future__ import annotations

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.plugin.terminal_summary import TABLE_OPTIONS

from tests.conftest import Project


class TestBenchmarkTable:
    """pytest-benchmark's own table."""

    def shown(self, project: Project, *arguments: str) -> bool:
        return any("benchmark 'sums'" in line for line in project.run(*arguments).outlines)

    def test_left_out_where_all_of_it_is_in_the_report(self, project: Project) -> None:
        assert not self.shown(project)

    @pytest.mark.parametrize("asked", ["-v", "--benchmark-columns=min,max", "--benchmark-sort=min"])
    def test_there_when_asked_for(self, project: Project, asked: str) -> None:
        assert self.shown(project, asked)

    def test_its_options_are_known_by_the_names_they_have(self, project: Project) -> None:
        text = "\n".join(project.run("--help").outlines)
        assert [one for one in TABLE_OPTIONS if one not in text] == []

    def test_there_for_benchmarks_that_perfgate_does_not_measure(self, project: Project) -> None:
        project.pytester.makepyfile(test_theirs="def test_theirs(benchmark):\n    benchmark(lambda: 1)\n")
        assert any(
            "test_theirs" in line and "OPS" not in line for line in project.run("--benchmark-max-time=0.01").outlines
        )
