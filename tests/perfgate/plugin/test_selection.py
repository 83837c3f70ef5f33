"""Which cases a run has: by tier, by ids, by what perfgate asked a process for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.lockstep import fresh_process
from perfgate.plugin.command_line import destination
from perfgate.plugin.record_log import RecordLog
from perfgate.plugin.selection import asked_for, deselect, keyword_filter, runs_cases

from tests.conftest import Project
from tests.support.benchmark_items import Item, row

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


@pytest.fixture
def asked(pytester: pytest.Pytester) -> Callable[..., list[str]]:
    """What a command line asks for, from the folder ``sub`` of a project."""
    for name in ("sub", "sub/deep", "tests"):
        (pytester.path / name).mkdir()
    (pytester.path / "sub/test_a.py").write_text("")

    def ask(*arguments: str, folder: str = "sub", root: Path | None = None) -> list[str]:
        here = pytester.path / folder
        config: Any = SimpleNamespace(
            args=list(arguments), rootpath=root or pytester.path, invocation_params=SimpleNamespace(dir=here)
        )
        return asked_for(config)

    return ask


class TestAskedFor:
    @pytest.mark.parametrize(
        ("argument", "found"),
        [
            ("test_a.py", "sub/test_a.py"),
            ("test_a.py::TestX::test_y[a::b]", "sub/test_a.py::TestX::test_y[a::b]"),
            ("deep", "sub/deep"),
            ("../tests", "tests"),
            ("..", "."),
        ],
    )
    def test_is_relative_to_the_root(self, asked: Callable[..., list[str]], argument: str, found: str) -> None:
        assert asked(argument) == [found]

    def test_what_lies_outside_is_nothing_of_the_projects(
        self, asked: Callable[..., list[str]], tmp_path: Path
    ) -> None:
        assert asked("/", "test_a.py") == ["sub/test_a.py"]

    def test_a_root_behind_a_link_is_the_same_root(self, asked: Callable[..., list[str]], pytester: Any) -> None:
        link = pytester.path / "link"
        link.symlink_to(pytester.path)
        assert asked("test_a.py", root=link) == ["sub/test_a.py"]


class TestKeywordFilter:
    @pytest.mark.parametrize(
        ("expression", "selected"),
        [
            ("", True),
            ("loop", True),
            ("LOOP", True),
            ("loop and n10", True),
            ("loop and not n10", False),
            ("not loop", False),
            ("test_sums.py", True),
            ("speed", True),  # of the folder, which pytest looks at too
            ("builtin", False),
        ],
    )
    def test_it_selects_as_pytest_does(self, expression: str, selected: bool) -> None:
        config: Any = SimpleNamespace(getoption=lambda name: expression)
        assert keyword_filter(config)("speed/test_sums.py::test_sums[loop-n10]") is selected


class TestDeselect:
    def deselected(self, collected: list[Any], **chosen: bool) -> tuple[list[str], list[str]]:
        """The rows that stay and those that go."""
        gone: list[Any] = []
        hook = SimpleNamespace(pytest_deselected=lambda items: gone.extend(items))
        settings = SimpleNamespace(**{"quick": False, "all_cases": False} | chosen)
        context: Any = SimpleNamespace(
            log=RecordLog("cpu", ()), settings=settings, config=SimpleNamespace(hook=hook, cache=None)
        )
        deselect(context, collected)
        return [one.nodeid.partition("[")[2][:-1] or one.name for one in collected], [one.nodeid for one in gone]

    def cases(self) -> list[Any]:
        rows = row("fast", quick=True), row("usual"), row("long", extra=True), row("none", selected=False)
        return [*map(Item, rows), Item(name="test_plain", measures=False)]

    @pytest.mark.parametrize(
        ("chosen", "kept"),
        [
            ({}, ["fast", "usual", "test_plain"]),
            ({"quick": True}, ["fast", "test_plain"]),
            ({"all_cases": True}, ["fast", "usual", "long", "test_plain"]),
        ],
        ids=["default", "quick", "all"],
    )
    def test_by_tier_and_no_other_test(self, chosen: dict[str, bool], kept: list[str]) -> None:
        stay, gone = self.deselected(self.cases(), **chosen)
        assert stay == kept
        assert len(stay) + len(gone) == 5

    def test_a_process_that_perfgate_started_runs_what_it_was_started_for(self, monkeypatch: Any) -> None:
        """Whatever tier that is."""
        monkeypatch.setenv(fresh_process.ONLY, json.dumps(["sums/long", "sums/none"]))
        assert self.deselected(self.cases(), quick=True)[0] == ["long", "none", "test_plain"]

    def test_two_of_one_key_are_refused_only_where_both_stay(self) -> None:
        twice = [Item(row("fast", quick=True)), Item(row("fast"))]
        assert self.deselected(list(twice), quick=True)[0] == ["fast"]
        with pytest.raises(pytest.UsageError, match="sums/fast"):
            self.deselected(list(twice))


@pytest.mark.parametrize(
    ("items", "collectonly", "doctor", "runs"),
    [([1], False, False, True), ([], False, False, False), ([1], True, False, False), ([1], False, True, False)],
)
def test_a_session_that_lists_or_tells_runs_no_case(
    items: list[int], collectonly: bool, doctor: bool, runs: bool
) -> None:
    options = {"collectonly": collectonly, destination("doctor"): doctor}
    session: Any = SimpleNamespace(items=items, config=SimpleNamespace(getoption=options.__getitem__))
    assert runs_cases(session) is runs
