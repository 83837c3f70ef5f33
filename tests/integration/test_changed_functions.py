"""Only the cases that run what has changed are judged, in a project whose functions a refresh has recorded.

Every test runs real processes of pytest in the project's folder.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.repository import commit, git
from tests.support.spin_project import NOT_BUSY, Project

pytestmark = pytest.mark.slow
TOOLS = """
import time

MS = 1
_kept = {}


def spin(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return 42


def alone():
    return spin(0.001)


def by_constant():
    return spin(MS / 1000)


def made(name):
    if name not in _kept:
        _kept[name] = make(name)
    return _kept[name]


def make(name):
    return 0.001


def load():
    time.sleep(0.6)


def kept():
    return spin(made("x"))
"""
BENCHMARK = """
from dataclasses import dataclass
from typing import ClassVar

import tools
from perfgate import Case, Row, cases, part


@dataclass(frozen=True, kw_only=True)
class SpinCase(Case):
    benchmark: ClassVar[str] = "spin"
    how: str = part()


def table(config):
    for how in ("alone", "constant", "first", "second", "loads"):
        yield Row(SpinCase(how=how))


@cases(table)
def test_spin(case, measure):
    if case.how == "loads":
        tools.load()
    if case.how in ("alone", "loads"):
        call = tools.alone
    elif case.how == "constant":
        call = tools.by_constant
    else:
        call = tools.kept
    measure(call, budget_s=0.05)


def extra_table(config):
    yield Row(SpinCase(how="extra"), extra=True)


@cases(extra_table)
def test_extra(case, measure):
    measure(tools.alone)
"""


class Git:
    """The project in a checkout of its own."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder = project.folder

    def edit(self, before: str, after: str) -> None:
        path = self.folder / "tools.py"
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))
        commit(self.folder)

    def compare(self, *arguments: str) -> dict[str, Any]:
        """The comparison's part of the report."""
        self.done = self.project.run("--benchmark-compare", "--perfgate-judge-budget", "60", *arguments)
        found: dict[str, Any] = json.loads((self.folder / "perf-report/results.json").read_text())
        return found["sections"]["gate"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, with the baseline that real processes recorded of it."""
    project = Project(tmp_path_factory.mktemp("changed"))
    project.table("judged_anyway = 0")
    (project.folder / "test_spin.py").write_text(BENCHMARK)
    (project.folder / "tools.py").write_text(TOOLS)
    (project.folder / "conftest.py").write_text(NOT_BUSY)
    (project.folder / ".gitignore").write_text("__pycache__\nperf-report\nbaselines\n")
    git(project.folder, "init", "-q")
    commit(project.folder)
    done = project.refresh()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "which functions they run is known of 5 of 5 cases" in done.stdout
    return project.folder


@pytest.fixture
def checkout(tmp_path: Path, stored: Path) -> Git:
    folder = tmp_path / "copy"
    shutil.copytree(stored, folder)
    project = Project.__new__(Project)  # its files are there
    project.folder = folder
    return Git(project)


def judged(found: dict[str, Any]) -> dict[str, str]:
    """The verdicts of the cases whose times were judged."""
    return {
        key.partition("/")[2]: one["status"]
        for key, one in found["verdicts"].items()
        if "none of the" not in one["reason"]
    }


def test_a_baseline_names_the_functions_of_each_case(stored: Path) -> None:
    (file,) = stored.glob("baselines/*/*.json")
    data = json.loads(file.read_text())
    groups = data["perfgate"]["functions"]
    ran = {
        one["extra_info"]["perfgate"]["key"].partition("/")[2]: {
            name
            for number in one["extra_info"]["perfgate_baseline"]["functions"]
            for name in groups[number].get("tools.py", [])
        }
        for one in data["benchmarks"]
    }
    assert ran == {
        "alone": {"alone", "load", "spin"},  # it passes by where another case loads
        "loads": {"alone", "load", "spin"},
        "constant": {"by_constant", "load", "spin"},
        "first": {"kept", "load", "made", "make", "spin"},
        "second": {"kept", "load", "made", "make", "spin"},
    }


def test_one_function_concerns_the_case_that_runs_it(checkout: Git) -> None:
    checkout.edit("return spin(0.001)", "return spin(0.002)")
    found = checkout.compare()
    assert checkout.done.returncode == 1, checkout.done.stdout
    assert judged(found) == {"alone": "REGRESSED", "loads": "REGRESSED"}
    assert "Changed functions: tools.py:alone; 3 of 5 cases run none of them." in checkout.done.stdout
    assert found["verdicts"]["spin/constant"]["status"] == "SAME"
    assert "judges 2 cases" in checkout.done.stdout


def test_a_constant_concerns_who_names_it(checkout: Git) -> None:
    checkout.edit("MS = 1", "MS = 2")
    assert judged(checkout.compare()) == {"constant": "REGRESSED"}


def test_what_one_case_makes_concerns_those_that_find_it_made(checkout: Git) -> None:
    checkout.edit("    return 0.001", "    return 0.002")
    assert judged(checkout.compare()) == {"first": "REGRESSED", "second": "REGRESSED"}


def test_a_comment_concerns_nobody_but_those_judged_anyway(checkout: Git) -> None:
    checkout.project.table("judged_anyway = 1")
    checkout.edit("MS = 1", "MS = 1  # a millisecond")
    found = checkout.compare()
    assert checkout.done.returncode == 0, checkout.done.stdout
    (status,) = judged(found).values()
    assert status in ("SAME", "INCONCLUSIVE"), "on a busy machine a minute may not decide it"
    assert "Judged all the same, in case something was overlooked: spin/" in checkout.done.stdout


def test_a_load_that_takes_twice_as_long_is_found(checkout: Git) -> None:
    """Of the five cases one loads for so long that it is compared; the others only pass the function by. Stored times
    must not decide: they know nothing of loading."""
    (checkout.folder / "conftest.py").write_text(NOT_BUSY.replace("[]", "['a test']"))
    checkout.edit("time.sleep(0.6)", "time.sleep(1.5)")
    found = checkout.compare()
    verdicts = judged(found)
    assert verdicts.pop("loads") == "REGRESSED"
    assert set(verdicts) == {"alone", "constant", "first", "second"}
    assert set(verdicts.values()) <= {"SAME", "INCONCLUSIVE"}, "on a busy machine a minute may not decide them"
    assert found["verdicts"]["spin/loads"]["reason"].startswith("load_s: time ")


def test_what_runs_on_import_concerns_all(checkout: Git) -> None:
    checkout.edit("_kept = {}", "_kept = {}\nprint()")
    found = checkout.compare("--perfgate-judge-budget", "1")
    assert len(judged(found)) == 5
    assert "The code's changes concern every case: tools.py: a statement that does more" in checkout.done.stdout


def test_judge_judges_all(checkout: Git) -> None:
    checkout.edit("return spin(0.001)", "return spin(0.002)")
    assert len(judged(checkout.compare("--perfgate-judge", "--perfgate-judge-budget", "1"))) == 5
