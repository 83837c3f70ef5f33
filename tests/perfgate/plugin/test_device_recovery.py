"""Cases after a lost device: who measures them, and how their tests end.

The fresh processes are lists of what each of them would leave; the last tests start real ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # numpy cannot be loaded twice, as runs inside this process would
from perfgate.lockstep import fresh_process
from perfgate.lockstep.fresh_process import ProcessError, Result
from perfgate.measure.fault_injection import parse
from perfgate.plugin import child_args, device_recovery
from perfgate.plugin.device_recovery import TAKEN, DeviceRecovery
from perfgate.plugin.record_log import RECORD, RecordLog
from perfgate.records.record import Record

from tests.conftest import Project
from tests.support.benchmark_items import Item, items

KEYS = ("sums/a", "sums/b", "sums/c")


def record(key: str, status: Any = "measured", reason: str | None = None) -> Record:
    return Record("sums", 1, {}, key, status=status, reason=reason)


class Session:
    """A session that has lost its device before its first case; ``asked``: the keys that each process was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *left: Sequence[Record] | ProcessError) -> None:
        self.asked: list[list[str]] = []
        self.faults: list[str] = []
        processes = iter(left)

        def fresh(arguments: Any, folder: Any, keys: Sequence[str], faults: list[str]) -> Result:
            self.asked.append(list(keys))
            self.faults = faults
            found = next(processes)
            if isinstance(found, ProcessError):
                raise found
            return Result({one.key: one for one in found}, {one.key: {"name": one.key} for one in found}, {})

        monkeypatch.setattr(fresh_process, "fresh", fresh)
        monkeypatch.setattr(child_args, "arguments", lambda config, say: [])
        config: Any = SimpleNamespace(
            invocation_params=SimpleNamespace(dir="."), pluginmanager=SimpleNamespace(get_plugin=lambda name: None)
        )
        self.log = RecordLog("cuda:0", ())
        self.items: list[Any] = [*items("a", "b", "c"), Item(name="test_plain", measures=False)]
        self.shouldstop: str | None = None
        for item in self.items:
            item.session = self
        self.recovery = DeviceRecovery(config, [parse("wrong@*/b")])

    def statuses(self) -> list[str]:
        """How the cases end, one after the other."""
        for item in self.items[:3]:
            self.recovery.take_over(item, self.log)
        return [item.stash[RECORD].status for item in self.items[:3]]


Start = Callable[..., Session]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    return lambda *left: Session(monkeypatch, *left)


class TestBegin:
    def test_this_process_hands_over_and_goes_on(self, start: Start) -> None:
        session = start()
        session.recovery.begin(session.items[0], "lost")
        assert (session.recovery.began, session.shouldstop) == (True, None)

    def test_one_that_was_started_for_others_ends(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(fresh_process.ONLY, "[]")
        session = start()
        session.recovery.begin(session.items[0], "lost")
        assert (session.recovery.began, session.shouldstop) == (False, "lost")


class TestTakeOver:
    def test_one_process_measures_all_that_are_left(self, start: Start) -> None:
        session = start([record("sums/a"), record("sums/b", "skipped"), record("sums/c", "failed")])
        assert session.statuses() == ["measured", "skipped", "failed"]
        assert session.asked == [[*KEYS]]
        assert session.faults == ["wrong@*/b"]
        assert all(item.stash[TAKEN] for item in session.items[:3])
        assert list(session.recovery.benchmarks) == [*KEYS]

    def test_where_it_loses_the_device_too_another_goes_on(self, start: Start) -> None:
        session = start([record("sums/a", "failed")], [record("sums/b"), record("sums/c")])
        assert session.statuses() == ["failed", "measured", "measured"]
        assert session.asked == [["sums/a", "sums/b", "sums/c"], ["sums/b", "sums/c"]]

    @pytest.mark.parametrize("left", [ProcessError("no results"), []], ids=["no results", "nothing of these"])
    def test_where_it_leaves_nothing_one_case_fails_and_the_next_has_its_chance(self, start: Start, left: Any) -> None:
        session = start(left, [record("sums/b"), record("sums/c")])
        assert session.statuses() == ["failed", "measured", "measured"]
        assert session.items[0].stash[RECORD].reason

    def test_what_nobody_asked_for_is_not_taken(self, start: Start) -> None:
        session = start([record("sums/other"), *(record(key) for key in KEYS)])
        session.statuses()
        assert "sums/other" not in session.recovery.benchmarks


class TestEnd:
    """The test of a case ends as the case did elsewhere."""

    def test_measured_is_passed(self) -> None:
        device_recovery._end_as(record("sums/a"))

    def test_skipped_is_skipped(self) -> None:
        with pytest.raises(pytest.skip.Exception, match="lacks an abacus"):
            device_recovery._end_as(record("sums/a", "skipped", "lacks an abacus"))

    @pytest.mark.parametrize("status", ["failed", "fell_back"])
    def test_anything_else_fails(self, status: str) -> None:
        with pytest.raises(pytest.fail.Exception, match="why"):
            device_recovery._end_as(record("sums/a", status, "why"))


BENCHMARK = """
    import os

    import pytest
    import torch
    from perfgate import Kernel

    BROKEN = []

    @pytest.fixture
    def device():
        if BROKEN:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure")
        return "a device"

    def breaks():
        BROKEN.append(True)
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    def process():
        with open("processes.log", "a") as log:
            log.write(f"{os.getpid()} ")
        return 1

    def test_a(device, measure): measure(process)
    def test_b(device, measure): measure(breaks)
    def test_c(device, measure): measure(process)
    def test_d(device, measure): pytest.skip("lacks an abacus")
    def test_e(device, measure): measure(process, kernel=Kernel("fa2", ran=("fa2",)))
    def test_f(device, measure): measure(process, check=lambda result: None if result == 2 else pytest.fail("wrong"))
    def test_g(device, measure): measure(breaks)
    def test_h(device, measure): measure(process)
    def test_plain(): assert BROKEN
"""


class TestTheRest:
    @pytest.fixture
    def broken(self, project: Project) -> Project:
        project.benchmark(BENCHMARK)
        return project

    def processes(self, project: Project) -> list[int]:
        return list(dict.fromkeys(map(int, (project.path / "processes.log").read_text().split())))

    @pytest.mark.slow
    def test_goes_on_in_fresh_processes(self, broken: Project) -> None:
        result = broken.run("--benchmark-json=out.json")
        result.assert_outcomes(passed=4, skipped=1, failed=4)
        result.stdout.fnmatch_lines(
            [
                "perfgate: a case broke the device's context; a fresh process goes on with 6 cases",
                "perfgate: that one lost the device as well; a fresh process goes on with 1 case",
            ]
        )
        records = broken.records()
        statuses = {key.split("/")[0].removeprefix("test_"): record["status"] for key, record in records.items()}
        assert statuses == {
            "a": "measured",
            "b": "failed",
            "c": "measured",
            "d": "skipped",
            "e": "fell_back",
            "f": "failed",
            "g": "failed",
            "h": "measured",
        }
        reasons = {key.split("/")[0].removeprefix("test_"): record["reason"] for key, record in records.items()}
        assert "the device's context is gone" in reasons["b"]
        assert "lacks an abacus" in reasons["d"]
        assert "of which fa2 must run" in reasons["e"]
        assert "wrong" in reasons["f"]
        assert "the device's context is gone" in reasons["g"]
        assert len(self.processes(broken)) == 3  # this one, the one that test_g ended, the last
        written = json.loads((broken.path / "out.json").read_text())["benchmarks"]
        assert [one["name"] for one in written] == ["test_a", "test_c", "test_e", "test_h"]

    def test_is_not_run_with_x(self, broken: Project) -> None:
        broken.run("-x").assert_outcomes(passed=1, failed=1)

    def test_where_no_process_starts_each_case_says_so(self, broken: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        result = broken.run()
        result.assert_outcomes(passed=2, failed=7)
        assert "a fresh process ended with 1 and left no results" in broken.records()["test_h/default"]["reason"]

    def test_with_the_benchmarks_disabled_nothing_is_started(self, broken: Project) -> None:
        result = broken.run("--benchmark-disable")
        assert "fresh process" not in result.stdout.str().replace("run in a fresh process", "")
        assert len(self.processes(broken)) == 1
