"""Which cases a run has: by tier, by ids, by what perfgate asked a process for."""

from __future__ import annotations

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice

from tests.conftest import Project

BUILTIN, LOOP, MANY = "sums/builtin-n10", "sums/loop-n10", "sums/builtin-n99"


class TestSelection:
    def test_rows_run_skip_or_are_deselected(self, project: Project) -> None:
        result = project.run("-rs")
        result.assert_outcomes(passed=2, skipped=1, deselected=1)
        result.stdout.fnmatch_lines(["SKIPPED*this machine cannot count to 99"])
        assert {key: record["status"] for key, record in project.records().items()} == {
            BUILTIN: "measured",
            LOOP: "measured",
            MANY: "skipped",
        }
        assert project.records()[MANY]["reason"] == "this machine cannot count to 99"

    def test_quick_keeps_a_subset_with_the_same_ids(self, project: Project) -> None:
        collect = ("--collect-only", "-q")
        default, quick = (
            {line for line in project.run(*collect, *more).outlines if "::" in line}
            for more in ((), ("--perfgate-quick",))
        )
        assert quick == {"test_sums.py::test_sums[builtin-n10]"}
        assert quick < default
        project.run(*collect, "--perfgate-quick").assert_outcomes(deselected=3)

    @pytest.mark.parametrize("expression", ["loop-n10", "loop and n10", "test_sums[loop-n10]"])
    def test_ids_are_selectable(self, project: Project, expression: str) -> None:
        chosen = [f"test_sums.py::{expression}"] if "[" in expression else ["-k", expression]
        project.run(*chosen).assert_outcomes(passed=1, deselected=0 if "[" in expression else 3)
        assert list(project.records()) == [LOOP]
