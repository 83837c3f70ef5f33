"""Memory meters: they see what was allocated, repeat themselves, and a broken one is found out."""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from perfgate import memory
from perfgate.memory import BALLAST_BYTES, AllocatorMeter, FakeMeter, HeapMeter, MeterError

needs_memray = pytest.mark.skipif(sys.platform == "win32", reason="memray has no Windows build")
MIB = 2**20


def three_and_two() -> int:
    """Peaks at 5 MiB, ends with none."""
    first, second = bytearray(3 * MIB), bytearray(2 * MIB)
    return len(first) + len(second)


@needs_memray
class TestHeapMeter:
    def test_sees_a_known_allocation_and_returns_the_result(self) -> None:
        result, peak = HeapMeter().peak_of(three_and_two)
        assert result == 5 * MIB
        assert 5 * MIB <= peak < 5 * MIB + 64 * 1024

    def test_repeats_to_the_byte(self) -> None:
        meter = HeapMeter()
        meter.peak_of(three_and_two)
        assert len({meter.peak_of(three_and_two)[1] for _ in range(3)}) == 1

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


class FakeDevice:
    """A device module, as torch has them, with 100 bytes in use and a high-water mark of 1000 from before."""

    def __init__(self) -> None:
        self.used, self.mark, self.log = 100, 1000, []

    def synchronize(self, device: str) -> None:
        self.log.append("synchronize")

    def reset_peak_memory_stats(self, device: str) -> None:
        self.mark = self.used

    def memory_allocated(self, device: str) -> int:
        return self.used

    def max_memory_allocated(self, device: str) -> int:
        return self.mark

    def work(self) -> str:
        self.log.append("work")
        self.mark = max(self.mark, self.used + 50)
        return "done"


def test_the_allocator_meter_reads_the_growth_of_the_peak_between_synchronisations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = FakeDevice()
    monkeypatch.setattr(torch, "get_device_module", lambda _: device)
    assert AllocatorMeter("cuda:0").peak_of(device.work) == ("done", 50)
    assert device.log == ["synchronize", "work", "synchronize"]


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
        assert memory.for_device("cpu") == HeapMeter()
        assert memory.why_none("cpu") is None

    def test_the_allocator_on_an_accelerator(self) -> None:
        assert memory.for_device("cuda:1") == AllocatorMeter("cuda:1")

    def test_none_without_memray_and_the_reason_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        find: Callable[..., Any] = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "memray" else find(name))
        assert memory.for_device("cpu") is None
        assert "memray is not installed" in str(memory.why_none("cpu"))


def test_resident_set_size_grows_with_memory_that_is_touched() -> None:
    before = memory.resident_set_bytes()
    ballast = bytearray(b"x") * (64 * MIB)
    assert memory.resident_set_bytes() - before > 32 * MIB
    del ballast
