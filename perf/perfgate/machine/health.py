"""How busy and how healthy the machine is, and what that says about numbers measured on it.

Anywhere: load, free memory, CPU frequency; and the health of NVIDIA's devices (:mod:`perfgate.machine.nvml`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import psutil

from perfgate.machine import nvml
from perfgate.machine.device_health import DeviceHealth, DeviceLostError, UnreadError, plain

BUSY_LOAD = 0.5
"""A one-minute load above which other processes take time from the measured one: half a core."""
LOOK_S = 0.3
"""How long a look at what runs now takes, in seconds: the kernel counts a core's time in hundredths of a second."""
AT_THE_TOP = ("voltage limit",)
"""Causes of throttling that may also count while a device runs as fast as it ever does: at the top of its range the
voltage allows no higher clock, which slows nothing that was measured."""
TOP_SHARE = 0.98
"""A device is at the top of its range from this share of the highest SM clock that was seen on it: a difference well
below the 5% that a comparison is to find."""


@dataclass(frozen=True)
class Health:
    """One reading of the machine. ``devices`` by torch's name; ``unread`` says why one of them is not there."""

    load_1min: float | None
    available_memory_bytes: int
    cpu_frequency_hz: int | None
    devices: Mapping[str, DeviceHealth] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As the reports keep it; a CPU's reading has no empty device fields."""
        whole = plain(asdict(self))
        return {name: value for name, value in whole.items() if name not in ("devices", "unread") or value}


def read(*devices: str) -> Health:
    """The machine's health now, and that of these devices ("cuda:0"; "cpu" adds nothing)."""
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):  # containers and some virtual machines hide it
        frequency = None
    found: dict[str, DeviceHealth] = {}
    unread: dict[str, str] = {}
    for device in devices:
        if device == "cpu":
            continue
        try:
            found[device] = read_device(device)
        except (UnreadError, DeviceLostError) as wrong:
            unread[device] = str(wrong)
    return Health(
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        available_memory_bytes=psutil.virtual_memory().available,
        cpu_frequency_hz=int(frequency.current * 1e6) if frequency and frequency.current else None,
        devices=found,
        unread=unread,
    )


def still_busy(now: Health) -> bool:
    """Whether the load of the last minute is too high for measuring and something else runs still: what has just ended
    (an installation) is in the load for a minute longer. Takes ``LOOK_S`` where the load is high; what this process
    does meanwhile counts too."""
    if now.load_1min is None or now.load_1min <= BUSY_LOAD:
        return False
    share = psutil.cpu_percent(interval=LOOK_S) / 100.0
    return bool(share * (psutil.cpu_count() or 1) > BUSY_LOAD)


@dataclass(frozen=True)
class Usual:
    """What is usual for one device. ``top_hz``: the highest SM clock seen on it; ``counting``: causes whose counters
    ran while nothing was asked of it."""

    top_hz: int | None = None
    counting: frozenset[str] = frozenset()

    def higher(self, now: DeviceHealth) -> Usual:
        """The same after another reading."""
        return replace(self, top_hz=max(self.top_hz or 0, now.sm_clock_hz or 0) or None)

    def harmless(self, now: DeviceHealth) -> frozenset[str]:
        """The causes whose counters say nothing at the clock of this reading; none where it tells no clock."""
        if now.sm_clock_hz is None or now.sm_clock_hz < TOP_SHARE * (self.top_hz or 0):
            return frozenset()
        return self.counting | {*AT_THE_TOP}


UNKNOWN = Usual()


def counted(before: DeviceHealth, after: DeviceHealth) -> frozenset[str]:
    """The causes whose counters ran between two readings."""
    return frozenset(
        cause for cause, total in after.throttled_s.items() if total > before.throttled_s.get(cause, total)
    )


def throttled(before: DeviceHealth, after: DeviceHealth, usual: Usual = UNKNOWN) -> list[str]:
    """What slowed a device between two readings, or slows it at the second. A counter that may run on a sound device
    (:meth:`Usual.harmless`) is no slowing while the clock is as high as it ever was."""
    return sorted((counted(before, after) - usual.harmless(after)) | {*after.throttle_reasons})


def spoiled(before: DeviceHealth, after: DeviceHealth, usual: Usual = UNKNOWN) -> list[str]:
    """Why what ran on a device between two readings cannot be trusted; empty where nothing is known against it."""
    slowed = throttled(before, after, usual)
    found = [f"the device was throttled ({', '.join(slowed)})"] if slowed else []
    strangers = {one.pid: one for one in (*before.strangers, *after.strangers)}
    if strangers:
        found.append(f"other processes used the device: {', '.join(map(str, strangers.values()))}")
    if (after.ecc_errors or 0) > (before.ecc_errors or 0):
        found.append("the device's memory had uncorrected errors (ECC)")
    return found


def doubts(before: DeviceHealth, during: Sequence[DeviceHealth], after: DeviceHealth) -> list[str]:
    """Why a case with these readings around and between its rounds is INCONCLUSIVE; empty where it is sound."""
    readings = (before, before, *during, after)  # twice: it may be throttled from the start
    return list(dict.fromkeys(reason for one, other in pairwise(readings) for reason in spoiled(one, other)))


def not_idle(now: Health) -> list[str]:
    """Why this machine is not fit for a baseline right now; empty where it is."""
    found = []
    if now.load_1min is not None and now.load_1min > BUSY_LOAD:
        found.append(f"load {now.load_1min:g}, at most {BUSY_LOAD:g} allowed")
    found += unfit(now)
    found += [f"{device}: throttling and other processes cannot be seen: {why}" for device, why in now.unread.items()]
    return found


def unfit(now: Health) -> list[str]:
    """Why no time measured on these devices just now can be trusted; empty where nothing is known against it."""
    return [f"{device}: {reason}" for device, one in now.devices.items() for reason in doubts(one, (), one)]


def doubts_about_stored(before: Health, after: Health, cores: int) -> list[str]:
    """Why times measured between two readings are not to be compared with stored ones, which nothing corrects for what
    else ran: more than this process on its ``cores`` can have caused, or a device that was slowed down or shared."""
    found = []
    if before.load_1min is not None and before.load_1min > BUSY_LOAD:
        found.append(f"load {before.load_1min:g} before the first case")
    if after.load_1min is not None and after.load_1min > cores + BUSY_LOAD:
        found.append(f"load {after.load_1min:g} on {cores} cores")
    return found + unfit(after)


def read_device(device: str) -> DeviceHealth:
    """One accelerator's health now.

    Raises:
        UnreadError: it cannot be read here.
        DeviceLostError: the driver cannot reach it any more.
    """
    if not device.startswith("cuda"):
        raise UnreadError(f"no way to read the health of {device.partition(':')[0]} devices is known here, only NVIDIA")
    return nvml.read(device)
