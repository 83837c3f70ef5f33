"""The energy of the timed calls of a case."""

from __future__ import annotations

from perfgate.machine.energy import Counter
from perfgate.measure.clocks import Clock

SHORTEST_S = 1.0
"""Calls that take less in all are not told: a counter moves in steps of some ten milliseconds, and what else the
machine does counts too."""


class EnergyMeter:
    """Counts from its making on; nothing where there is no counter."""

    def __init__(self, counter: Counter | None, clock: Clock) -> None:
        self._counter = counter
        self._clock = clock
        if counter is not None:
            self._before, self._start = counter.read(), clock.now()

    def per_call_j(self, calls: int) -> float | None:
        """Joules for each of so many calls since; None where nobody counts, or it was too short."""
        if self._counter is None or calls == 0 or self._clock.now() - self._start < SHORTEST_S:
            return None
        return self._counter.joules(self._before, self._counter.read()) / calls
