"""Clocks: the fake one keeps time, the others read what they say."""

import itertools
import re
import time
from types import SimpleNamespace

import pytest
from perfgate.measure import clocks
from perfgate.measure.clocks import FakeClock, StoppableClock, SynchronizedWallClock, WallClock


def test_the_wall_clock_is_perf_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 12.5)
    assert WallClock().now() == 12.5


def test_the_synchronizing_clock_waits_for_the_device_before_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr(time, "perf_counter", lambda: order.append("read") or 12.5)
    clock = SynchronizedWallClock(synchronize=lambda: order.append("wait"))
    assert clock.now() == 12.5
    assert order == ["wait", "read"]


def test_each_reading_of_the_fake_clock_is_one_step_later() -> None:
    clock = FakeClock(iter([1.0, 0.25]))
    assert [clock.now(), clock.now()] == [1.0, 1.25]


def test_work_may_advance_the_fake_clock() -> None:
    clock = FakeClock(iter([0.0, 0.0]))
    start = clock.now()
    clock.advance(3.0)
    assert clock.now() - start == 3.0


def test_a_cpu_is_timed_by_the_plain_wall_clock() -> None:
    assert clocks.of(None) == WallClock()


def test_an_accelerator_is_waited_for() -> None:
    device = SimpleNamespace(synchronize=lambda: None)
    assert clocks.of(device) == SynchronizedWallClock(device.synchronize)
    assert clocks.of(device).name == "wall+synchronize"


def test_every_clock_has_a_name_of_its_own() -> None:
    names = {WallClock().name, SynchronizedWallClock(lambda: None).name, FakeClock().name}
    assert len(names) == 3


def test_today_is_iso_8601_to_the_second_with_its_offset() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", clocks.today())


def test_a_stopped_clock_leaves_out_what_passes_then() -> None:
    running = FakeClock(itertools.repeat(0.0))
    clock = StoppableClock(running)
    running.advance(1.0)
    with clock.stopped():
        running.advance(10.0)
    running.advance(2.0)
    assert clock.now() == 3.0
    assert clock.name == "fake"
