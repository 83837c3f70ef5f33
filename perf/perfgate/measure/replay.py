"""Finished samples, replayed to pytest-benchmark: its table, JSON and histogram then show what perfgate measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol


class Replay(Protocol):
    """Hands finished samples to pytest-benchmark."""

    disabled: bool

    def replay(self, samples: Sequence[float]) -> None: ...


class ReplayTimer:
    """A timer for pytest-benchmark that replays finished samples: each pair of readings is one sample apart."""

    __name__ = "perfgate.replay"

    def __init__(self) -> None:
        self._readings: Iterator[float] = iter(())

    def load(self, samples: Sequence[float]) -> None:
        self._readings = iter([reading for sample in samples for reading in (0.0, sample)])

    def __call__(self) -> float:
        return next(self._readings)


class BenchmarkReplay:
    """Gives samples to pytest-benchmark's fixture, whose timer is the :class:`ReplayTimer`. ``pedantic`` is the
    fixture's method that runs rounds, or what is behind it."""

    def __init__(self, pedantic: Callable[..., Any], timer: ReplayTimer, *, disabled: bool) -> None:
        self._pedantic = pedantic
        self._timer = timer
        self.disabled = disabled

    def replay(self, samples: Sequence[float]) -> None:
        self._timer.load(samples)
        self._pedantic(lambda: None, rounds=max(1, len(samples)), iterations=1)
