"""Timers on a device that really runs later: what they must measure, and each fault that would make them lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from perfgate.measure import timers
from perfgate.measure.clocks import FakeClock
from perfgate.measure.timers import ClockError, EventTimer, WallTimer

from tests.support.fake_accelerator import FakeAccelerator, FakeEvent, FakeWallClock, Kernel

KERNEL_S, COLD_S = 2e-3, 5e-3
"""A kernel's time with its data in the cache, and what it takes longer without."""


def kernel_on(device: FakeAccelerator, launch_s: float = 1e-4) -> Kernel:
    return Kernel(device, KERNEL_S, COLD_S, launch_s)


def event_timer(device: FakeAccelerator) -> EventTimer:
    return EventTimer(device, FakeWallClock(device))


def require_true_seconds(make: Callable[[FakeAccelerator], Any]) -> None:
    """A timer made by ``make`` tells each cold call's own seconds, however many make a round, and nothing else."""
    device = FakeAccelerator()
    timer, kernel = make(device), kernel_on(device)
    for calls in (1, 1, 3):
        one = timer.time(kernel, calls)
        assert one.result == "result"
        assert one.seconds == pytest.approx(calls * (KERNEL_S + COLD_S))
        assert one.spent_s >= one.seconds


def test_events_time_the_kernel_alone() -> None:
    require_true_seconds(event_timer)


class _Mutant(EventTimer):
    """The timer with one fault in it, or in what it uses of the device."""

    def __init__(self, device: FakeAccelerator) -> None:
        super().__init__(device, FakeWallClock(device))


class _ForgetsToWait(_Mutant):
    def time(self, call: Callable[[], Any], calls: int) -> timers.Round:
        device: Any = self._accelerator
        return WallTimer(FakeWallClock(device, waits=False)).time(call, calls)


class _LeavesTheCache(_Mutant):
    def __init__(self, device: FakeAccelerator) -> None:
        super().__init__(device)
        device.flush = lambda: None  # type: ignore[method-assign]


class _FlushesInsideTheTimedWindow(_Mutant):
    def time(self, call: Callable[[], Any], calls: int) -> timers.Round:
        def with_flush() -> Any:
            self._accelerator.flush()
            return call()

        return super().time(with_flush, calls)


class _SwapsTheEvents(_Mutant):
    def __init__(self, device: FakeAccelerator) -> None:
        super().__init__(device)
        event = device.event

        class Swapped:
            def __init__(self) -> None:
                self._event: FakeEvent = event()
                self.record, self.query = self._event.record, self._event.query

            def elapsed_time(self, end: Swapped) -> float:
                return end._event.elapsed_time(self._event)

        device.event = Swapped  # type: ignore[assignment,method-assign]


class _ReadsEventsTooEarly(_Mutant):
    def __init__(self, device: FakeAccelerator) -> None:
        super().__init__(device)
        device.synchronize = lambda: None  # type: ignore[method-assign]


class _LetsTheQueueRunDry(_Mutant):
    """Queues nothing before the call, which takes the host longer to queue than anything the device has to do."""

    def time(self, call: Callable[[], Any], calls: int) -> timers.Round:
        device: Any = self._accelerator

        def late() -> Any:
            device.host_s += 1e-3
            return call()

        self._starves = True  # as if it had given up at once
        return super().time(late, calls)


@pytest.mark.parametrize(
    ("mutant", "told"),
    [
        (_ForgetsToWait, r"0\.0001\d* == 0\.007"),  # the launch, and no kernel
        (_LeavesTheCache, r"0\.0021?\d* == 0\.007"),  # the second call finds its data in the cache
        (_FlushesInsideTheTimedWindow, r"0\.0070[01]\d+ == 0\.007"),
        (_SwapsTheEvents, r"events in the wrong order: -0\.00\d+ s"),
        (_ReadsEventsTooEarly, "Both events must be completed"),
        (_LetsTheQueueRunDry, r"0\.008\d* == 0\.007"),  # a millisecond of waiting for the host
    ],
)
def test_the_test_fails_for_a_timer_with_a_fault(mutant: Callable[[FakeAccelerator], Any], told: str) -> None:
    with pytest.raises((AssertionError, ClockError, RuntimeError), match=told):
        require_true_seconds(mutant)


class TestQueue:
    def test_gets_as_much_work_before_a_call_as_the_host_needs_to_queue_it(self) -> None:
        """Twelve launches of 100 microseconds each: the device must have 1.2 ms to do first, 128 flushes of 10."""
        device = FakeAccelerator()
        kernel = kernel_on(device)
        timer = event_timer(device)
        one = timer.time(lambda: [kernel() for _ in range(12)], 1)
        assert one.seconds == pytest.approx(COLD_S + 12 * KERNEL_S)
        assert timer.note is None
        device.flushes = 0
        timer.time(lambda: [kernel() for _ in range(12)], 1)
        assert device.flushes == 128  # found once, kept

    def test_a_call_that_waits_for_the_device_itself_is_told_apart(self) -> None:
        device = FakeAccelerator()
        kernel = kernel_on(device)

        def talks_to_the_host() -> None:
            kernel()
            device.synchronize()
            kernel()

        timer = event_timer(device)
        one = timer.time(talks_to_the_host, 1)
        assert one.seconds == pytest.approx(COLD_S + 2 * KERNEL_S + 2e-4 - device.flush_s)  # both launches are inside
        assert "launch overhead is part of this time" in str(timer.note)
        device.flushes = 0
        timer.time(talks_to_the_host, 1)
        assert device.flushes == 1  # nothing helps, so nothing is tried again


def test_the_wall_clock_beside_it_shows_the_launch() -> None:
    device = FakeAccelerator()
    seconds = event_timer(device).wall_s(kernel_on(device, launch_s=3e-4))
    assert seconds == pytest.approx(3e-4 + COLD_S + KERNEL_S)


def test_a_wall_timer_on_a_device_waits_for_it() -> None:
    device = FakeAccelerator()
    kernel = Kernel(device, KERNEL_S, launch_s=1e-4)
    one = WallTimer(FakeWallClock(device)).time(kernel, 2)
    assert (one.result, kernel.done) == ("result", 2)
    assert one.seconds == one.spent_s == pytest.approx(1e-4 + 2 * KERNEL_S)


def test_an_injected_slowness_is_waited_for() -> None:
    slow = WallTimer(FakeClock(iter([0.0, 1.0, 0.25, 0.25, 0.25])), slower=0.5)
    assert slow.time(lambda: None, 1).seconds == 1.5


def test_an_injected_slowness_of_a_device_is_added() -> None:
    device = FakeAccelerator()
    slow = EventTimer(device, FakeWallClock(device), slower=0.5)
    assert slow.time(Kernel(device, 1.0), 1).seconds == pytest.approx(1.5)


class TestChoice:
    def test_a_cpu_has_the_clock(self) -> None:
        clock = FakeClock()
        assert timers.choose(None, clock, "device") == timers.choose(None, clock, "wall") == WallTimer(clock)

    def test_a_device_has_its_events_for_its_own_work(self) -> None:
        device = FakeAccelerator()
        clock = FakeWallClock(device)
        assert timers.choose(device, clock, "device").name == "device events"
        assert timers.choose(device, clock, "wall") == WallTimer(clock)
