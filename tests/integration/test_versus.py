"""``--perfgate-versus``: two sides in lockstep, on a small project whose calls last as long as they say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import interruptible
from tests.support.repository import commit, git
from tests.support.subprocesses import finding, ran

fcntl = pytest.importorskip("fcntl", reason="--perfgate-versus is not for Windows")
PERF = Path(__file__).resolve().parents[2] / "perf"

BENCHMARK = """
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from perfgate import Case, Row, cases, part
from perfgate.measure.yield_points import may_pause

IS_B = bool(os.environ.get("PERFGATE_FAULTS"))  # set for side B alone, where a fault is injected
DEVICE = open("device.lock", "a")
if "PERFGATE_WORKER_CORE" in os.environ:
    with Path("workers.log").open("a") as log:
        log.write("x")


@dataclass(frozen=True, kw_only=True)
class SpinCase(Case):
    benchmark: ClassVar[str] = "spin"
    how: str = part()


def spin(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return 1


def in_parts():
    for part in range(3):
        spin(0.004)
        with Path("order.log").open("a") as log:
            log.write("AB"[IS_B])
        may_pause()
    return 1


def fails_in_b():
    assert not IS_B, "broken in B"
    return spin(0.002)


def dies_in_b():
    if IS_B:
        os.kill(os.getpid(), 9)
    return spin(0.002)


def alone():
    try:
        fcntl.flock(DEVICE, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until the process ends
    except BlockingIOError:
        raise MemoryError("the device is full") from None
    return spin(0.002)


CALLS = {{"alone": alone, "short": lambda: spin(0.002), "parts": in_parts, "fails": fails_in_b, "dies": dies_in_b}}


def table(config):
    for how in {cases}:
        yield Row(SpinCase(how=how))


@cases(table)
def test_spin(case, measure):
    def check(result):
        assert result == 1

    measure(CALLS[case.how], check=check)
"""


class Spin:
    """The project's folder; ``run`` compares it with this environment under another name, ``ran`` as it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "conftest.py").write_text('pytest_plugins = ["perfgate.plugin"]\n')
        self.cases("short")

    def cases(self, *names: str) -> None:
        (self.folder / "test_spin.py").write_text(BENCHMARK.format(cases=names))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", ".", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return finding(PERF, PYTEST_ADDOPTS="", COLUMNS="200")

    def ran(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return ran(self.command(*arguments), self.folder, self.environment)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.ran("--perfgate-versus", sys.executable, *arguments)

    def found(self) -> dict[str, Any]:
        return json.loads((self.folder / "perf-report/results.json").read_text())["sections"]["versus"]

    def verdicts(self) -> dict[str, str]:
        return {row["case"].partition("/")[2]: row["verdict"] for row in self.found()["rows"]}


@pytest.fixture
def spin(tmp_path: Path) -> Spin:
    return Spin(tmp_path)


@pytest.mark.slow
def test_same_environment_is_the_same(spin: Spin) -> None:
    done = spin.run("--perfgate-tolerance", "10", "--perfgate-versus-budget", "90")
    assert done.returncode == 0, done.stdout + done.stderr
    assert spin.verdicts() == {"short": "SAME"}
    assert "Versions that differ: none of those listed" in done.stdout
    assert "1 passed" in done.stdout
    row = spin.found()["rows"][0]
    assert 0.00199 < row["a_s"] < 0.02, "it spins for 2 ms by the clock; a busy machine adds to that"
    assert row["low"] < 1 < row["high"] or row["ratio"] == pytest.approx(1, rel=0.01)
    assert -0.1 < row["largest_slowdown"] < 0.1


def test_a_slower_side_fails_its_own_test_without_a_traceback(spin: Spin) -> None:
    done = spin.run("--perfgate-inject", "slow=50%")
    assert done.returncode == 1, done.stdout + done.stderr
    assert spin.verdicts() == {"short": "REGRESSED"}
    assert spin.found()["rows"][0]["ratio"] == pytest.approx(1.5, rel=0.05)
    assert "FAILED test_spin.py::test_spin[short] - spin/short: REGRESSED: latency_s: time +" in done.stdout
    assert "Traceback" not in done.stdout
    assert "B against A" in (spin.folder / "perf-report/summary.md").read_text()


@pytest.mark.slow
def test_a_side_that_fails_or_dies_ends_its_case_and_the_rest_goes_on(spin: Spin) -> None:
    spin.cases("fails", "dies", "short")
    done = spin.run("--perfgate-inject", "slow=50%")
    assert done.returncode == 1
    assert spin.verdicts() == {"fails": "REGRESSED", "dies": "REGRESSED", "short": "REGRESSED"}
    verdicts = {key.partition("/")[2]: case["verdict"] for key, case in spin.found()["cases"].items()}
    for how, said in (("fails", "failed: AssertionError: broken in B"), ("dies", "was killed by signal 9")):
        assert verdicts[how]["reason"].startswith("passed before, fails now")
        assert said in verdicts[how]["reason"]
    assert verdicts["short"]["reason"].startswith("latency_s: time +")


@pytest.mark.slow
def test_a_case_that_ends_by_itself_leaves_its_processes_to_the_next(spin: Spin) -> None:
    spin.cases("fails", "short")
    spin.run("--perfgate-inject", "slow=50%")
    assert len((spin.folder / "workers.log").read_text()) == 2 * spin.found()["pairs"]


@pytest.mark.slow
@pytest.mark.parametrize("given", [[], ["--perfgate-versus-apart"]])
def test_what_the_device_holds_once_is_measured_apart(spin: Spin, given: list[str]) -> None:
    spin.cases("alone", "short")
    done = spin.run("--perfgate-inject", "slow=100%", *given)
    assert done.returncode == 1, done.stdout + done.stderr
    assert spin.verdicts() == {"alone": "REGRESSED", "short": "REGRESSED"}
    cases = {key.partition("/")[2]: case for key, case in spin.found()["cases"].items()}
    assert {how: case["apart"] for how, case in cases.items()} == {"alone": True, "short": bool(given)}
    rows = {row["case"].partition("/")[2]: row for row in spin.found()["rows"]}
    assert rows["alone"]["ratio"] == pytest.approx(2, rel=0.1)
    assert "spin/alone: measured apart: the device holds one side at a time" in done.stdout


@pytest.mark.slow
def test_no_memory_for_one_side_alone_fails_it(spin: Spin) -> None:
    spin.cases("alone")
    with (spin.folder / "device.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = spin.run()
    assert spin.verdicts() == {"alone": "INCONCLUSIVE"}
    assert "measured on neither side" in done.stdout
    assert "MemoryError: the device is full" in done.stdout


@pytest.mark.slow
def test_a_long_call_alternates_in_parts(spin: Spin) -> None:
    spin.cases("parts")
    done = spin.run("--perfgate-inject", "slow=50%")
    assert done.returncode == 1, done.stdout + done.stderr
    order = (spin.folder / "order.log").read_text()
    assert "ABABAB" in order  # a call has three parts: without pauses it were AAABBB
    assert spin.found()["rows"][0]["ratio"] == pytest.approx(1.5, rel=0.1)


@pytest.mark.slow
def test_a_case_that_only_one_revision_has_is_said_so(spin: Spin) -> None:
    git(spin.folder, "init", "-q")
    commit(spin.folder)
    spin.cases("short", "parts")
    done = spin.ran("--perfgate-versus", "git:HEAD", "--perfgate-tolerance", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert spin.verdicts() == {"short": "SAME", "parts": "NEW"}
    assert "it was not there before" in done.stdout
    worktrees = subprocess.run(
        ["git", "-C", str(spin.folder), "worktree", "list"], capture_output=True, text=True, check=True
    )
    assert len(worktrees.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--perfgate-versus", "nonsense"], "invalid value for --perfgate-versus: 'nonsense'; allowed: an interpreter"),
        (["--perfgate-versus", "/no/such/python"], "/no/such/python is no file that can be run"),
        (["--perfgate-versus", "git:nowhere"], "is no git checkout"),
        (
            ["--perfgate-versus", sys.executable, "--perfgate-versus-budget", "0"],
            "--perfgate-versus-budget: got 0, expected seconds above 0",
        ),
        (
            ["--perfgate-versus", sys.executable, "--perfgate-tolerance", "0"],
            "tolerance time: got 0.0, expected a fraction above 0",
        ),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(spin: Spin, arguments: list[str], message: str) -> None:
    done = spin.ran(*arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in done.stdout + done.stderr


def started(spin: Spin) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A comparison that runs, and its workers."""
    command = spin.command("--perfgate-versus", sys.executable, "--perfgate-inject", "slow=5%")
    process = interruptible.started(command, spin.folder, spin.environment)
    assert process.stdout is not None
    for line in process.stdout:
        if "versus: pair 1: " in line:  # the first case is running on both sides
            break
    workers: list[psutil.Process] = []
    while len(workers) < 2:  # between two pairs there are none
        assert process.poll() is None, "it ended before it had two workers"
        workers = psutil.Process(process.pid).children(recursive=True)
    return process, workers


def require_gone(workers: list[psutil.Process]) -> None:
    assert len(workers) >= 2
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []


def test_ctrl_c_ends_with_2_and_leaves_no_process(spin: Spin) -> None:
    process, workers = started(spin)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "B against A" in output
    require_gone(workers)


def test_a_killed_controller_leaves_no_process(spin: Spin) -> None:
    process, workers = started(spin)
    process.kill()
    process.wait()
    require_gone(workers)


@pytest.mark.slow
def test_a_killed_comparison_leaves_a_worktree_that_the_next_one_removes(spin: Spin) -> None:
    git(spin.folder, "init", "-q")
    commit(spin.folder)

    def worktrees() -> list[str]:
        listed = subprocess.run(
            ["git", "worktree", "list"], cwd=spin.folder, capture_output=True, text=True, check=True
        )
        return listed.stdout.splitlines()[1:]

    command = spin.command("--perfgate-versus", "git:HEAD")
    process = subprocess.Popen(
        command, cwd=spin.folder, env=spin.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    assert any("checked out HEAD" in line for line in process.stdout)
    process.kill()
    process.wait()
    (left,) = worktrees()
    folder = Path(left.split()[0])
    assert folder.is_dir()
    subprocess.run(
        [*command, "--perfgate-tolerance", "50"], cwd=spin.folder, env=spin.environment, check=True, capture_output=True
    )
    assert worktrees() == []
    assert not folder.parent.exists()
