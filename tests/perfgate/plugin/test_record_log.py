"""The cases of a session: their keys, what is left, and how long they took the last time."""

from __future__ import annotations

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice

from tests.conftest import Project


class TestSession:
    def test_a_benchmark_without_a_table_measures_too(self, project: Project) -> None:
        project.benchmark("""
            import pytest

            @pytest.mark.parametrize("size", [3, 4])
            def test_plain(measure, size):
                measure(sum, range(size))
        """)
        project.run().assert_outcomes(passed=2)
        assert list(project.records()) == ["test_plain/3", "test_plain/4"]

    def test_the_next_run_knows_how_long_the_cases_take(self, project: Project) -> None:
        guess = "*of unknown length (a guess: the next run here will know from this one)"
        project.run("-k", "loop-n10").stdout.fnmatch_lines([guess])
        again = project.run("-k", "loop-n10")
        again.stdout.fnmatch_lines(["perfgate: 1 cases on cpu (1 sums), about * s"])
        again.stdout.no_fnmatch_line("*unknown length*")


def test_two_benchmarks_with_one_key_are_refused(project: Project) -> None:
    """Their records would overwrite each other, and one of them would pass for both."""
    project.benchmark("def test_one(measure): measure(sum, [1])")
    project.pytester.makepyfile(test_more="def test_one(measure): measure(sum, [2])")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*two benchmarks share the key 'test_one/default'*test_more*test_sums*rename*"])
