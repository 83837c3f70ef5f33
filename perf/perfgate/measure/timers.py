"""How a call is timed: by a clock read around it, or by events that the device itself passes.

Events leave out what the host does, so that a kernel's time is the kernel's. For that to be true the device must never
wait for the host while it is being timed: before each call it gets as much other work (overwriting its own cache, which
must be done anyway, so that no call finds what the last one left there) as the host needs to queue the call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from perfgate.machine.accelerator import Accelerator, Event
from perfgate.measure.clocks import Clock, StoppableClock

Timing = Literal["device", "wall"]
"""What a case's time is about: the device's work, by its events where it has them; or all that its caller waits for."""

WALL_FLOOR_S = 1e-3
"""A shorter call is repeated inside its round until the round takes this long, far above the clock's own cost."""
EVENT_FLOOR_S = 5e-5
"""The same where events are read: a hundred times what they resolve.

Source: CUDA Runtime API, cudaEventElapsedTime: a resolution of about half a microsecond."""
MOST_FLUSHES = 512
"""Most overwritings of the cache before a call; each writes 256 MiB or more: together, about 50 ms at 3 TB/s (computed,
not measured). A queue holds about twice as many."""
STARVED = (
    "the device waited for the host inside the timed calls (they wait for it themselves, or are queued slower than "
    "{flushes} overwritings of its cache take): launch overhead is part of this time"
)


class ClockError(RuntimeError):
    """Events that cannot be true."""


class Round(NamedTuple):
    """A round of calls: the last call's result, the seconds that all calls took, the seconds that the round cost."""

    result: Any
    seconds: float
    spent_s: float


class Timer(Protocol):
    """Times rounds. ``name`` goes into the record; a round shorter than ``floor_s`` says too little; ``note`` is what
    must be said of the times, if anything."""

    @property
    def name(self) -> str: ...

    @property
    def floor_s(self) -> float: ...

    @property
    def note(self) -> str | None: ...

    def time(self, call: Callable[[], Any], calls: int) -> Round:
        """Run ``call`` so many times and time it."""
        ...

    def wall_s(self, call: Callable[[], Any]) -> float | None:
        """The seconds that a caller waits for one call, where that is another number; None where it is the same."""
        ...


def stretched(clock: Clock, start: float, slower: float) -> float:
    """The seconds since ``start``, after waiting for the fraction ``slower`` of them (an injected fault)."""
    elapsed = clock.now() - start
    until = start + elapsed * (1 + slower)
    while start + elapsed < until:
        elapsed = clock.now() - start
    return elapsed


@dataclass(frozen=True)
class WallTimer:
    """By a clock, read before and after all calls of a round."""

    clock: Clock
    slower: float = 0.0
    floor_s: float = WALL_FLOOR_S
    note: None = None

    @property
    def name(self) -> str:
        return self.clock.name

    def time(self, call: Callable[[], Any], calls: int) -> Round:
        repeat = range(calls)
        now = self.clock.now
        left_out = self.clock.stopped_s if isinstance(self.clock, StoppableClock) else 0.0
        start = now()
        for _ in repeat:
            result = call()
        seconds = stretched(self.clock, start, self.slower) if self.slower else now() - start
        if isinstance(self.clock, StoppableClock):
            return Round(result, seconds, seconds + self.clock.stopped_s - left_out)
        return Round(result, seconds, seconds)

    def wall_s(self, call: Callable[[], Any]) -> None:
        return None


class EventTimer:
    """By a pair of the device's events around each call, with the cache overwritten before it. One for each case."""

    name = "device events"
    floor_s = EVENT_FLOOR_S

    def __init__(self, accelerator: Accelerator, clock: Clock, slower: float = 0.0) -> None:
        self._accelerator = accelerator
        self._clock = clock  # one that waits for the device
        self._slower = slower
        self._flushes = 1
        self._starves = False

    @property
    def note(self) -> str | None:
        return STARVED.format(flushes=MOST_FLUSHES) if self._starves else None

    def time(self, call: Callable[[], Any], calls: int) -> Round:
        """As :class:`Timer` has it. A round in which the device may have waited for the host is made again with more
        work before each call; where no amount helps, :attr:`note` says so.

        Raises:
            ClockError: an end came before its beginning.
        """
        start = self._clock.now()
        result, seconds, starved = self._queue(call, calls)
        while starved and not self._starves:
            if self._flushes >= MOST_FLUSHES:
                self._starves, self._flushes = True, 1
            else:
                self._flushes *= 2
            result, seconds, starved = self._queue(call, calls)
        return Round(result, seconds * (1 + self._slower), self._clock.now() - start)

    def _queue(self, call: Callable[[], Any], calls: int) -> tuple[Any, float, bool]:
        """One round: its result, its seconds, and whether the device may have waited for the host."""
        pairs: list[tuple[Event, Event]] = []
        starved = False
        for _ in range(calls):
            begin, end = self._accelerator.event(), self._accelerator.event()
            for _ in range(self._flushes):
                self._accelerator.flush()
            begin.record()
            result = call()
            end.record()
            starved |= begin.query()  # the device had begun before the last of the call was queued
            pairs.append((begin, end))
        self._accelerator.synchronize()
        took = [begin.elapsed_time(end) / 1e3 for begin, end in pairs]
        if min(took) < 0:
            raise ClockError(f"{self._accelerator.device}: events in the wrong order: {min(took):g} s between them")
        return result, sum(took), starved

    def wall_s(self, call: Callable[[], Any]) -> float:
        self._accelerator.flush()
        start = self._clock.now()
        call()
        return self._clock.now() - start


def choose(accelerator: Accelerator | None, clock: Clock, timing: Timing, slower: float = 0.0) -> Timer:
    """The timer for a case: events for a device's own work, else the clock."""
    if accelerator is None or timing == "wall":
        return WallTimer(clock, slower)
    return EventTimer(accelerator, clock, slower)
