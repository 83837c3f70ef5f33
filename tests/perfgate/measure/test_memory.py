"""Memory meters: they see what was allocated, repeat themselves, and a broken one is found out."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from perfgate.measure import memory
from perfgate.measure.memory import BALLAST_BYTES, AllocatorMeter, FakeMeter, HeapMeter, MeterError

from tests.support.fake_accelerator import FakeAccelerator
from tests.support.subprocesses import finding

needs_memray = pytest.mark.skipif(sys.platform == "win32", reason="memray has no Windows build")
MIB = 2**20


def three_and_two() -> int:
    """Peaks at 5 MiB, ends with none."""
    first, second = bytearray(3 * MIB), bytearray(2 * MIB)
    return len(first) + len(second)


REPEATED = f"""
from perfgate.measure.memory import HeapMeter

def call():
    first, second = bytearray({3 * MIB}), bytearray({2 * MIB})
    return len(first) + len(second)

meter = HeapMeter()
meter.peak_of(call)
for _ in range(3):
    print(meter.peak_of(call)[1])
"""


@needs_memray
class TestHeapMeter:
    def test_sees_a_known_allocation_and_returns_the_result(self) -> None:
        result, peak = HeapMeter().peak_of(three_and_two)
        assert result == 5 * MIB
        assert 5 * MIB <= peak < 5 * MIB + 64 * 1024

    def test_repeats_to_the_byte(self) -> None:
        """In a process of its own: threads and finalizers that other tests left behind allocate when they like."""
        environment = finding(*sys.path)
        done = subprocess.run([sys.executable, "-c", REPEATED], env=environment, capture_output=True, check=True)
        peaks = done.stdout.split()
        assert len(peaks) == 3
        assert len(set(peaks)) == 1

    def test_takes_the_peak_and_not_the_sum(self) -> None:
        def one_after_the_other() -> None:
            for _ in range(4):
                bytearray(3 * MIB)

        assert 3 * MIB <= HeapMeter().peak_of(one_after_the_other)[1] < 4 * MIB

    def test_leaves_out_what_was_there_before(self) -> None:
        before = bytearray(8 * MIB)
        assert HeapMeter().peak_of(lambda: len(before))[1] < MIB

    def test_sees_native_allocations(self) -> None:
        _, peak = HeapMeter().peak_of(lambda: torch.empty(3 * MIB, dtype=torch.uint8).numel())
        assert peak >= 3 * MIB

    def test_is_proved_right(self) -> None:
        memory.verify(HeapMeter())


class Case:
    """A call on a device: it needs 5 MiB for as long as it runs, and its first call keeps a workspace of 3 MiB."""

    def __init__(self, *names: str) -> None:
        self.device = FakeAccelerator(*names)
        self.weights = self.device.allocate(7 * MIB)
        self.workspace: Any = None

    def __call__(self) -> str:
        if self.workspace is None:
            self.workspace = self.device.allocate(3 * MIB)
        self.device.allocate(5 * MIB)  # freed at once
        return "result"


def require_true_peak(make: Callable[[FakeAccelerator], AllocatorMeter]) -> None:
    """A meter made by ``make`` tells what the call itself needs, whatever ran before it."""
    case = Case()
    case.device.allocate(100 * MIB)  # what another case needed: it is still the allocator's peak
    assert make(case.device).peak_of(case) == ("result", 5 * MIB)


class TestAllocatorMeter:
    def test_tells_what_the_call_itself_needs(self) -> None:
        require_true_peak(AllocatorMeter)

    def test_is_not_fooled_by_a_meter_that_is_not_reset(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FakeAccelerator, "clear", lambda self: None)
        with pytest.raises(AssertionError, match=str(97 * MIB)):  # 107 at its peak, 10 before the call
            require_true_peak(AllocatorMeter)

    def test_is_not_fooled_by_a_first_calls_workspace(self) -> None:
        class NeverWarm(AllocatorMeter):
            def peak_of(self, call: Callable[[], Any]) -> Any:
                calls = iter([lambda: None, call])  # what warms it is not the call
                return super().peak_of(lambda: next(calls)())

        with pytest.raises(AssertionError, match=str(8 * MIB)):
            require_true_peak(NeverWarm)

    def test_of_what_is_called_once_tells_the_first_call(self) -> None:
        """Loading is made once: what only a first call allocates is in it."""
        case = Case()
        first = AllocatorMeter(case.device).peak_of_one(case)[1]
        assert first > AllocatorMeter(case.device).peak_of(case)[1]

    def test_tells_what_is_reserved_and_what_the_driver_counts_beside_it(self) -> None:
        case = Case()
        case.device.others_bytes = 50 * MIB
        meter = AllocatorMeter(case.device)
        meter.peak_of(case)
        assert meter.beside() == {"reserved_peak_bytes": 16 * MIB, "driver_memory_bytes": 60 * MIB}

    def test_of_several_devices_tells_each_ones_peak(self) -> None:
        case = Case("fake:0", "fake:1", "fake:2")
        shard = case.device.allocate(11 * MIB, "fake:1")
        meter = AllocatorMeter(case.device)

        def on_both() -> str:
            case.device.allocate(2 * MIB, "fake:1")
            return case()

        assert meter.peak_of(on_both) == ("result", 7 * MIB)
        beside = meter.beside()
        assert beside["peak_bytes_fake_0"] == 15 * MIB
        assert beside["peak_bytes_fake_1"] == 13 * MIB
        assert "peak_bytes_fake_2" not in beside
        del shard

    def test_is_proved_right(self) -> None:
        memory.verify(AllocatorMeter(FakeAccelerator()))


class TestVerify:
    @pytest.mark.parametrize("peak", [BALLAST_BYTES, 2 * BALLAST_BYTES])
    def test_a_meter_that_reads_about_what_was_allocated_passes(self, peak: int) -> None:
        memory.verify(FakeMeter(peak))

    @pytest.mark.parametrize("peak", [0, -1, BALLAST_BYTES - 1, 2 * BALLAST_BYTES + 1, 10**15])
    def test_a_blind_or_wild_meter_is_found_out(self, peak: int) -> None:
        with pytest.raises(MeterError, match=rf"'fake' read {peak:,} bytes while 1,048,576 .*perfgate doctor"):
            memory.verify(FakeMeter(peak))

    @needs_memray
    def test_a_heap_meter_that_the_allocation_escapes_is_found_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(HeapMeter, "allocate", lambda self, size: None)
        with pytest.raises(MeterError):
            memory.verify(HeapMeter())


class TestChoice:
    @needs_memray
    def test_the_heap_on_a_cpu(self) -> None:
        assert memory.of(None) == HeapMeter()
        assert memory.why_none("cpu") is None

    def test_the_allocator_on_an_accelerator(self) -> None:
        device = FakeAccelerator()
        assert memory.of(device) == AllocatorMeter(device)

    def test_none_without_memray_and_the_reason_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        find: Callable[..., Any] = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "memray" else find(name))
        assert memory.of(None) is None
        assert "memray is not installed" in str(memory.why_none("cpu"))


def test_resident_set_size_grows_with_memory_that_is_touched() -> None:
    before = memory.resident_set_bytes()
    ballast = bytearray(b"x") * (64 * MIB)
    assert memory.resident_set_bytes() - before > 32 * MIB
    del ballast
