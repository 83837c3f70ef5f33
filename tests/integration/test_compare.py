"""The gate on a project that has nothing to do with language models: store a baseline, and be failed by what is worse.

Every test runs real processes of pytest in the project's folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.repository import commit, git
from tests.support.spin_project import BENCHMARK, NOT_BUSY, Project


@pytest.fixture
def project(recorded: Project) -> Project:
    return recorded


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_deselected_is_not_missing(project: Project) -> None:
    assert project.run("--benchmark-compare", "-k", "1ms").returncode == 0
    assert project.statuses() == {"1ms": "SAME"}
    assert project.run("--perfgate-quick", "--benchmark-compare").returncode == 0
    assert project.statuses() == {"1ms": "SAME"}
    (project.folder / "test_other.py").write_text("def test_other(measure):\n    measure(sum, [1])\n")
    assert project.run("test_other.py", "--benchmark-compare").returncode == 0
    assert project.statuses() == {"default": "NEW"}


@pytest.mark.slow
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
    (project.folder / ".gitignore").write_text("perf-report\n__pycache__\n")
    git(project.folder, "init", "-q")
    commit(project.folder)
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


@pytest.mark.slow
def test_a_project_without_measure_keeps_pytest_benchmarks_own_comparison(tmp_path: Path) -> None:
    project = Project(tmp_path)
    (tmp_path / "test_spin.py").write_text("def test_own(benchmark):\n    benchmark(sum, [1])\n")
    assert project.run("--benchmark-autosave").returncode == 0
    done = project.run("--benchmark-compare")
    assert done.returncode == 0
    assert "(NOW)" in done.stdout
