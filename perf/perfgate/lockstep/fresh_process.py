"""Fresh pytest processes of this environment: plain runs, one after another, for baselines and for judging."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfgate.lockstep import child_process
from perfgate.records.record import OWN, Record
from perfgate.records.validate import RecordError

ONLY = "PERFGATE_ONLY"
"""Environment variable: a JSON list of the keys of the cases to run; it marks a process that another one started."""
LAST_LINES = 3


class ProcessError(Exception):
    """A fresh process that left no results; the message quotes its last output."""


@dataclass(frozen=True)
class Result:
    """What one process measured: records by key, pytest-benchmark's entries by key, and its JSON's top level."""

    records: Mapping[str, Record]
    benchmarks: Mapping[str, Mapping[str, Any]]
    head: Mapping[str, Any]


def die_with_parent() -> None:
    """On Linux: be killed when the process that started this one dies, however it dies."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # Source: linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def only() -> frozenset[str] | None:
    """The cases that this process may run; None where nobody restricts it."""
    text = os.environ.get(ONLY)
    return None if text is None else frozenset(json.loads(text))


def fresh(
    arguments: Sequence[str], folder: Path, keys: Collection[str], faults: Sequence[str], timeout_s: float | None = None
) -> Result:
    """Run pytest with these arguments in ``folder``, for these cases alone.

    Raises:
        ProcessError: it did not end within ``timeout_s`` seconds, or left no results.
    """
    with tempfile.TemporaryDirectory(prefix="perfgate-process-") as temporary:
        out = Path(temporary)
        files = f"--benchmark-json={out / 'benchmarks.json'}", f"--perfgate-report-dir={out}", "--perfgate-no-html"
        try:
            done = subprocess.run(
                child_process.command([sys.executable, *child_process.flags(), "-m", "pytest"], arguments, *files),
                cwd=folder,
                env=child_process.environment(faults, {ONLY: json.dumps(sorted(keys))}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ProcessError(f"a fresh process did not end within {timeout_s:.0f} s") from None
        try:
            results = json.loads((out / "results.json").read_text(encoding="utf-8"))
            records = [Record.from_json(one) for one in results["records"]]
            own = out / "benchmarks.json"  # not there where nothing was measured
            data = json.loads(own.read_text(encoding="utf-8")) if own.is_file() else {"benchmarks": []}
        except (OSError, ValueError, KeyError, RecordError) as wrong:
            said = " / ".join([line for line in done.stdout.splitlines() if line.strip()][-LAST_LINES:])
            raise ProcessError(
                f"a fresh process ended with {done.returncode} and left no results ({type(wrong).__name__}); its last "
                f"output: {said}"
            ) from None
    benchmarks = {one["extra_info"][OWN]["case"]["key"]: one for one in data.pop("benchmarks") if "stats" in one}
    data.pop(OWN, None)
    return Result({record.key: record for record in records}, benchmarks, data)
