"""Ctrl-C in the gate's long work, with real processes in the small project: what was found until then is kept."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from perfgate.baselines.store import load

from tests.support import interruptible
from tests.support.spin_project import Project


def interrupted_at(project: Project, text: str, *arguments: str) -> str:
    """Run pytest on a terminal, press Ctrl-C as soon as its output has ``text``, and return all of its output.

    On a terminal, because elsewhere progress is printed once a minute.
    """
    controller, terminal = os.openpty()
    environment = {**project.environment, "TERM": "xterm", "NO_COLOR": "1"}
    process = interruptible.started(project.command(*arguments), project.folder, environment, terminal)
    os.close(terminal)
    written = bytearray()
    interrupted = False
    with contextlib.suppress(OSError):  # Linux: reading fails once the other end is closed
        while part := os.read(controller, 65536):
            written += part
            if not interrupted and text.encode() in written:
                process.send_signal(signal.SIGINT)
                interrupted = True
    os.close(controller)
    output = written.decode(errors="replace")
    assert process.wait(60) == pytest.ExitCode.INTERRUPTED, output
    assert interrupted, output
    return output


@pytest.mark.slow
def test_a_judge_that_is_interrupted_tells_what_it_decided(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.refresh().returncode == 0
    faults = [
        "--perfgate-inject",
        "slow=50%@spin/1ms",
        "--perfgate-inject",
        "slow=5%@spin/2ms",
    ]  # 5% is never decided at tolerance 5%
    output = interrupted_at(project, "1 of 2 cases decided", "--benchmark-compare", *faults)
    verdicts = project.verdicts()
    assert verdicts["1ms"]["status"] == "REGRESSED", output
    assert verdicts["2ms"]["status"] == "INCONCLUSIVE", output
    assert "1 failed, 1 passed" in output


@pytest.mark.slow
class TestRefresh:
    ARGUMENTS = (
        "--perfgate-refresh-baseline",
        "--perfgate-reason",
        "x",
        "--perfgate-accept-busy",
        "--perfgate-runs",
        "6",
    )

    def test_too_few_processes_are_no_baseline(self, tmp_path: Path) -> None:
        project = Project(tmp_path)
        output = interrupted_at(project, "process 2 of 6: 2 cases measured", *self.ARGUMENTS)
        assert "interrupted after 2 of 6 processes: a baseline needs 5, so nothing was stored" in output
        assert project.baselines() == []

    def test_enough_processes_are_stored(self, tmp_path: Path) -> None:
        project = Project(tmp_path)
        output = interrupted_at(project, "process 5 of 6: 2 cases measured", *self.ARGUMENTS)
        assert "interrupted after 5 of 6 processes, which suffice" in output
        (path,) = project.baselines()
        found = load(path)
        assert set(found.entries) == {"spin/1ms", "spin/2ms"}
        for entry in found.entries.values():
            assert (entry.refresh.runs, len(entry.by_process_s)) == (5, 5)
