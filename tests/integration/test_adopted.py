"""A suite that was written for pytest-benchmark, unchanged: compared, stored, and left alone where nobody asks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.library_made_slower import LIBRARY, SLOWER
from tests.support.repository import commit, git
from tests.support.subprocesses import finding, ran

PERF = Path(__file__).resolve().parents[2] / "perf"
SUITE = """
import random

import pytest
from library import add


@pytest.fixture(scope="module")
def numbers():
    return list(range(2000))


def test_plain():
    raise AssertionError("this is no benchmark, and is not run by a comparison")


def test_called(benchmark, numbers):
    assert benchmark(add, numbers) == 1999000


def test_decorated(benchmark, numbers):
    @benchmark
    def total():
        return add(numbers)

    assert total == 1999000


def test_setup(benchmark):
    made = []

    def setup():
        made.append(1)
        return (list(range(2000)),), {}

    def add_and_clear(numbers):
        total = add(numbers)
        numbers.clear()
        return total

    assert benchmark.pedantic(add_and_clear, setup=setup, rounds=3) == 1999000
    assert made


class TestClass:
    @pytest.fixture(scope="class")
    def steady(self):
        return [1.5] * 3000

    @pytest.mark.parametrize("how", ["a b/[c]", "x::y"])
    def test_method(self, benchmark, steady, how):
        assert benchmark(sorted, steady) == steady


def test_random(benchmark):
    assert 0 <= benchmark(random.random) < 1


def test_grows(benchmark):
    grown = []
    benchmark(lambda: (grown.append(1), grown)[1])


def test_once(benchmark):
    left = ["a"]
    benchmark(left.pop)


def test_asynchronous(benchmark):
    async def work():
        return 1

    benchmark(work)


def test_unused(benchmark):
    pass
"""
FILE = "tests/test_it.py"
METHODS = [f"{FILE}::TestClass::test_method[a b/[c]]", f"{FILE}::TestClass::test_method[x::y]"]
SLOW = [f"{FILE}::{name}" for name in ("test_called", "test_decorated", "test_setup")]
SKIPPED = {
    f"{FILE}::test_grows": "grows, or is used up",
    f"{FILE}::test_once": "called again, it raised IndexError",
    f"{FILE}::test_asynchronous": "asynchronous",
    f"{FILE}::test_unused": "never calls its benchmark fixture",
}


class Project:
    """Somebody's project, of which the last commit made one function slower."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tests").mkdir()
        (folder / FILE).write_text(SUITE)
        (folder / "library.py").write_text(LIBRARY)
        (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
        (folder / ".gitignore").write_text("__pycache__/\nperf-report/\n.pytest_cache/\n.benchmarks/\n")
        git(self.folder, "init", "-q")
        commit(self.folder)
        (folder / "library.py").write_text(SLOWER)
        commit(self.folder)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "perfgate.plugin", "-q", *arguments]
        return ran(command, self.folder, finding(PERF))

    @property
    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "perf-report" / "results.json").read_text())
        return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.slow
def test_two_commits_are_compared(project: Project) -> None:
    done = project.run("--perfgate-versus", "git:HEAD~1", "--perfgate-tolerance", "20")
    verdicts = {row["case"]: row for row in project.results["sections"]["versus"]["rows"]}
    assert set(verdicts) == {*SLOW, *METHODS, f"{FILE}::test_random", *SKIPPED}, done.stdout
    assert {key for key, row in verdicts.items() if row["verdict"] == "REGRESSED"} == set(SLOW), done.stdout
    assert {key for key, row in verdicts.items() if row["verdict"] == "SKIPPED"} == set(SKIPPED)
    assert {verdicts[key]["verdict"] for key in METHODS} <= {"SAME", "INCONCLUSIVE"}
    for key, why in SKIPPED.items():
        assert why in project.results["sections"]["versus"]["cases"][key]["verdict"]["reason"]
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


@pytest.mark.slow
def test_a_file_that_the_other_side_cannot_collect_does_not_end_the_comparison(project: Project) -> None:
    """The tests of a new release import what an old one does not have."""
    new = "tests/test_new.py"
    (project.folder / new).write_text(
        "from library import newer\n\n\ndef test_newer(benchmark):\n    benchmark(newer)\n"
    )
    commit(project.folder)
    (project.folder / "library.py").write_text(SLOWER + "\n\ndef newer():\n    return 1\n")
    commit(project.folder)
    done = project.run("-k", "test_newer or test_random", "--perfgate-versus", "git:HEAD~1")
    cases = project.results["sections"]["versus"]["cases"]
    assert set(cases) == {f"{new}::test_newer", f"{FILE}::test_random"}, done.stdout
    verdict = cases[f"{new}::test_newer"]["verdict"]
    assert verdict["status"] == "NEW"
    assert f"could not be collected: {new}: ImportError: cannot import name 'newer' from 'library'" in verdict["reason"]
    assert cases[f"{FILE}::test_random"]["verdict"]["status"] in {"SAME", "INCONCLUSIVE"}
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_baseline_is_stored_and_compared_with(project: Project) -> None:
    git(project.folder, "checkout", "-q", "HEAD~1")
    select = ("-k", "test_called or test_method or test_grows", "--perfgate-measure-budget", "0.2")
    stored = project.run(*select, "--perfgate-refresh", "--perfgate-reason", "the first", "--perfgate-accept-busy")
    assert stored.returncode == 0, stored.stdout + stored.stderr
    git(project.folder, "checkout", "-q", "master" if (project.folder / ".git/refs/heads/master").exists() else "main")
    done = project.run(*select, "--perfgate-compare", "--perfgate-tolerance", "20")
    found = {row["case"]: row["verdict"] for row in project.results["sections"]["gate"]["rows"]}
    assert found[f"{FILE}::test_called"] == "REGRESSED", done.stdout
    assert {found[key] for key in METHODS} <= {"SAME", "INCONCLUSIVE"}, done.stdout


@pytest.mark.slow
def test_where_nobody_asks_pytest_benchmark_measures(project: Project) -> None:
    without = project.run("-p", "no:perfgate.plugin", "-k", "test_called", "--benchmark-columns=rounds")
    done = project.run("-k", "test_called", "--benchmark-columns=rounds", "--benchmark-json=out.json")
    assert (done.returncode, without.returncode) == (0, 0)
    assert not (project.folder / "perf-report").exists()
    (benchmark,) = json.loads((project.folder / "out.json").read_text())["benchmarks"]
    assert benchmark["extra_info"] == {}
    assert benchmark["stats"]["rounds"] > 100


@pytest.mark.slow
def test_the_command_pytest_measures_what_is_installed_and_not_what_lies_beside(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """``python -m pytest`` finds a project's own source; ``pytest`` does not, and its workers must not either."""
    installed = tmp_path_factory.mktemp("installed")
    (installed / "library.py").write_text(LIBRARY)
    (project.folder / "library.py").write_text("raise ImportError('what lies beside')\n")
    (project.folder / "pytest.ini").write_text("[pytest]\n")
    commit(project.folder)
    code = "import sys, pytest; sys.path.remove(''); sys.argv[0] = 'bin/pytest'; sys.exit(pytest.main())"
    options = ["-q", "-k", "test_called", "--perfgate-versus", "git:HEAD", "--perfgate-versus-budget", "5"]
    command = [sys.executable, "-c", code, "-p", "perfgate.plugin", *options]
    done = ran(command, project.folder, finding(PERF, installed))
    assert "what lies beside" not in done.stdout + done.stderr
    (row,) = project.results["sections"]["versus"]["rows"]
    assert row["pairs"] > 0, done.stdout + done.stderr
