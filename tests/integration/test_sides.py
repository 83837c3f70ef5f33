"""Both sides of a comparison run what was asked for: revisions of an editable project, pins beside a wheel's perfgate.

The projects live in a virtual environment of their own, which names this one's packages in a ``.pth`` file. Their call
spins as often as its code says, so that one side is three times slower than the other where each runs its own code, and
exactly as fast where both run the same.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.repository import commit, git
from tests.support.subprocesses import finding, ran
from tests.support.wheels import offline, wheel

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="--perfgate-versus is not for Windows"),
    pytest.mark.slow,
]
PERF = Path(__file__).resolve().parents[2] / "perf"
BACKEND = """
import base64, hashlib, os, zipfile

FINDER = '''
import sys
from importlib.machinery import PathFinder

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [{source!r}]) if name == "toy" else None

sys.meta_path.insert(0, Finder)
'''
INFO = "toy-1.0.dist-info"


def wheel(folder, files):
    files = files | {
        f"{INFO}/METADATA": "Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\n",
        f"{INFO}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    name = "toy-1.0-py3-none-any.whl"
    record = f"{INFO}/RECORD,,\\n"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record = f"{path},sha256={digest},{len(text.encode())}\\n" + record
            archive.writestr(path, text)
        archive.writestr(f"{INFO}/RECORD", record)
    return name


def build_wheel(folder, config_settings=None, metadata_directory=None):
    return wheel(folder, {"toy/__init__.py": open("src/toy/__init__.py").read()})


def build_editable(folder, config_settings=None, metadata_directory=None):
    source = os.path.abspath("src")
    if os.environ.get("EDITABLE") == "path":
        return wheel(folder, {"_toy.pth": source + "\\n"})
    return wheel(folder, {"_toy.pth": "import _toy_finder\\n", "_toy_finder.py": FINDER.format(source=source)})
"""
"""A build back-end without requirements. Its editable install is a finder before all others, the one that is the
hardest to get around, or a folder on the path."""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "toy"
version = "1.0"
[tool.perfgate]
sources = ["src/**/*.py", "test_*.py"]
packages = ["toy", "toypin"]
[tool.pytest.ini_options]
"""
SPIN = """
def spin():
    total = 0
    for number in range({times} * 30_000):
        total += number & 1
    return total // {times}
"""
BENCHMARK = """
from dataclasses import dataclass
from typing import ClassVar

import {module}
from perfgate import Case, Row, cases

@dataclass(frozen=True, kw_only=True)
class SpinCase(Case):
    benchmark: ClassVar[str] = "spin"
    how: str = "toy"

def table(config):
    yield Row(SpinCase())

@cases(table)
def test_spin(case, measure):
    def check(answer):
        assert answer == 15_000

    measure({module}.spin, check=check, budget_s=0.1)
"""


class Project:
    """A project in an environment of its own; pip has an index of tiny wheels, perfgate a cache of its own."""

    def __init__(self, base: Path) -> None:
        self.folder, self.wheels = base / "project", base / "wheels"
        self.folder.mkdir()
        self.wheels.mkdir()
        self.cache = base / "cache"
        self.python_path = [PERF]
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(base / "venv")], check=True)
        self.python = base / "venv/bin/python"
        (self.packages,) = base.glob("venv/lib/python*/site-packages")
        ours = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
        (self.packages / "ours.pth").write_text("\n".join(ours) + "\n")

    @property
    def environment(self) -> dict[str, str]:
        rest = {name: value for name, value in finding(*self.python_path).items() if not name.startswith("PIP_")}
        own = {"PERFGATE_CACHE": str(self.cache), "PYTEST_ADDOPTS": "", "COLUMNS": "250"}
        return rest | offline(self.wheels) | own

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def pip(self, *arguments: str, **environment: str) -> None:
        command = [str(self.python), "-m", "pip", "install", "-q", *arguments]
        subprocess.run(command, cwd=self.folder, env=self.environment | environment, check=True, capture_output=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-m", "pytest", "-p", "perfgate.plugin", "-p", "no:cacheprovider", ".", *arguments]
        return ran(command, self.folder, self.environment)

    def section(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / "perf-report/results.json").read_text())["sections"][name]


def editable(base: Path, kind: str) -> Project:
    """A project of src layout, installed editable: its call spins once."""
    project = Project(base)
    project.write("pyproject.toml", PYPROJECT)
    project.write("backend.py", BACKEND)
    project.write("test_toy.py", BENCHMARK.format(module="toy"))
    project.write("src/toy/__init__.py", SPIN.format(times=1))
    project.write(".gitignore", "__pycache__\nperf-report\nbaselines\n")
    git(project.folder, "init", "-q")
    commit(project.folder)
    project.pip("--no-deps", "-e", ".", EDITABLE=kind)
    return project


def assert_three_times_slower(found: dict[str, Any]) -> None:
    assert found["rows"][0]["verdict"] == "REGRESSED"
    assert found["rows"][0]["ratio"] > 1.5, "three times, as far as a busy machine lets it show"


@pytest.mark.parametrize("kind", ["finder", "path"])
def test_a_revision_of_an_editable_project_runs_its_own_code(tmp_path: Path, kind: str) -> None:
    project = editable(tmp_path, kind)
    project.write("src/toy/__init__.py", SPIN.format(times=3))
    commit(project.folder)
    done = project.run("--perfgate-versus", "git:HEAD~1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "installing toy of commit" in done.stdout
    found = project.section("versus")
    assert_three_times_slower(found)
    used = {side: Path(one["used"]["toy"]["files"][0]) for side, one in found["sides"].items()}
    assert used["A"].is_relative_to(project.cache)
    assert used["B"].is_relative_to(project.folder)
    again = project.run("--perfgate-versus", "git:HEAD~1")
    assert again.returncode == 1, again.stdout + again.stderr
    assert "installing toy of commit" not in again.stdout


def test_a_baseline_of_an_editable_project_is_rebuilt_with_its_own_code(tmp_path: Path) -> None:
    project = editable(tmp_path, "finder")
    stored = project.run("--perfgate-refresh-baseline", "--perfgate-reason", "first", "--perfgate-accept-busy")
    assert stored.returncode == 0, stored.stdout + stored.stderr
    project.write("src/toy/__init__.py", SPIN.format(times=3))
    commit(project.folder)
    done = project.run("--benchmark-compare")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "installing toy of commit" in done.stdout
    (verdict,) = project.section("gate")["verdicts"].values()
    assert verdict["status"] == "REGRESSED"
    assert "fresh processes" not in verdict["reason"], "it was judged in lockstep"
    (time,) = [one for one in verdict["findings"] if one["metric"] == "latency_s"]
    assert time["after"] / time["before"] > 1.5


def test_a_revision_that_cannot_be_built_is_said_with_what_to_do(tmp_path: Path) -> None:
    project = editable(tmp_path, "finder")
    project.write("backend.py", "raise ImportError('this back-end is broken')")
    commit(project.folder)
    done = project.run("--perfgate-versus", "git:HEAD")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "could not be built" in said
    assert "this back-end is broken" in said
    assert "--perfgate-versus ../old-env/bin/python" in said


def test_a_side_that_runs_the_other_sides_files_is_an_error_with_both_paths(tmp_path: Path) -> None:
    project = editable(tmp_path, "finder")
    fixed = f"import sys\nsys.path.insert(0, {str(project.folder / 'src')!r})\n"
    project.write("conftest.py", fixed)
    commit(project.folder)
    done = project.run("--perfgate-versus", "git:HEAD")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "the side 'git:HEAD' is not what was asked for, and nothing was compared" in said
    assert f"its module toy is {project.folder}/src/toy/__init__.py, of the other side's checkout" in said
    assert "perfgate-worktree-" in said
    assert "SAME" not in said


def pinned(base: Path) -> Project:
    """A project that uses toypin, whose release 1.0 spins once and 2.0, which is installed, three times."""
    project = Project(base)
    wheel(project.wheels, "toypin", "1.0", code=SPIN.format(times=1))
    wheel(project.wheels, "toypin", "2.0", code=SPIN.format(times=3))
    project.write("test_toy.py", BENCHMARK.format(module="toypin"))
    project.write("pyproject.toml", '[tool.perfgate]\npackages = ["toypin"]\n[tool.pytest.ini_options]\n')
    project.pip("toypin==2.0")
    return project


@pytest.mark.parametrize("on_python_path", [False, True], ids=["site-packages", "target"])
def test_a_wheels_neighbours_do_not_hide_a_pin(tmp_path: Path, on_python_path: bool) -> None:
    """Also where PYTHONPATH names the folder, as it does for one made by ``pip install --target``."""
    project = pinned(tmp_path)
    shutil.copytree(PERF / "perfgate", project.packages / "perfgate", ignore=shutil.ignore_patterns("__pycache__"))
    project.python_path = [project.packages] if on_python_path else []
    done = project.run("--perfgate-versus", "toypin==1.0")
    assert done.returncode == 1, done.stdout + done.stderr
    found = project.section("versus")
    assert_three_times_slower(found)
    used = {side: one["used"]["toypin"] for side, one in found["sides"].items()}
    assert {side: one["version"] for side, one in used.items()} == {"A": "1.0", "B": "2.0"}
    assert Path(used["A"]["files"][0]).is_relative_to(project.cache)
    assert Path(used["B"]["files"][0]).is_relative_to(project.packages)


def test_a_pin_that_the_checkout_hides_is_an_error_with_both_paths(tmp_path: Path) -> None:
    project = pinned(tmp_path)
    project.write("toypin.py", SPIN.format(times=1))
    done = project.run("--perfgate-versus", "toypin==1.0")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert f"its toypin is {project.folder}/toypin.py, expected one below {project.cache}" in said


def test_a_pinned_side_of_an_editable_project_has_the_current_project(tmp_path: Path) -> None:
    project = editable(tmp_path, "finder")
    wheel(project.wheels, "toypin", "1.0", code=SPIN.format(times=3))
    done = project.run("--perfgate-versus", "toypin==1.0", "--perfgate-tolerance", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    found = project.section("versus")
    assert found["rows"][0]["verdict"] == "SAME"
    assert [one["used"]["toy"]["files"] for one in found["sides"].values()] == [
        [str(project.folder / "src/toy/__init__.py")]
    ] * 2
