"""The controller's end of a worker: what a process may answer, and that none is left behind."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from perfgate.lockstep import protocol
from perfgate.lockstep.environments import Side
from perfgate.lockstep.worker_client import Worker, WorkerError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="--perfgate-versus is not for Windows")


class Scripted(Side):
    """A side whose process runs a script of the test instead of pytest."""

    def bootstrap(self) -> list[str]:
        return [
            "-c",
            f"import os, time, sys; r, w = map(int, os.environ['PERFGATE_WORKER_PIPES'].split(','))\n{SCRIPT}",
        ]


SCRIPT = ""


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("os.write(w, b'hello\\n')", "B side: not a message: b'hello'"),
        ('os.write(w, b\'{"v": 5, "is": "sing"}\\n\')', "B side: message 'sing', expected one of"),
        ("time.sleep(60)", "B side: timed out: no answer for 1 s"),
        ("print('I am ill'); sys.exit(3)", "B side: the worker ended with 3; its last output: I am ill"),
        ("os.kill(os.getpid(), 9)", r"B side: the worker was killed by signal 9 \(out of memory"),
        ("os.write(w, b'x' * 100)\nsys.exit(0)", "B side: the worker ended with 0"),
    ],
)
def test_a_worker_that_misbehaves_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    monkeypatch.setitem(globals(), "SCRIPT", script)
    side = Scripted("B side", Path(sys.executable), tmp_path, {})
    start = time.monotonic()
    with Worker("B", side, [], tmp_path / "log") as worker, pytest.raises(WorkerError, match=message) as caught:
        worker.answer(1.0 if "sleep" in script else 20.0)
    assert caught.value.side == "B"
    assert time.monotonic() - start < 20
    require_ended = psutil.pid_exists(worker._process.pid)
    assert not require_ended


def test_a_worker_answers_and_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        globals(), "SCRIPT", f"os.write(w, {protocol.line('collected', cases=['a/b'], broken={})!r}); time.sleep(60)"
    )
    side = Scripted("A side", Path(sys.executable), tmp_path, {})
    with Worker("A", side, [], tmp_path / "log") as worker:
        assert worker.answer(20) == ("collected", {"cases": ["a/b"], "broken": {}})
    assert worker._process.returncode == -signal.SIGKILL
