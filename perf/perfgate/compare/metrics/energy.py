"""The energy of the timed calls, where a counter can be read."""

from __future__ import annotations

from perfgate.compare.metrics import register
from perfgate.compare.metrics.quantity import Seen, Surroundings, Told

SHORTEST_S = 1.0
"""Calls that take less in all are not told: a counter moves in steps of some ten milliseconds, and what else the
machine does counts too."""


class Energy(Told):
    """Counts over the timed rounds; nothing where there is no counter."""

    unit, better = "J", "lower"
    why_not = "one number for all rounds: its spread is unknown, and whatever else the machine did is in it"
    place = 40

    def __init__(self) -> None:
        self._used_j: float | None = None
        self._counter = ""

    def begin(self, around: Surroundings) -> None:
        self._around = around
        if around.energy is not None:
            self._counter = around.energy.name
            self._before, self._start_s = around.energy.read(), around.clock.now()

    def end(self) -> None:
        energy = self._around.energy
        if energy is not None and self._around.clock.now() - self._start_s >= SHORTEST_S:
            self._used_j = energy.joules(self._before, energy.read())

    def per_call_j(self, seen: Seen) -> float | None:
        if self._used_j is None or not seen.calls:
            return None
        seen.provenance["energy_counter"] = self._counter
        return self._used_j / seen.calls


@register
class EnergyPerCall(Energy):
    name = "energy_per_call_j"

    def value(self, seen: Seen) -> float | None:
        return self.per_call_j(seen)


@register
class EnergyPerToken(Energy):
    name = "energy_per_token_j"
    place = 41

    def value(self, seen: Seen) -> float | None:
        per_call_j = self.per_call_j(seen)
        return None if per_call_j is None or not seen.tokens else per_call_j / seen.tokens
