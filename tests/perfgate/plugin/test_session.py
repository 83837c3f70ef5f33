"""What one session works with; with the benchmarks disabled, nothing is measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.machine import environment
from perfgate.plugin import session

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


@pytest.mark.parametrize(
    ("benchmarks", "disabled"),
    [(None, False), (SimpleNamespace(disabled=False), False), (SimpleNamespace(disabled=True), True)],
)
def test_disabled_is_pytest_benchmarks_word(benchmarks: Any, disabled: bool, pytester: pytest.Pytester) -> None:
    """Where it does not take part there is nobody to say it."""
    config: Any = pytester.parseconfig("-p", "perfgate.plugin")
    context = session.SessionContext.start(config)
    if benchmarks is not None:
        config._benchmarksession = benchmarks
    assert context.disabled is disabled


def test_a_session_has_one_context(pytester: pytest.Pytester) -> None:
    config = pytester.parseconfig("-p", "perfgate.plugin", "--perfgate-device=cpu")
    context = session.of(config)
    assert session.of(config) is context
    assert context.device == "cpu"


def test_a_device_that_is_not_there_is_a_usage_error(pytester: pytest.Pytester) -> None:
    with pytest.raises(pytest.UsageError, match="abacus"):
        session.of(pytester.parseconfig("-p", "perfgate.plugin", "--perfgate-device=abacus"))


def test_faults_and_code_are_in_the_fingerprint(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml("[tool.perfgate]\nsources = ['*.py']\npackages = ['pytest', 'absent']")
    found = []
    for faults, source in (((), "1"), (("--perfgate-inject=wrong",), "1"), ((), "2")):
        pytester.makepyfile(test_one=source)
        found.append(session.of(pytester.parseconfig("-p", "perfgate.plugin", *faults)).fingerprint())
    assert [one.faults for one in found] == [(), ("wrong",), ()]
    assert found[0].code == found[1].code != found[2].code
    assert found[0].versions["pytest"] == pytest.__version__


def test_baselines_are_this_machines_unless_another_is_named(pytester: pytest.Pytester) -> None:
    context = session.of(pytester.parseconfig("-p", "perfgate.plugin", "--perfgate-device=cpu"))
    own = environment.machine_key(environment.machine("cpu"))
    assert [context.baselines().machine_key, context.baselines("mars").machine_key] == [own, "mars"]
