"""The only door to clocks: the wall clock, a wall clock that waits for a device, and a fake one for tests.

Device events (timestamps taken on an accelerator's own queue) are not here yet; on an accelerator a case is timed by
the wall clock with synchronisation on both sides, and the record says so in ``clock``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    """Reads monotonic time in seconds. ``name`` goes into the record."""

    @property
    def name(self) -> str: ...

    def now(self) -> float: ...


@dataclass(frozen=True)
class WallClock:
    """``time.perf_counter``, in seconds."""

    name: str = "wall"

    def now(self) -> float:
        return time.perf_counter()

    @staticmethod
    def sleep(seconds: float) -> None:
        """Let ``seconds`` pass without using the processor."""
        time.sleep(seconds)


@dataclass(frozen=True)
class SynchronizedWallClock:
    """The wall clock read after all work queued on a device has finished, in seconds."""

    synchronize: Callable[[], None]
    name: str = "wall+synchronize"

    def now(self) -> float:
        self.synchronize()
        return time.perf_counter()


@dataclass
class FakeClock:
    """For tests: every reading advances by the next of ``steps``, in seconds."""

    steps: Iterator[float] = field(default_factory=lambda: itertools.repeat(1.0))
    name: str = "fake"
    time_s: float = 0.0

    def now(self) -> float:
        self.time_s += next(self.steps)
        return self.time_s

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, as work that was being timed would."""
        self.time_s += seconds


def for_device(device: str) -> Clock:
    """The clock for ``device`` ("cpu", "cuda:0", ...): the plain wall clock on a CPU, a synchronising one elsewhere."""
    if device == "cpu":
        return WallClock()
    import torch

    module = torch.get_device_module(torch.device(device))
    return SynchronizedWallClock(synchronize=lambda: module.synchronize(device))


def today() -> str:
    """The local date and time, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
