"""``measure`` on an accelerator: which timer a case gets, what stands in the record beside it, what spoils a case.

One file for several modules, because one case on a device goes through all of them: :mod:`perfgate.measure.measurement`
with its timer, meter and watch, the worker that measures in its place, and the pair that its record ends in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from perfgate import Measure, Record
from perfgate.compare.case_verdict import Estimated, NotJudged, Tolerances, judge
from perfgate.lockstep import pair
from perfgate.lockstep.channel import Channel
from perfgate.lockstep.comparison import Comparison
from perfgate.lockstep.used import Used
from perfgate.machine.device_health import DeviceHealth, DeviceLostError, Process
from perfgate.measure.measurement import Instruments, MeasurePolicy
from perfgate.measure.memory import AllocatorMeter
from perfgate.measure.throttle_guard import Watch
from perfgate.measure.timers import STARVED
from perfgate.measure.yield_points import may_pause
from perfgate.plugin.worker_mode import WorkerMeasure

from tests.support.fake_accelerator import MIB, FakeAccelerator, FakeWallClock, Kernel, LostContextError
from tests.support.fake_replay import FakeReplay

pytestmark = pytest.mark.usefixtures("no_collections")

FINE = DeviceHealth(sm_clock_hz=1_755_000_000)
HOT = replace(FINE, throttle_reasons=("power cap",))
SHARED = replace(FINE, strangers=(Process(77, "train.py"),))
LAUNCH_S, KERNEL_S = 1e-4, 2e-3


class Bench:
    """One case on a device: a kernel of 2 ms that takes the host 0.1 ms to queue and needs 5 MiB."""

    def __init__(
        self,
        readings: Iterator[DeviceHealth] | None = None,
        channel: Any = None,
        device: str = "fake:0",
        **settings: Any,
    ) -> None:
        self.device = FakeAccelerator(device)
        self._readings = readings or repeat(FINE)
        self.kernel = Kernel(self.device, KERNEL_S, cold_seconds=1e-3, launch_s=LAUNCH_S)
        self.record = Record("sums", 1, {}, "sums/loop")
        self.watch = Watch(lambda: self.device.devices, lambda name: next(self._readings), self.device.sleep)
        clock = FakeWallClock(self.device)
        instruments = Instruments(clock, AllocatorMeter(self.device), None, self.device, self.watch)
        given = (MeasurePolicy(**settings), instruments, FakeReplay(channel is not None), self.record)
        self.measure = Measure(*given) if channel is None else WorkerMeasure(*given, channel)

    def fn(self, *_: Any) -> str:
        held = self.device.allocate(5 * MIB)
        result = self.kernel()
        del held
        return result

    def value(self, metric: str) -> float:
        return self.record.metrics[metric].value


class TestRecord:
    def test_a_kernel_is_timed_by_events_with_the_wall_clock_beside_it(self) -> None:
        bench = Bench()
        assert bench.measure(bench.fn) == "result"
        assert bench.record.clock == "device events"
        assert bench.value("latency_s") == pytest.approx(KERNEL_S + 1e-3)
        assert bench.value("wall_latency_s") == pytest.approx(KERNEL_S + 1e-3 + LAUNCH_S)
        assert bench.record.doubts == bench.record.notes == []

    def test_what_talks_to_the_host_is_timed_by_the_wall_clock(self) -> None:
        bench = Bench()
        bench.measure(bench.fn, timing="wall", inputs=["one"])
        assert bench.record.clock == "fake wall"
        assert bench.value("latency_s") == pytest.approx(KERNEL_S + LAUNCH_S)
        assert "wall_latency_s" not in bench.record.metrics

    def test_a_starved_device_is_noted(self) -> None:
        bench = Bench()

        def waits() -> str:
            result = bench.fn()
            bench.device.synchronize()
            return result

        bench.measure(waits)
        assert bench.record.notes == [STARVED.format(flushes=512)]

    def test_memory_beside_the_peak(self) -> None:
        bench = Bench()
        bench.measure(bench.fn, weights_bytes=MIB)
        assert bench.value("peak_memory_bytes") == 6 * MIB
        assert (bench.value("reserved_peak_bytes"), bench.value("driver_memory_bytes")) == (6 * MIB, 0)
        assert bench.record.metrics["reserved_peak_bytes"].kind == "sampled"  # reported, not judged
        assert bench.record.provenance["memory_meter"] == "device allocator"

    def test_another_call_is_timed_the_same_way(self) -> None:
        bench = Bench()
        other = Kernel(bench.device, 5e-3)
        took: list[float] = []
        bench.measure(bench.fn, samples=lambda result: took.append(bench.measure.time(other)[1]) or {})
        assert took == pytest.approx([5e-3] * len(took))

    @pytest.mark.parametrize("device", ["cuda:0", "fake:0"])
    def test_how_exactly_matrices_are_multiplied(self, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
        """As it is when the case is measured, and only on a device that torch's settings concern."""
        told = {"fp32_precision": "tf32", "allow_bf16_reduced_precision_reduction": False}
        bench = Bench(device=device)
        monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(**told))
        bench.measure(bench.fn)
        assert bench.record.provenance.get("matmul_settings") == (told if device == "cuda:0" else None)
        assert Record.from_json(bench.record.to_json()) == bench.record

    def test_health_before_and_after_and_no_doubts(self) -> None:
        bench = Bench()
        bench.measure(bench.fn)
        found = bench.record.provenance["device_health"]
        assert found["before"]["fake:0"]["sm_clock_hz"] == 1_755_000_000
        assert Record.from_json(bench.record.to_json()) == bench.record


class TestDoubts:
    def test_throttling_in_the_middle_costs_a_round_and_no_doubt(self) -> None:
        bench = Bench(chain([FINE, HOT, HOT], repeat(FINE)))
        bench.measure(bench.fn)
        assert bench.record.provenance["device_health"]["discarded_rounds"] == 6  # they share a reading
        assert bench.record.doubts == []

    @pytest.mark.parametrize(
        ("readings", "said"),
        [
            (repeat(HOT), "the device was throttled (power cap)"),
            (chain([FINE], repeat(SHARED)), "other processes used the device: 77 (train.py)"),
        ],
    )
    def test_what_stays_makes_the_case_inconclusive(self, readings: Iterator[DeviceHealth], said: str) -> None:
        bench, before = Bench(readings), Bench()
        for one in (bench, before):
            one.measure(one.fn)
        assert bench.record.doubts == [said]
        for time in (Estimated(None), NotJudged("nothing has changed")):
            verdict = judge(before.record, bench.record, time, Tolerances(), same_versions=True)
            assert verdict.status == "INCONCLUSIVE"
            assert f"now: {said}" in verdict.reason

    def test_a_case_waits_no_longer_than_it_is_measured(self) -> None:
        bench = Bench(repeat(HOT))
        bench.measure(bench.fn, budget_s=2.0)
        assert bench.record.provenance["device_health"]["waited_s"] == 2.0

    def test_more_memory_is_a_regression_all_the_same(self) -> None:
        bench, before = Bench(repeat(HOT)), Bench()
        before.measure(before.fn)
        bench.measure(lambda: (bench.device.allocate(9 * MIB), bench.fn())[1])
        assert (
            judge(before.record, bench.record, Estimated(None), Tolerances(), same_versions=True).status == "REGRESSED"
        )

    def test_a_lost_device_fails_the_case(self) -> None:
        def lost() -> Iterator[DeviceHealth]:
            yield FINE
            raise DeviceLostError("the driver has lost the device")

        bench = Bench(lost())
        with pytest.raises(DeviceLostError):
            bench.measure(bench.fn)

    def test_a_broken_context_surfaces_where_the_host_waits(self) -> None:
        bench = Bench()

        def breaks() -> str:
            result = bench.fn()
            bench.device.queue(lambda: setattr(bench.device, "broken", "CUDA error: unspecified launch failure"))
            return result

        with pytest.raises(LostContextError, match="unspecified launch failure"):
            bench.measure(breaks)


class FakeChannel(Channel):
    """The controller's requests, and what the worker answered."""

    def __init__(self, *requests: tuple[str, dict[str, Any]]) -> None:
        super().__init__(BytesIO(), BytesIO(), Used((), ()))
        self._requests_left = iter(requests)
        self.answers: list[tuple[str, dict[str, Any]]] = []

    def answer(self, name: str, **fields: Any) -> None:
        self.answers.append((name, fields))

    def request(self, *expected: str) -> tuple[str, dict[str, Any]]:
        name, fields = next(self._requests_left)
        assert name in expected
        return name, fields


BLOCK = ("block", {"calls": 3})


class TestWorker:
    def run(self, fn: Callable[[Bench], Callable[[], Any]], *requests: Any, readings: Any = None, **how: Any) -> Any:
        channel = FakeChannel(*requests, ("stop", {}))
        bench = Bench(readings, channel)
        bench.measure(fn(bench), **how)
        return bench, [fields["s"] for name, fields in channel.answers if name in ("times", "paused")]

    def test_a_block_of_kernels_is_timed_by_events(self) -> None:
        _, times = self.run(lambda bench: bench.fn, BLOCK)
        assert times == [[pytest.approx(3 * (KERNEL_S + 1e-3))]]

    def test_a_block_that_pauses_is_timed_by_the_wall_clock(self) -> None:
        def pausing(bench: Bench) -> Callable[[], str]:
            def call() -> str:
                result = bench.fn()
                may_pause()
                return result

            return call

        _, times = self.run(pausing, ("block", {"calls": 1}), ("go", {}), timing="wall")
        assert times == [pytest.approx(KERNEL_S + LAUNCH_S), [0.0]]

    def test_a_throttled_block_is_made_again(self) -> None:
        bench, times = self.run(lambda bench: bench.fn, BLOCK, readings=chain([FINE, HOT], repeat(FINE)))
        assert len(times) == 1
        assert bench.watch.discarded == 1
        assert bench.record.doubts == []

    def test_a_case_waits_no_longer_than_it_is_measured(self) -> None:
        bench, _ = self.run(lambda bench: bench.fn, BLOCK, readings=repeat(HOT), budget_s=2.0)
        assert bench.record.provenance["device_health"]["waited_s"] == 2.0

    def test_doubts_go_with_the_record_that_leaves(self) -> None:
        bench, _ = self.run(lambda bench: bench.fn, BLOCK, readings=repeat(SHARED))
        assert bench.record.doubts == ["other processes used the device: 77 (train.py)"]


class TestPair:
    def left(self, doubts: list[str]) -> pair.Taken:
        taken = pair.Taken(log_ratio=None if doubts else 0.1, times_s={"A": 1.0, "B": 1.1})
        for name in "AB":
            pair._keep(taken, name, Record("sums", 1, {}, "sums/loop", doubts=doubts if name == "B" else []))
        return taken

    def test_a_doubted_pair_does_not_count_and_says_why(self) -> None:
        case = Comparison("sums/loop", "sums")
        case.take(self.left(["the device was throttled (heat)"]), took_s=1.0)
        case.take(self.left(["the device was throttled (heat)"]), took_s=1.0)
        assert case.log_ratios == []
        assert case.doubts == ["B: the device was throttled (heat)"]
        assert all(record.doubts == [] for record in case.records.values())

    def test_the_next_one_does(self) -> None:
        case = Comparison("sums/loop", "sums")
        case.take(self.left(["the device was throttled (heat)"]), took_s=1.0)
        case.take(self.left([]), took_s=1.0)
        assert case.log_ratios == [0.1]
