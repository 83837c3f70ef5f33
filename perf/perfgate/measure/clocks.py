"""The only door to clocks: the wall clock, a wall clock that waits for a device, and a fake one for tests.

:mod:`perfgate.measure.timers` times calls with them, or with a device's own events.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from perfgate.machine.accelerator import Accelerator


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
    """The wall clock read after all work queued on a device has finished (``synchronize``), in seconds."""

    synchronize: Callable[[], None]
    name: str = "wall+synchronize"

    def now(self) -> float:
        self.synchronize()
        return time.perf_counter()


@dataclass
class StoppableClock:
    """A clock that can be stopped: what passes then is not in its readings."""

    running: Clock
    stopped_s: float = 0.0

    @property
    def name(self) -> str:
        return self.running.name

    def now(self) -> float:
        return self.running.now() - self.stopped_s

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop as long as the context lasts."""
        start = self.running.now()
        try:
            yield
        finally:
            self.leave_out(start)

    def leave_out(self, since: float) -> None:
        """Take what has passed since a reading of the running clock out of all later readings."""
        self.stopped_s += self.running.now() - since


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


def of(accelerator: Accelerator | None) -> Clock:
    """The plain wall clock where there is no accelerator (on a CPU), a synchronising one elsewhere."""
    return WallClock() if accelerator is None else SynchronizedWallClock(accelerator.synchronize)


def today() -> str:
    """The local date and time, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
