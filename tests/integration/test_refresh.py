"""A refresh of the baseline: what it stores, what it refuses, and what a killed one leaves.

Every test runs real processes of pytest in the project's folder.
"""

from __future__ import annotations

import json
import random
import signal
import statistics
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from perfgate.baselines.store import load

from tests.support.spin_project import BENCHMARK, NOT_BUSY, Project


@pytest.fixture
def project(recorded: Project) -> Project:
    return recorded


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
