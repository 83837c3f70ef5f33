"""The timed rounds of a case: how many make it warm, how many calls each holds, when there are enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from perfgate.compare.intervals import median_interval
from perfgate.measure.throttle_guard import Watch
from perfgate.measure.timers import Round, Timer
from perfgate.records.record import StoppedBy

WARM_ROUNDS = 5
"""At most this many warm-up rounds."""
WARM_AGREEMENT = 0.1
"""Warm when a round's time is within this fraction of the round before it: rounds of one process vary by 3-24%."""
WARM_SHARE = 0.5
"""At most this share of the time budget goes into warm-up."""
MIN_ROUNDS = 6
"""The fewest samples that can give a 95% interval of the median (see :mod:`perfgate.compare.intervals`)."""
LOOK_EVERY = 1.2
"""The stopping rule looks again when the samples have grown by this factor, so that looking stays cheap."""

Samples = Callable[[Any], Mapping[str, float]]
"""Takes numbers from a round's result, by metric name."""
OWN_SAMPLES = "perfgate_samples"


def own_samples(result: Any) -> Mapping[str, float]:
    """The times that a result tells of itself, in seconds by metric name: those that its method ``perfgate_samples``
    returns, if it has one."""
    told = getattr(result, OWN_SAMPLES, None)
    return told() if callable(told) else {}


@dataclass
class Timed:
    """What timing found: seconds a call by round, the other samples by metric name, the results where each round had an
    input of its own, what ended it, and how many calls there were, counted or not."""

    times: list[float] = field(default_factory=list)
    extra: dict[str, list[float]] = field(default_factory=dict)
    results: list[Any] = field(default_factory=list)
    stopped_by: StoppedBy = "inputs"
    calls: int = 0

    def take(self, result: Any, seconds: float, samples: Samples | None) -> None:
        self.times.append(seconds)
        for name, value in (samples or own_samples)(result).items():
            self.extra.setdefault(name, []).append(value)

    def drop(self, rounds: int) -> None:
        """Forget the last ``rounds``, each of which gave one sample of every kind."""
        for values in (self.times, *self.extra.values()):
            del values[len(values) - rounds :]


@dataclass(frozen=True)
class Rounds:
    """Makes rounds with a timer, keeps those that the watch lets pass. ``budget_s`` in seconds, ``precision`` as a
    fraction."""

    timer: Timer
    watch: Watch
    budget_s: float
    precision: float

    def warm(self, call: Callable[[], Any], previous_s: float) -> float:
        """Call until a call takes about as long as the one before it (the first: as ``previous_s``); returns how long
        the last one took, in seconds."""
        spent = 0.0
        for _ in range(WARM_ROUNDS):
            one = self.timer.time(call, 1)
            spent += one.spent_s
            agrees = abs(one.seconds - previous_s) <= WARM_AGREEMENT * previous_s
            previous_s = one.seconds
            if agrees or spent > WARM_SHARE * self.budget_s:
                break
        return previous_s

    def calls_per_round(self, call: Callable[[], Any], duration: float) -> int:
        """How many calls make one round: one, or as many as a very short call needs to fill the timer's floor.

        ``duration`` is what one warm call took, in seconds.
        """
        calls = 1
        while duration < self.timer.floor_s:
            calls *= 10 if duration < self.timer.floor_s / 10 else 2
            duration = self.timer.time(call, calls).seconds
        return calls

    def until_precise(self, call: Callable[[], Any], calls: int, samples: Samples | None) -> Timed:
        """Rounds until the median's interval is narrow enough or the budget ends, but at least two. Reading a device's
        health is part of the budget; no round counts before the reading that follows it."""
        found = Timed()
        spent = 0.0
        next_look = MIN_ROUNDS
        unread, unread_s = 0, 0.0  # the rounds since the last reading, and what they cost
        while True:
            one = self.timer.time(call, calls)
            found.take(one.result, one.seconds / calls, samples)
            found.calls += calls
            spent += one.spent_s
            unread, unread_s = unread + 1, unread_s + one.spent_s
            if len(found.times) >= next_look or spent >= self.budget_s or self.watch.due():
                read_s = self.watch.read_s
                if not self.watch.sound(unread):
                    found.drop(unread)
                    spent -= unread_s  # the watch bounds what is discarded
                spent += self.watch.read_s - read_s
                unread, unread_s = 0, 0.0
            if len(found.times) >= next_look:
                estimate = median_interval(found.times)
                if estimate is not None and estimate.relative_half_width <= self.precision:
                    found.stopped_by = "precision"
                    return found
                next_look = int(len(found.times) * LOOK_EVERY) + 1
            if spent >= self.budget_s and len(found.times) >= 2:
                found.stopped_by = "budget"
                return found

    def by_input(self, call: Callable[[Any], Any], inputs: Sequence[Any], samples: Samples | None) -> Timed:
        """One round for each input, in order."""
        found = Timed()
        for one_input in inputs:
            one = self.kept(partial(call, one_input), 1)
            found.results.append(one.result)
            found.take(one.result, one.seconds, samples)
            found.calls += 1
        return found

    def kept(self, call: Callable[[], Any], calls: int) -> Round:
        """The first round of so many calls that the watch lets pass."""
        while True:
            one = self.timer.time(call, calls)
            if self.watch.sound():
                return one
