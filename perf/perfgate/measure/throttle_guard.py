"""Watches the devices of a case: a round on a throttled device is not kept, and what cannot be waited out is a doubt.

On a CPU there is nothing to watch, and watching costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from perfgate.machine import health
from perfgate.machine.health import DeviceHealth
from perfgate.measure.clocks import WallClock

COOL_S = 0.5
"""How long to let a throttled device rest before looking again: clocks follow heat and power within tenths of it."""
WAIT_S = 30.0
"""At most so many seconds of a case go into waiting; from then on its rounds are kept, and doubted. Less than
:data:`perfgate.lockstep.pair.ANSWER_TIMEOUT_S`."""


class Watch:
    """The watch over one case. ``devices`` names those to look at, none for a CPU.

    ``discarded`` counts the rounds that were not kept, ``waited_s`` the seconds spent waiting.
    """

    def __init__(
        self,
        devices: Callable[[], tuple[str, ...]] = tuple,
        read: Callable[[str], DeviceHealth] = health.read_device,
        sleep: Callable[[float], None] = WallClock.sleep,
    ) -> None:
        self._devices = devices
        self._read_one = read
        self._sleep = sleep
        self._forget()

    def _forget(self) -> None:
        self.discarded = 0
        self.waited_s = 0.0
        self.unread: dict[str, str] = {}
        self._doubts: dict[str, None] = {}
        self._before: Mapping[str, DeviceHealth] = {}
        self._last: Mapping[str, DeviceHealth] = {}

    def start(self) -> None:
        """Begin with a new case; waits while a device is throttled.

        Raises:
            DeviceLostError: a device is gone.
        """
        self._forget()
        self._before = self._last = self._rested(self._read())

    def sound(self) -> bool:
        """Whether to keep the round that just ended. Where not, the devices have rested meanwhile.

        Raises:
            DeviceLostError: a device is gone.
        """
        now = self._read()
        if self._slowed(now) and self.waited_s < WAIT_S:
            self.discarded += 1
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

    def found(self) -> dict[str, Any] | None:
        """For the record: the readings before and after, what was discarded; None where nothing was watched."""
        if not self._before and not self.unread:
            return None
        return {
            "before": {name: one.to_json() for name, one in self._before.items()},
            "after": {name: one.to_json() for name, one in self._last.items()},
            "discarded_rounds": self.discarded,
            "waited_s": round(self.waited_s, 3),
        }

    def _read(self) -> Mapping[str, DeviceHealth]:
        found = {}
        for device in self._devices():
            try:
                found[device] = self._read_one(device)
            except health.UnreadError as wrong:
                self.unread[device] = str(wrong)
        return found

    def _slowed(self, now: Mapping[str, DeviceHealth]) -> bool:
        return any(health.throttled(self._last.get(device, one), one) for device, one in now.items())

    def _rested(self, now: Mapping[str, DeviceHealth]) -> Mapping[str, DeviceHealth]:
        """The first reading without throttling, or the last one there was time for."""
        while any(one.throttle_reasons for one in now.values()) and self.waited_s < WAIT_S:
            now = self._rest()
        return now

    def _rest(self) -> Mapping[str, DeviceHealth]:
        self._sleep(COOL_S)
        self.waited_s += COOL_S
        return self._read()

    def _take(self, now: Mapping[str, DeviceHealth]) -> None:
        for device, one in now.items():
            for reason in health.spoiled(self._last.get(device, one), one):
                self._doubts[reason if len(now) == 1 else f"{device}: {reason}"] = None
        self._last = now
