"""The gate on a project that has nothing to do with language models: store a baseline, and be failed by what is worse.

Every test runs real processes of pytest in the project's folder.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from perfgate.baselines.store import load

from tests.support.subprocesses import finding

PERF = Path(__file__).resolve().parents[2] / "perf"


BENCHMARK = """
import time

import pytest
from perfgate import Case, Row, cases, part
from dataclasses import dataclass
from typing import ClassVar


def spin(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return 42


@dataclass(frozen=True, kw_only=True)
class SpinCase(Case):
    benchmark: ClassVar[str] = "spin"
    ms: int = part("{}ms")


def table(config):
    yield Row(SpinCase(ms=1), quick=True)
    yield Row(SpinCase(ms=2))
    yield Row(SpinCase(ms=3), extra=True)


@cases(table)
def test_spin(case, measure):
    def check(answer):
        assert answer == 42

    measure(spin, case.ms / 1000, check=check, budget_s=0.1)
"""


NOT_BUSY = "from perfgate.machine import health\nhealth.doubts_about_stored = lambda *_: []\n"
"""A conftest.py for what stored times decide: on a busy machine they decide nothing."""


class Project:
    """The foreign project; ``run`` runs pytest there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table()
        (folder / "test_spin.py").write_text(BENCHMARK)

    def table(self, text: str = "") -> None:
        (self.folder / "pyproject.toml").write_text(f"[tool.pytest.ini_options]\n[tool.perfgate]\n{text}")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "-p", "perfgate.plugin", "-p", "no:cacheprovider", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return finding(PERF, PYTEST_ADDOPTS="", COLUMNS="250")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def refresh(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            "--perfgate-refresh-baseline", "--perfgate-reason", "because", "--perfgate-accept-busy", *arguments
        )

    def baselines(self) -> list[Path]:
        return sorted(self.folder.glob("baselines/*/*.json"))

    def verdicts(self) -> dict[str, dict[str, Any]]:
        data = json.loads((self.folder / "perf-report/results.json").read_text())["sections"]
        return {key.partition("/")[2]: one for key, one in data["gate"]["verdicts"].items()}

    def statuses(self) -> dict[str, str]:
        return {key: one["status"] for key, one in self.verdicts().items()}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A baseline of the project, recorded once, with its path below the project's folder."""
    project = Project(tmp_path_factory.mktemp("recorded"))
    done = project.refresh()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert "a process that is not kept (warm-up process): " in done.stdout
    return str(project.folder)


@pytest.fixture
def project(tmp_path: Path, stored: str) -> Project:
    """The project with its baseline."""
    shutil.copytree(Path(stored) / "baselines", tmp_path / "baselines")
    return Project(tmp_path)


def test_a_refresh_stores_every_process_with_its_provenance(stored: str) -> None:
    (path,) = Path(stored).glob("baselines/*/*.json")
    assert path.name.startswith("0001_")
    found = load(path)
    assert set(found.entries) == {"spin/1ms", "spin/2ms"}
    entry = found.entries["spin/2ms"]
    assert len(entry.by_process_s) == 5
    assert all(0.0019 < seconds < 1 for seconds in entry.by_process_s)  # a busy machine lengthens any of them
    assert (entry.refresh.reason, entry.refresh.runs, entry.tier) == ("because", 5, "default")
    assert found.entries["spin/1ms"].tier == "quick"
    data = json.loads(path.read_text())
    assert {"machine_info", "commit_info", "datetime", "version"} <= set(data)
    one = data["benchmarks"][0]
    assert "data" not in one["stats"]
    assert all(not each.record.metrics["latency_s"].samples for each in found.entries.values())
    results = json.loads((Path(stored) / "perf-report/results.json").read_text())
    samples = results["records"][0]["metrics"]["latency_s"]["samples"]
    assert results["records"][0]["case"]["key"] == one["extra_info"]["perfgate"]["key"]
    assert one["stats"]["rounds"] == len(samples) > 5
    assert one["stats"]["median"] == pytest.approx(statistics.median(samples))


def test_nothing_changed_is_history(project: Project) -> None:
    done = project.run("--benchmark-compare", "--benchmark-columns=median")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.statuses() == {"1ms": "SAME", "2ms": "SAME"}
    assert "2 SAME." in done.stdout
    assert "nothing: times are history and are not judged" in done.stdout
    assert "(NOW)" in done.stdout  # pytest-benchmark's own table shows the baseline beside the run


def test_a_slowdown_fails_its_own_test_with_one_paragraph(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFGATE_FAULTS", "slow=50%@spin/2ms")  # as the selftest does: for this environment alone
    done = project.run("--benchmark-compare")
    assert done.returncode == 1, done.stdout + done.stderr
    assert project.statuses() == {"1ms": "SAME", "2ms": "REGRESSED"}
    ratio = project.verdicts()["2ms"]["findings"][0]["ratio"]
    assert ratio == pytest.approx(1.5, rel=0.1)
    paragraph = next(line for line in done.stdout.splitlines() if line.startswith("spin/2ms: REGRESSED: latency_s"))
    assert "slower by more than the tolerance of 5%" in paragraph
    assert "Against baselines/" in paragraph
    assert "changed since: injected faults: slow=50%@spin/2ms" in paragraph
    assert "pytest 'test_spin.py::test_spin[2ms]' --benchmark-compare" in paragraph
    assert "Traceback" not in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_more_memory_fails(project: Project) -> None:
    done = project.run(
        "--benchmark-compare", "--perfgate-inject", "memory=1MiB@spin/2ms", "--perfgate-judge-budget", "1"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert project.statuses()["2ms"] == "REGRESSED"
    assert "peak_memory_bytes: 0 bytes became 1.0 MiB" in done.stdout


def test_a_wrong_result_fails(project: Project) -> None:
    done = project.run("--benchmark-compare", "--perfgate-inject", "wrong@spin/2ms", "-k", "2ms")
    assert done.returncode == 1
    assert project.statuses() == {"2ms": "REGRESSED"}
    assert project.verdicts()["2ms"]["reason"].startswith("passed before, fails now")


@pytest.mark.parametrize("fault", ["vanish", "rename"])
def test_a_case_that_is_gone_is_missing(project: Project, fault: str) -> None:
    done = project.run("--benchmark-compare", "--perfgate-inject", f"{fault}@spin/2ms", "-k", "2ms")
    assert done.returncode == 1, done.stdout + done.stderr
    assert project.statuses()["2ms"] == "MISSING"
    assert project.statuses().get("2ms-renamed") == (None if fault == "vanish" else "NEW")
    assert 'add "spin/2ms" = "NEW KEY" to [tool.perfgate.aliases]' in done.stdout
    assert "FAILED test_spin.py::test_spin[2ms] - spin/2ms: MISSING" in done.stdout


@pytest.mark.slow
def test_a_renamed_case_with_an_alias_is_compared(project: Project) -> None:
    project.table('aliases = { "spin/2ms" = "spin/2ms-renamed" }')
    done = project.run(
        "--benchmark-compare", "--perfgate-inject", "rename@spin/2ms", "-k", "2ms", "--perfgate-tolerance", "20"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.statuses() == {"2ms-renamed": "SAME"}


def test_deselected_is_not_missing(project: Project) -> None:
    assert project.run("--benchmark-compare", "-k", "1ms").returncode == 0
    assert project.statuses() == {"1ms": "SAME"}
    assert project.run("--perfgate-quick", "--benchmark-compare").returncode == 0
    assert project.statuses() == {"1ms": "SAME"}
    (project.folder / "test_other.py").write_text("def test_other(measure):\n    measure(sum, [1])\n")
    assert project.run("test_other.py", "--benchmark-compare").returncode == 0
    assert project.statuses() == {"default": "NEW"}


def test_a_case_outside_the_default_is_new(project: Project) -> None:
    done = project.run("--perfgate-all-cases", "--benchmark-compare")
    assert done.returncode == 0
    assert project.statuses() == {"1ms": "SAME", "2ms": "SAME", "3ms": "NEW"}
    assert (
        "NEW and IMPROVED are recorded by: pytest perf --perfgate-refresh-baseline --perfgate-reason TEXT"
        in done.stdout
    )


@pytest.mark.slow
def test_stopping_at_the_first_failure_judges_what_there_is(project: Project) -> None:
    done = project.run(
        "--benchmark-compare", "-x", "--perfgate-inject", "wrong@spin/1ms", "--perfgate-judge-budget", "30"
    )
    assert done.returncode == 1
    assert project.statuses() == {"1ms": "REGRESSED"}
    done = project.run("--benchmark-compare", "-x", "--perfgate-inject", "wrong@spin/2ms", "--perfgate-tolerance", "20")
    assert project.statuses() == {"1ms": "SAME", "2ms": "REGRESSED"}


@pytest.mark.slow
def test_without_a_budget_it_is_inconclusive_and_strict_fails(project: Project) -> None:
    arguments = [
        "--benchmark-compare",
        "--perfgate-judge",
        "-k",
        "2ms",
        "--perfgate-judge-budget",
        "0.001",
        "--perfgate-tolerance",
        "0.01",
    ]
    done = project.run(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.statuses() == {"2ms": "INCONCLUSIVE"}
    assert "spin/2ms: INCONCLUSIVE: latency_s:" in done.stdout
    assert "1 of 1 cases are NOT JUDGED: 1 not compared" in done.stdout
    assert "Changed since: nothing; times are judged all the same." in done.stdout
    assert project.run(*arguments, "--perfgate-strict").returncode == 1


@pytest.mark.slow
def test_code_that_changed_is_judged_against_its_own_commit(project: Project) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=project.folder, check=True, capture_output=True)

    (project.folder / ".gitignore").write_text("perf-report\n__pycache__\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    done = project.refresh("-k", "2ms")
    assert done.returncode == 0
    assert "uncommitted" not in done.stdout
    slower = BENCHMARK.replace("case.ms / 1000", "case.ms / 1000 * 1.5")
    (project.folder / "test_spin.py").write_text(slower)
    done = project.run("--benchmark-compare", "-k", "2ms")
    assert done.returncode == 1, done.stdout + done.stderr
    assert project.statuses() == {"2ms": "REGRESSED"}
    assert "checked out" in done.stdout
    assert "fresh processes against" not in done.stdout
    assert "the benchmarks' code (" in done.stdout
    assert "there are uncommitted changes" in project.refresh("-k", "2ms").stdout


@pytest.mark.slow
def test_where_the_environment_cannot_be_rebuilt_fresh_processes_decide(project: Project) -> None:
    slower = BENCHMARK.replace("case.ms / 1000", "case.ms / 1000 * 4")
    (project.folder / "test_spin.py").write_text(slower)  # no git checkout: the old code is gone
    (project.folder / "conftest.py").write_text(NOT_BUSY)
    done = project.run("--benchmark-compare", "-k", "2ms")
    reason = project.verdicts()["2ms"]["reason"]
    assert "cannot be rebuilt (its code has changed, and the baseline knows no commit)" in reason
    assert "judged by 5 fresh processes against 5 stored" in reason
    assert project.statuses() == {"2ms": "REGRESSED"}
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--benchmark-compare", "."], "'.' is neither a baseline's number nor a file; a value belongs after `=`"),
        (["--benchmark-compare=0007"], "no baseline 0007 in"),
        (["--benchmark-compare", "--perfgate-baseline-machine=mars"], "no baseline for this machine (mars)"),
        (["--perfgate-refresh-baseline"], "--perfgate-refresh-baseline needs --perfgate-reason TEXT"),
        (
            ["--perfgate-refresh-baseline", "--perfgate-reason", "x", "--perfgate-runs", "1"],
            "--perfgate-runs: got 1, expected 5 or more",
        ),
        (
            ["--perfgate-refresh-baseline", "--perfgate-reason", "x", "--benchmark-compare"],
            "exclude each other: pass one of them",
        ),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(project: Project, arguments: list[str], message: str) -> None:
    done = project.run(*arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert message in done.stdout + done.stderr


def test_a_damaged_baseline_is_a_usage_error(project: Project) -> None:
    (path,) = project.baselines()
    path.write_text(path.read_text()[:-20])
    done = project.run("--benchmark-compare")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "is damaged" in done.stdout + done.stderr


def test_a_project_without_measure_keeps_pytest_benchmarks_own_comparison(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "test_spin.py").write_text("def test_own(benchmark):\n    benchmark(sum, [1])\n")
    assert project.run("--benchmark-autosave").returncode == 0
    done = project.run("--benchmark-compare")
    assert done.returncode == 0
    assert "(NOW)" in done.stdout


class TestRefresh:
    @pytest.mark.slow
    def test_a_part_keeps_the_rest(self, project: Project) -> None:
        done = project.refresh("-k", "1ms")
        assert done.returncode == 0, done.stdout + done.stderr
        first, second = map(load, project.baselines())
        assert set(second.entries) == {"spin/1ms", "spin/2ms"}
        assert second.entries["spin/2ms"].refresh == first.entries["spin/2ms"].refresh
        assert second.entries["spin/1ms"].refresh.date > first.entries["spin/1ms"].refresh.date

    @pytest.mark.slow
    def test_what_is_worse_is_taken_only_on_purpose(self, project: Project) -> None:
        (project.folder / "test_spin.py").write_text(BENCHMARK.replace("ms / 1000,", "ms / 100,"))
        (project.folder / "conftest.py").write_text(NOT_BUSY)
        done = project.refresh("-k", "1ms")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Nothing was stored" in done.stdout
        assert "spin/1ms: REGRESSED" in done.stdout
        assert "to store what is worse all the same, add --perfgate-accept-regressions" in done.stdout
        assert len(project.baselines()) == 1
        assert project.refresh("-k", "1ms", "--perfgate-accept-regressions").returncode == 0
        assert len(project.baselines()) == 2

    @pytest.mark.slow
    def test_what_fails_is_not_stored(self, project: Project) -> None:
        done = project.refresh("-k", "1ms", "--perfgate-inject", "wrong")
        assert done.returncode == 1
        assert "spin/1ms: failed: AssertionError" in done.stdout
        assert "aborting: the baseline would be invalid" in done.stdout
        assert "process 2 of 5" not in done.stdout
        assert len(project.baselines()) == 1

    @pytest.mark.slow
    def test_a_case_that_is_gone_leaves_the_baseline(self, project: Project) -> None:
        done = project.refresh("--perfgate-inject", "vanish@spin/2ms")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "spin/2ms is gone and leaves the baseline" in done.stdout
        assert set(load(project.baselines()[-1]).entries) == {"spin/1ms"}

    def test_a_busy_machine_is_refused(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        (project.folder / "conftest.py").write_text(
            "from perfgate.machine import health\n"
            "from perfgate.plugin import refresh_mode\n"
            "refresh_mode.IDLE_WAIT_S = 0\n"
            "refresh_mode.LOOK_EVERY_S = 0.01\n"
            "health.read = lambda *devices: health.Health(3.0, 2**30, None)\n"
        )
        done = project.run("--perfgate-refresh-baseline", "--perfgate-reason", "x")
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert "load 3, at most 0.5 allowed" in done.stdout + done.stderr
        assert "--perfgate-accept-busy" in done.stdout + done.stderr

    def test_killed_it_leaves_the_old_baseline_and_no_process(self, project: Project) -> None:
        killed(project, 3.0)

    @pytest.mark.slow
    def test_killed_at_ten_random_moments_and_then_it_works(self, project: Project) -> None:
        draw = random.Random(7)
        for _ in range(10):
            killed(project, draw.uniform(0.1, 12.0))
        assert project.refresh().returncode == 0
        assert len(project.baselines()) == 2


def killed(project: Project, after_s: float) -> None:
    """Kill a refresh after some seconds: the old baseline still loads, nothing half-written and no process is left."""
    process = subprocess.Popen(
        project.command("--perfgate-refresh-baseline", "--perfgate-reason", "x", "--perfgate-accept-busy"),
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(after_s)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    (path,) = project.baselines()
    assert set(load(path).entries) == {"spin/1ms", "spin/2ms"}
    assert [one.name for one in path.parent.iterdir()] == [path.name]
