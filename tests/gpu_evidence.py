"""One command for the first GPU that it meets (``make gpu-evidence``): run what waits for one, and write down what ran.

It runs the tests marked ``gpu`` (the Triton kernels, flash-attn, the device's clock and allocator among them), the
quick benchmarks, and a refresh of their baseline; lists each path that got through in gpu_runs.json with the card's
name; and writes README.md's table. Where there is no GPU it says what it would have run, and fails, because nothing was
proved.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest

from tests import evidence
from tests.evidence import GPU_RUNS, TESTS

ROOT = TESTS.parent
REPORT = "perf-report/gpu-evidence"
GPU_TESTS = ["tests", "-m", "gpu"]


def quick(device: str) -> list[str]:
    """The quick benchmarks on ``device``, as pytest's arguments."""
    return ["perf", "--quick", "--device", device, "--report-dir", REPORT]


def refresh(device: str, card: str) -> list[str]:
    """Their new baseline, as pytest's arguments."""
    return [*quick(device), "--refresh-baseline", "--reason", f"first evidence on {card}"]


@dataclass
class Outcomes:
    """A pytest plugin: how the tests of each path ended."""

    paths: dict[str, set[str]] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            self.paths[item.nodeid] = {name for mark in item.iter_markers("gpu") for name in mark.args}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def proved(self) -> list[str]:
        """The paths of which a test passed and none failed."""
        passed = set().union(*(self.paths[nodeid] for nodeid in self.passed))
        return sorted(passed.difference(*(self.paths[nodeid] for nodeid in self.failed)))


def measured(results: Mapping[str, Any]) -> list[str]:
    """The paths of which the quick run measured every row that it had on an accelerator, from its results.json."""
    rows: dict[str, set[str]] = defaultdict(set)
    for record in results["records"]:
        fields = record["case"]["fields"]
        names = [fields.get("scheme"), fields.get("attention")]
        if record["case"]["name"] == "encoder" and fields.get("path") == "fast":
            names.append("encoder-fast")
        if record["provenance"].get("executed_on") != "cpu":
            for name in filter(None, names):
                rows[name].add(record["status"])
    return sorted(name for name, statuses in rows.items() if statuses == {"measured"})


def listed(runs: Iterable[Mapping[str, str]], more: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """The runs with ``more`` after them; a run of the same path by the same command on the same card is replaced."""
    by_what = {(run["path"], run["gpu"], run["command"]): dict(run) for run in (*runs, *more)}
    return sorted(by_what.values(), key=lambda run: (run["path"], run["gpu"], run["command"]))


def _device() -> tuple[str, str] | None:
    """The accelerator's name for torch and the card's own name; None where torch finds none."""
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if found is None:
        return None
    name = f"{found.type}:0"
    return name, str(torch.get_device_module(found).get_device_properties(name).name)


def _say_what_would_run() -> int:
    from perfgate.machine.environment import DeviceError, resolve_device

    try:
        resolve_device("cuda")
    except DeviceError as wrong:
        print(f"no GPU: {wrong}")
    outcomes = Outcomes()
    pytest.main([*GPU_TESTS, "--collect-only", "-p", "no:terminal"], plugins=[outcomes])
    paths = sorted(set().union(*outcomes.paths.values()))
    print("With one it would run:")
    print(f"  pytest {' '.join(GPU_TESTS)}: {len(outcomes.paths)} tests, of {', '.join(paths)}")
    print(f"  pytest {' '.join(quick('cuda:0'))}")
    print(f"  pytest {' '.join(refresh('cuda:0', 'CARD'))}")
    print(f"  list what got through in {GPU_RUNS.name}, and {evidence.WRITE}")
    return 1


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _write_down(paths: Mapping[str, Iterable[str]], card: str) -> None:
    """List these paths, by the command that they got through, and make README.md's table anew."""
    today, commit = date.today().isoformat(), _commit()
    more = [
        {"path": name, "gpu": card, "date": today, "commit": commit, "command": command}
        for command, names in paths.items()
        for name in names
    ]
    runs = listed(json.loads(GPU_RUNS.read_text(encoding="utf-8")), more)
    GPU_RUNS.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "tests.evidence"], cwd=ROOT, check=True)


def main(arguments: list[str] | None = None) -> int:
    """Run everything; returns the worst exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_evidence", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tests-only", action="store_true", help="run the tests marked gpu, and write nothing")
    only_tests = parser.parse_args(arguments).tests_only
    device = _device()
    if device is None:
        return _say_what_would_run()
    name, card = device
    outcomes = Outcomes()
    codes = [int(pytest.main(GPU_TESTS, plugins=[outcomes]))]
    if only_tests:
        return codes[0] if outcomes.passed else 1
    proved = {f"pytest {' '.join(GPU_TESTS)}": outcomes.proved()}
    for command in (quick(name), refresh(name, card)):
        print(f"pytest {' '.join(command)}", flush=True)
        codes.append(subprocess.run([sys.executable, "-m", "pytest", *command], cwd=ROOT, check=False).returncode)
        results = ROOT / REPORT / "results.json"
        if command == quick(name) and results.is_file():
            proved[f"pytest {' '.join(command)}"] = measured(json.loads(results.read_text(encoding="utf-8")))
    _write_down(proved, card)
    print(f"written: {GPU_RUNS.relative_to(ROOT)}, README.md, baselines/; read them, and commit them")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
