"""perfgate installed in somebody else's project: a session that measures nothing is as it is without perfgate."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.subprocesses import finding

PERF = Path(__file__).parents[2] / "perf"
WITHOUT = ("-p", "no:perfgate.plugin")

TIMER = """
import itertools
import os

_readings = itertools.count(step=float(os.environ.get("STEP_S", "1")))


def steady():
    return next(_readings)
"""
BENCHMARKS = """
def test_plain():
    assert True


def test_timed(benchmark):
    benchmark.pedantic(sum, args=([1, 2],), rounds=5)
"""
MEASURED = """
def test_measured(measure):
    measure(sum, [1, 2])
"""
HEAVY = ("jinja2", "matplotlib", "memray", "numpy", "psutil", "rich", "scipy", "torch")
LIGHT = {
    "perfgate",
    "perfgate.compare",
    "perfgate.compare.tolerances",
    "perfgate.measure",
    "perfgate.measure.policy",
    "perfgate.plugin",
    "perfgate.plugin.activation",
    "perfgate.plugin.command_line",
    "perfgate.plugin.entry",
    "perfgate.plugin.hookspec",
}
"""All that perfgate may import in a session that measures nothing."""
MERGED = """
import os, sys
os.dup2(1, 2)
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])
"""
"""Runs pytest with its standard error where its standard output goes."""
LOADED = """
import json, sys
import pytest

code = pytest.main(sys.argv[1:])
print(json.dumps([int(code), sorted(sys.modules)]))
"""


class Project:
    """A project with one plain test and one of pytest-benchmark's, whose timer counts ``STEP_S`` seconds a reading."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.file("steady_timer.py", TIMER)
        self.file("test_foreign.py", BENCHMARKS)
        self.file("pytest.ini", "[pytest]\naddopts = --benchmark-timer=steady_timer.steady\n")

    def file(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        mine = {
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "pytest_benchmark.plugin,perfgate.plugin",
            "COLUMNS": "160",
        }
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=finding(self.folder, PERF, **mine | environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def transcript(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """A session's exit code and what a terminal shows of it: both streams, in their order."""
        done = self.python("-c", MERGED, *arguments, PYTHONUNBUFFERED="1", **environment)
        return done.returncode, _masked(done.stdout)

    def pytest(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "pytest", *arguments, **environment)

    def files(self) -> list[str]:
        """What the sessions left."""
        left = [path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return sorted(_masked(str(path.relative_to(self.folder))) for path in left)


def _masked(text: str) -> str:
    """``text`` without dates, durations, and pytest's line with the names of plugins, which has perfgate's."""
    text = re.sub(r"(?m)^plugins: .*\n", "", text)
    text = re.sub(r"\d{8}_\d{6}", "DATE", text)
    text = re.sub(r"in \d+\.\d+s", "in TIME", text)
    return re.sub(r"=+", "=", text)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.mark.parametrize(
    "sessions",
    [
        [(["-v"], "1")],
        [(["--benchmark-autosave"], "1"), (["--benchmark-compare"], "1")],
        [(["--benchmark-save=kept"], "1"), (["--benchmark-compare=0001", "--benchmark-columns=mean"], "2")],
        [(["--benchmark-compare"], "1")],
        [(["--benchmark-autosave"], "1"), (["--benchmark-compare", "--benchmark-compare-fail=mean:5%"], "1")],
        [(["--benchmark-autosave"], "1"), (["--benchmark-compare", "--benchmark-compare-fail=mean:5%"], "2")],
        [(["--benchmark-json=out.json", "--benchmark-disable"], "1"), (["--collect-only", "-q"], "1")],
        [(["--strict"], "1"), (["--no-such-option"], "1")],
    ],
    ids=lambda value: "-".join(" ".join(line) for line, _ in value).replace("--benchmark-", ""),
)
def test_sessions_are_as_they_are_without_perfgate(tmp_path: Path, sessions: Sequence[tuple[list[str], str]]) -> None:
    seen = []
    for more in ((), WITHOUT):
        project = Project(tmp_path / ("without" if more else "with"))
        outputs = [project.transcript(*line, *more, STEP_S=step) for line, step in sessions]
        seen.append(json.loads(json.dumps([outputs, project.files()]).replace(str(project.folder), "HERE")))
    assert seen[0] == seen[1]


def test_a_slower_run_fails_by_pytest_benchmarks_own_rule(project: Project) -> None:
    """So that the comparison above compares what it says."""
    assert project.pytest("--benchmark-autosave").returncode == 0
    line = ["--benchmark-compare", "--benchmark-compare-fail=mean:5%"]
    assert project.pytest(*line).returncode == 0
    slower = project.pytest(*line, STEP_S="2")
    assert slower.returncode == 1
    assert "Performance has regressed" in slower.stderr


def test_nothing_slow_is_imported(project: Project) -> None:
    loaded = {}
    for more in ((), WITHOUT):
        done = project.python("-c", LOADED, "-q", "-p", "no:cacheprovider", *more)
        code, modules = json.loads(done.stdout.splitlines()[-1])
        assert code == 0, done.stdout + done.stderr
        loaded[more] = set(modules)
    more = loaded[()] - loaded[WITHOUT]
    assert {name for name in more if name.split(".")[0] == "perfgate"} == LIGHT
    assert not {name.split(".")[0] for name in more} & set(HEAVY)


def test_a_session_that_measures_does_import_them(project: Project) -> None:
    """So that the test above can fail."""
    project.file("test_foreign.py", MEASURED)
    done = project.python("-c", LOADED, "-q", "-p", "no:cacheprovider")
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stdout + done.stderr
    assert {"psutil", "perfgate.plugin.hooks"} <= set(modules)


def test_no_option_is_anything_but_perfgates(project: Project) -> None:
    def options(*more: str) -> set[str]:
        lines = re.findall(r"(?m)^  (-.*?)(?:  |$)", project.pytest("--help", *more).stdout)
        return {name for line in lines for name in re.findall(r"(?<![\w-])--?\w[-\w]*", line)}

    more = options() - options(*WITHOUT)
    assert "--perfgate-device" in more
    assert [name for name in sorted(more) if not name.startswith("--perfgate-")] == []


class TestSetUp:
    """A project with ``[tool.perfgate]``."""

    def test_its_other_tests_do_not_resolve_it(self, project: Project) -> None:
        project.file("pyproject.toml", "[tool.perfgate]\nno_such_setting = 1\n")
        assert project.pytest("--perfgate-device=abacus").returncode == 0
        project.file("test_measured.py", MEASURED)
        wrong = project.pytest()
        assert wrong.returncode == 4
        assert "[tool.perfgate] has no setting 'no_such_setting'" in wrong.stderr

    def test_without_a_benchmark_of_perfgates_the_comparison_is_pytest_benchmarks(self, project: Project) -> None:
        project.file("pyproject.toml", "[tool.perfgate]\n")
        assert project.pytest("--benchmark-autosave").returncode == 0
        line = ["--benchmark-compare", "--benchmark-compare-fail=mean:5%"]
        assert project.pytest(*line).returncode == 0
        slower = project.pytest(*line, STEP_S="2")
        assert slower.returncode == 1
        assert "Performance has regressed" in slower.stderr

    @pytest.mark.parametrize("table", ["[tool.perfgate]\n", ""])
    def test_with_one_it_is_perfgates(self, project: Project, table: str) -> None:
        project.file("pyproject.toml", table)
        project.file("test_foreign.py", MEASURED)
        done = project.pytest("--benchmark-compare")
        assert done.returncode == 4
        assert "no baseline for this machine" in done.stderr


def test_a_project_may_have_a_fixture_measure_of_its_own(project: Project) -> None:
    own = "import pytest\n\n\n@pytest.fixture\ndef measure():\n    return len\n\n\n"
    project.file("test_foreign.py", own + "def test_own(measure):\n    assert measure('ab') == 2\n")
    done = project.pytest()
    assert done.returncode == 0, done.stdout
    assert "perfgate" not in done.stdout.partition("collected")[2]
    assert not (project.folder / "perf-report").exists()


def test_a_fixture_around_perfgates_measures(project: Project) -> None:
    around = "import pytest\n\n\n@pytest.fixture\ndef measure(measure):\n    return measure\n\n\n"
    project.file("test_foreign.py", around + MEASURED)
    assert "perfgate: 1 case on cpu" in project.pytest().stdout


@pytest.mark.slow
@pytest.mark.parametrize("where", ["addopts", "environment"])
def test_options_work_from_everywhere(project: Project, where: str) -> None:
    project.file("test_foreign.py", MEASURED)
    line, environment = "--perfgate-report-dir=elsewhere --perfgate-no-html", {}
    if where == "addopts":
        project.file("pytest.ini", f"[pytest]\naddopts = {line}\n")
    else:
        environment["PYTEST_ADDOPTS"] = line
    assert project.pytest(**environment).returncode == 0
    assert {path.name for path in (project.folder / "elsewhere").iterdir()} == {"results.json", "summary.md"}


def test_a_process_that_perfgate_started_measures_whatever_the_configuration_asks_for(project: Project) -> None:
    project.file("test_foreign.py", MEASURED)
    project.file("pyproject.toml", "[tool.perfgate]\n")
    asks = "--perfgate-refresh-baseline --perfgate-reason=x --benchmark-compare=nothing"
    project.file("pytest.ini", f"[pytest]\naddopts = {asks}\n")
    done = project.pytest(PERFGATE_ONLY='["test_measured/default"]')
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (project.folder / "baselines").exists()
    assert "Cases: 1 measured" in done.stdout


def test_without_pytest_benchmark_other_tests_run(project: Project) -> None:
    project.file("pytest.ini", "[pytest]\n")
    project.file("test_foreign.py", f"def test_plain():\n    assert True\n{MEASURED}")
    done = project.pytest(PYTEST_PLUGINS="perfgate.plugin")
    assert "1 passed, 1 error" in done.stdout
    assert "fixture 'benchmark' not found" in done.stdout
