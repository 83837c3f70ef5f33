"""The watch over a case: throttled rounds go, within a bound; what stays is doubted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, repeat

import pytest
from perfgate.machine.health import DeviceHealth, DeviceLostError, Process, UnreadError
from perfgate.measure.rounds import Rounds
from perfgate.measure.throttle_guard import COOL_S, WAIT_S, Watch
from perfgate.measure.timers import WallTimer

from tests.support.fake_accelerator import FakeAccelerator, FakeWallClock, Kernel

FINE = DeviceHealth(sm_clock_hz=1_755_000_000)
HOT = replace(FINE, throttle_reasons=("heat, by the driver",))
SHARED = replace(FINE, strangers=(Process(77, "train.py"),))


class Bench:
    """A device whose health goes through ``readings``, and rounds of a kernel on it."""

    def __init__(self, readings: Iterable[DeviceHealth]) -> None:
        self.device = FakeAccelerator()
        self._readings = iter(readings)
        self.watch = Watch(lambda: self.device.devices, lambda name: next(self._readings), self.device.sleep)
        self.watch.start()
        self.kernel = Kernel(self.device, 1.0)
        self.rounds = Rounds(WallTimer(FakeWallClock(self.device)), self.watch, budget_s=6.0, precision=0.01)

    def run(self) -> list[float]:
        return self.rounds.until_precise(self.kernel, 1, None).times


def test_a_sound_case_keeps_every_round() -> None:
    bench = Bench(repeat(FINE))
    assert len(bench.run()) == bench.kernel.done == 6
    assert bench.watch.doubts == []
    assert bench.device.slept == []
    found = bench.watch.found()
    assert found is not None
    assert (found["discarded_rounds"], found["waited_s"]) == (0, 0.0)
    assert found["before"]["fake:0"]["sm_clock_hz"] == found["after"]["fake:0"]["sm_clock_hz"] == 1_755_000_000


def test_a_round_throttled_in_the_middle_is_discarded_and_waited_out() -> None:
    bench = Bench(chain([FINE, FINE, HOT, HOT, HOT], repeat(FINE)))  # the start, a good round, a hot one, two looks
    assert len(bench.run()) == 6
    assert bench.kernel.done == 7
    assert bench.device.slept == [COOL_S] * 3
    assert bench.watch.discarded == 1
    assert bench.watch.doubts == []


def test_throttling_that_no_reading_saw_is_found_by_the_counters() -> None:
    counted = [replace(FINE, throttled_s={"power cap": total}) for total in (5.0, 5.0, 5.1)]
    bench = Bench(chain(counted, repeat(counted[-1])))
    bench.run()
    assert (bench.watch.discarded, bench.watch.doubts) == (1, [])


@pytest.mark.parametrize("seen", ["at each look", "by the counters alone"])
def test_throttling_that_does_not_end_is_waited_for_within_a_bound_and_doubted(seen: str) -> None:
    def growing() -> Iterator[DeviceHealth]:
        total = 0.0
        while True:
            total += 0.1
            yield replace(FINE, throttled_s={"heat": total})

    bench = Bench(repeat(HOT) if seen == "at each look" else growing())
    assert len(bench.run()) == 6
    assert bench.watch.waited_s == pytest.approx(WAIT_S)
    assert bench.watch.discarded <= WAIT_S / COOL_S
    (doubt,) = bench.watch.doubts
    assert doubt.startswith("the device was throttled (heat")


def test_a_foreign_process_is_a_doubt_at_once_and_not_waited_for() -> None:
    bench = Bench(chain([FINE, FINE, SHARED], repeat(FINE)))
    assert len(bench.run()) == bench.kernel.done == 6
    assert bench.watch.doubts == ["other processes used the device: 77 (train.py)"]
    assert bench.device.slept == []


def test_each_input_gets_a_sound_round_of_its_own() -> None:
    bench = Bench(chain([FINE, FINE, HOT], repeat(FINE)))
    ran: list[str] = []
    found = bench.rounds.by_input(lambda one: ran.append(one) or one, ["a", "b", "c"], None)
    assert ran == ["a", "b", "b", "c"]
    assert found.results == ["a", "b", "c"]
    assert len(found.times) == 3


def test_a_new_case_starts_without_the_last_ones_doubts() -> None:
    bench = Bench(chain([FINE, SHARED], repeat(FINE)))
    assert bench.watch.sound()
    assert bench.watch.doubts
    bench.watch.start()
    assert bench.watch.doubts == []


def test_a_device_that_cannot_be_read_is_told_and_not_doubted() -> None:
    def unread(name: str) -> DeviceHealth:
        raise UnreadError("nvidia-ml-py is not installed")

    watch = Watch(lambda: ("cuda:0",), unread)
    watch.start()
    assert watch.sound()
    assert watch.unread == {"cuda:0": "nvidia-ml-py is not installed"}
    assert watch.doubts == []


def test_a_lost_device_ends_the_case() -> None:
    def lost(name: str) -> DeviceHealth:
        raise DeviceLostError("the driver has lost the device")

    with pytest.raises(DeviceLostError):
        Watch(lambda: ("cuda:0",), lost).start()


def test_a_cpu_is_not_watched() -> None:
    watch = Watch()
    watch.start()
    assert watch.sound()
    assert watch.found() is None


def test_of_several_devices_the_doubt_names_its_own() -> None:
    readings = {"cuda:0": FINE, "cuda:1": SHARED}
    watch = Watch(lambda: ("cuda:0", "cuda:1"), readings.__getitem__)
    watch.start()
    watch.look()
    assert watch.doubts == ["cuda:1: other processes used the device: 77 (train.py)"]
