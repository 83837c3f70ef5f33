"""The watch over a case: throttled rounds go, within a bound; what stays is doubted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, count, repeat

import pytest
from perfgate.machine.device_health import DeviceHealth, DeviceLostError, Process, UnreadError
from perfgate.measure.rounds import Rounds
from perfgate.measure.throttle_guard import COOL_S, REST_S, SESSION_WAIT_S, WAIT_S, Watch
from perfgate.measure.timers import WallTimer

from tests.support.fake_accelerator import FakeAccelerator, FakeWallClock, Kernel

FINE = DeviceHealth(sm_clock_hz=1_755_000_000)
HOT = replace(FINE, throttle_reasons=("heat, by the driver",))
SHARED = replace(FINE, strangers=(Process(77, "train.py"),))


class Bench:
    """A device whose health goes through ``readings``, and rounds of a kernel on it."""

    def __init__(
        self, readings: Iterable[DeviceHealth], kernel_s: float = 1.0, budget_s: float = WAIT_S, read_s: float = 0.0
    ) -> None:
        self.device = FakeAccelerator()
        self._readings = iter(readings)
        self._read_s = read_s
        self.said: list[str] = []
        self.watch = Watch(
            lambda: self.device.devices, self._read, self.device.sleep, FakeWallClock(self.device), self.said.append
        )
        self.watch.start(budget_s)
        self.kernel = Kernel(self.device, kernel_s)
        self.rounds = Rounds(WallTimer(FakeWallClock(self.device)), self.watch, budget_s=6.0, precision=0.01)

    def _read(self, name: str) -> DeviceHealth:
        self.device.host_s += self._read_s
        return next(self._readings)

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
    counted = [
        replace(FINE, throttled_s={"power cap": total}) for total in (5.0, 5.0, 5.0, 5.1)
    ]  # first at rest, twice
    bench = Bench(chain(counted, repeat(counted[-1])))
    bench.run()
    assert (bench.watch.discarded, bench.watch.doubts) == (1, [])


@pytest.mark.parametrize("seen", ["at each look", "by the counters alone"])
def test_throttling_that_does_not_end_is_waited_for_within_a_bound_and_doubted(seen: str) -> None:
    def growing() -> Iterator[DeviceHealth]:
        total = 0.0
        yield from [replace(FINE, throttled_s={"heat": total})] * 2  # at rest
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


def voltage(total_s: float, clock_hz: int = 1_980_000_000) -> DeviceHealth:
    """A reading with that much time at the voltage limit."""
    return DeviceHealth(sm_clock_hz=clock_hz, throttled_s={"voltage limit": total_s, "power cap": 0.0})


class TestVoltageLimit:
    """At the top of a card's range its voltage always limits the clock: that alone slows nothing."""

    def test_at_the_highest_clock_is_a_note(self) -> None:
        bench = Bench(voltage(total) for total in chain([0.0, 0.0], count(0.1, 0.1)))
        assert len(bench.run()) == bench.kernel.done == 6
        assert (bench.watch.discarded, bench.watch.doubts, bench.device.slept) == (0, [], [REST_S])
        assert bench.watch.notes == [
            "the counter for 'voltage limit' ran while the SM clock was at the top of its range"
        ]

    def test_at_a_lower_clock_than_was_seen_is_throttling(self) -> None:
        """The top is remembered from one case to the next."""
        bench = Bench(chain([voltage(0.0)] * 2, (voltage(total, 1_755_000_000) for total in count(0.1, 0.1))))
        bench.run()
        assert bench.watch.doubts == ["the device was throttled (voltage limit)"]
        bench.watch.start()
        bench.run()
        assert bench.watch.doubts == ["the device was throttled (voltage limit)"]

    def test_where_no_clock_is_told_it_is_throttling(self) -> None:
        bench = Bench(replace(voltage(total), sm_clock_hz=None) for total in count(0.0, 0.1))
        bench.run()
        assert bench.watch.doubts == ["the device was throttled (voltage limit)"]

    def test_another_cause_is_throttling_at_any_clock(self) -> None:
        readings = (replace(voltage(0.0), throttled_s={"heat": total}) for total in chain([0.0, 0.0], count(0.1, 0.1)))
        bench = Bench(readings)
        bench.run()
        assert bench.watch.doubts == ["the device was throttled (heat)"]


def test_a_counter_that_runs_while_nothing_runs_is_no_throttling_at_the_top() -> None:
    bench = Bench(replace(FINE, throttled_s={"power cap": total}) for total in count(0.0, 0.1))
    assert len(bench.run()) == bench.kernel.done == 6
    assert bench.watch.doubts == []
    assert bench.watch.notes == ["the counter for 'power cap' ran while the SM clock was at the top of its range"]


def test_waiting_is_bounded_by_the_cases_own_budget_and_said() -> None:
    bench = Bench(repeat(HOT), budget_s=2.0)
    bench.run()
    assert bench.watch.waited_s == 2.0
    assert bench.said == ["a device is throttled: waiting for at most 2 s until it is not"]


def test_waiting_is_bounded_over_a_session() -> None:
    bench = Bench(repeat(HOT))
    for _ in range(20):
        bench.watch.start()
    assert bench.watch.session_waited_s == sum(bench.device.slept) == SESSION_WAIT_S
    assert bench.said[-1] == "devices were throttled for 300 s in all: from now on nothing waits for them"
    assert len(bench.run()) == 6
    assert bench.watch.doubts


class TestShortRounds:
    """Rounds far below the time between two readings share one."""

    def test_readings_are_few_and_part_of_the_budget(self) -> None:
        bench = Bench(repeat(FINE), kernel_s=1e-3, read_s=2e-3)
        rounds = replace(bench.rounds, budget_s=1.0, precision=-1.0)
        start = bench.device.now()
        found = rounds.until_precise(bench.kernel, 1, None)
        took = bench.device.now() - start
        assert found.stopped_by == "budget"
        assert took == pytest.approx(1.0, abs=0.01)
        assert bench.watch.readings < 45
        written = bench.watch.found()
        assert written is not None
        assert written["readings"] == bench.watch.readings
        assert written["read_s"] == pytest.approx(2e-3 * bench.watch.readings)

    def test_all_rounds_before_a_bad_reading_go(self) -> None:
        bench = Bench(chain([FINE, HOT], repeat(FINE)), kernel_s=1e-2)
        samples: list[int] = []
        found = bench.rounds.until_precise(
            bench.kernel, 1, lambda result: {"number": samples.append(0) or float(len(samples))}
        )
        assert bench.watch.discarded == 5
        assert found.extra["number"] == [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]
        assert len(found.times) == 6
        assert bench.watch.doubts == []
