"""Watches the devices of a case: rounds on a throttled device are not kept, and what cannot be waited out is a doubt.

On a CPU there is nothing to watch, and watching costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from perfgate.machine import health
from perfgate.machine.device_health import DeviceHealth, UnreadError
from perfgate.machine.health import UNKNOWN, Usual
from perfgate.measure.clocks import Clock, WallClock

COOL_S = 0.5
"""How long to let a throttled device rest before looking again: clocks follow heat and power within tenths of it."""
WAIT_S = 30.0
"""At most so many seconds of a case go into waiting, and no more than its own time budget; from then on its rounds are
kept, and doubted. Less than :data:`perfgate.lockstep.pair.ANSWER_TIMEOUT_S`."""
SESSION_WAIT_S = 300.0
"""At most so many seconds of a session go into waiting: a device that never cools down must not cost a whole run."""
READ_EVERY_S = 0.05
"""Rounds shorter than this share a reading, which is some fifteen questions to the driver. What happens between two
readings is told by the counters, and then none of the rounds between them is kept."""
REST_S = 0.05
"""How long an idle device is looked at, once a session, for counters that run although nothing slows it."""


class Watch:
    """The watch over one case. ``devices`` names those to look at, none for a CPU; ``say`` tells the user why nothing
    happens.

    ``discarded`` counts the rounds that were not kept, ``waited_s`` the seconds spent waiting, ``readings`` and
    ``read_s`` the readings of a case and the seconds they took.
    """

    def __init__(
        self,
        devices: Callable[[], tuple[str, ...]] = tuple,
        read: Callable[[str], DeviceHealth] = health.read_device,
        sleep: Callable[[float], None] = WallClock.sleep,
        clock: Clock | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._devices = devices
        self._read_one = read
        self._sleep = sleep
        self._clock = clock or WallClock()
        self._say = say
        self._usual: dict[str, Usual] = {}
        self._seen_at_rest: set[str] = set()
        self.session_waited_s = 0.0
        self._forget(WAIT_S)

    def _forget(self, budget_s: float) -> None:
        self.discarded = 0
        self.waited_s = 0.0
        self.readings = 0
        self.read_s = 0.0
        self.unread: dict[str, str] = {}
        self._may_wait_s = min(WAIT_S, budget_s)
        self._doubts: dict[str, None] = {}
        self._notes: dict[str, None] = {}
        self._before: Mapping[str, DeviceHealth] = {}
        self._last: Mapping[str, DeviceHealth] = {}
        self._read_at = self._clock.now()

    def start(self, budget_s: float = WAIT_S) -> None:
        """Begin with a new case, of which at most ``budget_s`` seconds go into waiting; waits while a device is
        throttled.

        Raises:
            DeviceLostError: a device is gone.
        """
        self._forget(budget_s)
        now = self._read()
        if any(one.throttled_s and device not in self._seen_at_rest for device, one in now.items()):
            now = self._at_rest(now)
        self._before = self._last = self._rested(now)

    def _at_rest(self, first: Mapping[str, DeviceHealth]) -> Mapping[str, DeviceHealth]:
        """See which counters run on devices that do nothing, and that nothing slows."""
        self._sleep(REST_S)
        now = self._read()
        for device, one in now.items():
            if not one.throttle_reasons and device not in self._seen_at_rest:
                counting = health.counted(first.get(device, one), one)
                self._usual[device] = replace(self._usual[device], counting=counting)
                self._seen_at_rest.add(device)
        return now

    def due(self) -> bool:
        """Whether the rounds since the last reading have taken long enough for another."""
        return self._clock.now() - self._read_at >= READ_EVERY_S

    def sound(self, rounds: int = 1) -> bool:
        """Whether to keep the ``rounds`` since the last reading. Where not, the devices have rested meanwhile.

        Raises:
            DeviceLostError: a device is gone.
        """
        now = self._read()
        if self._slowed(now) and self._may_wait():
            self.discarded += rounds
            self._last = self._rested(self._rest())
            return False
        self._take(now)
        return True

    def look(self) -> None:
        """Note what happened to a round that is kept in any case."""
        self._take(self._read())

    @property
    def doubts(self) -> list[str]:
        """Why the kept rounds cannot be trusted, each reason once."""
        return list(self._doubts)

    @property
    def notes(self) -> list[str]:
        """What was counted and slowed nothing, and what could not be read."""
        return [*self._notes, *(f"{name}: health not read: {why}" for name, why in self.unread.items())]

    def found(self) -> dict[str, Any] | None:
        """For the record: the readings before and after, what was discarded; None where nothing was watched."""
        if not self._before and not self.unread:
            return None
        return {
            "before": {name: one.to_json() for name, one in self._before.items()},
            "after": {name: one.to_json() for name, one in self._last.items()},
            "discarded_rounds": self.discarded,
            "waited_s": round(self.waited_s, 3),
            "readings": self.readings,
            "read_s": round(self.read_s, 6),
        }

    def _read(self) -> Mapping[str, DeviceHealth]:
        found: dict[str, DeviceHealth] = {}
        devices = self._devices()
        if not devices:
            return found
        start = self._clock.now()
        for device in devices:
            try:
                one = found[device] = self._read_one(device)
            except UnreadError as wrong:
                self.unread[device] = str(wrong)
                continue
            self._usual[device] = self._usual.get(device, UNKNOWN).higher(one)
        self._read_at = self._clock.now()
        self.readings += len(found)
        self.read_s += self._read_at - start
        return found

    def _slowed(self, now: Mapping[str, DeviceHealth]) -> bool:
        return any(
            health.throttled(self._last.get(device, one), one, self._usual.get(device, UNKNOWN))
            for device, one in now.items()
        )

    def _may_wait(self) -> bool:
        return self.waited_s < self._may_wait_s and self.session_waited_s < SESSION_WAIT_S

    def _rested(self, now: Mapping[str, DeviceHealth]) -> Mapping[str, DeviceHealth]:
        """The first reading without throttling, or the last one there was time for."""
        while any(one.throttle_reasons for one in now.values()) and self._may_wait():
            now = self._rest()
        return now

    def _rest(self) -> Mapping[str, DeviceHealth]:
        if not self.waited_s:
            self._say(f"a device is throttled: waiting for at most {self._may_wait_s:g} s until it is not")
        self._sleep(COOL_S)
        self.waited_s += COOL_S
        self.session_waited_s += COOL_S
        if self.session_waited_s >= SESSION_WAIT_S:
            self._say(f"devices were throttled for {SESSION_WAIT_S:g} s in all: from now on nothing waits for them")
        return self._read()

    def _take(self, now: Mapping[str, DeviceHealth]) -> None:
        for device, one in now.items():
            usual, last = self._usual.get(device, UNKNOWN), self._last.get(device, one)
            named = "" if len(now) == 1 else f"{device}: "
            for reason in health.spoiled(last, one, usual):
                self._doubts[named + reason] = None
            for cause in sorted(health.counted(last, one) & usual.harmless(one)):
                self._notes[f"{named}the counter for {cause!r} ran while the SM clock was at the top of its range"] = (
                    None
                )
        self._last = now
