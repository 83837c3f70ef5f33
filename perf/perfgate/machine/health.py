"""How busy and how healthy the machine is, and what that says about numbers measured on it.

Anywhere: load, free memory, CPU frequency. On NVIDIA, through NVML: clocks, throttling, temperature, power, ECC,
persistence, and which other processes compute there. Everything here only reads; nothing ever changes a clock or a
power limit.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Any

import psutil

BUSY_LOAD = 0.5
"""A one-minute load above which other processes take time from the measured one: half a core."""
FAMILY = "PERFGATE_FAMILY"
"""Environment variable: the process whose descendants are expected on the device (see :func:`for_children`)."""
NEEDS_NVML = "nvidia-ml-py is not installed (pip install nvidia-ml-py)"

THROTTLING = {
    "nvmlClocksEventReasonSwPowerCap": "power cap",
    "nvmlClocksEventReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksEventReasonSyncBoost": "sync boost",
    "nvmlClocksEventReasonSwThermalSlowdown": "heat, by the driver",
    "nvmlClocksEventReasonHwThermalSlowdown": "heat, by the hardware",
    "nvmlClocksEventReasonHwPowerBrakeSlowdown": "power brake",
}
"""Why clocks are lower than asked for. Left out: idleness, and clocks that somebody set, for both are no accident.

Source: nvml.h, nvmlClocksEventReasons."""
THROTTLED = {
    "NVML_PERF_POLICY_POWER": "power cap",
    "NVML_PERF_POLICY_THERMAL": "heat",
    "NVML_PERF_POLICY_BOARD_LIMIT": "board limit",
    "NVML_PERF_POLICY_RELIABILITY": "voltage limit",
}
"""Counters of the time spent throttled: they also tell what passed between two readings. Source: nvml.h,
nvmlPerfPolicyType_t."""
AT_THE_TOP = ("voltage limit",)
"""Of these, what may also count while a device runs as fast as it ever does: at the top of its range the voltage allows
no higher clock, which slows nothing that was measured."""
TOP_SHARE = 0.98
"""A device is at the top of its range from this share of the highest SM clock that was seen on it: a difference well
below the 5% that a comparison is to find."""


class DeviceLostError(RuntimeError):
    """The driver cannot reach the device any more."""


class UnreadError(Exception):
    """A device whose health cannot be read; the message says why and what helps."""


@dataclass(frozen=True)
class Process:
    """A process that computes on the device; its name and its bytes there as far as they are known."""

    pid: int
    name: str | None = None
    used_bytes: int | None = None

    def __str__(self) -> str:
        held = "" if self.used_bytes is None else f", {self.used_bytes / 2**20:,.0f} MiB"
        return f"{self.pid} ({self.name or 'name unknown'}{held})"


@dataclass(frozen=True)
class DeviceHealth:
    """One reading of an accelerator; None is what it does not tell.

    ``throttle_reasons``: what slows it right now; ``throttled_s``: seconds it was slowed since the driver was loaded,
    by cause; ``ecc_errors``: uncorrected memory errors since then; ``strangers``: processes on it that are neither this
    one nor its family.
    """

    sm_clock_hz: int | None = None
    sm_clock_max_hz: int | None = None
    memory_clock_hz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    throttled_s: Mapping[str, float] = field(default_factory=dict)
    ecc: bool | None = None
    ecc_errors: int | None = None
    persistence: bool | None = None
    strangers: tuple[Process, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a record keeps it."""
        return _plain(asdict(self))


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
        whole = _plain(asdict(self))
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
    return _Nvml(_library(), _handle(device)).read(holds=_holds(device))


def why_no_nvidia() -> str | None:
    """What is wrong with the NVIDIA driver, or None where NVML starts."""
    try:
        _library()
    except UnreadError as wrong:
        return str(wrong)
    return None


@cache
def _library() -> Any:
    """NVML, started.

    Raises:
        UnreadError: it is not installed or does not start.
    """
    try:
        import pynvml
    except ImportError:
        raise UnreadError(NEEDS_NVML) from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibRmVersionMismatch:
        raise UnreadError(
            "the NVIDIA driver's kernel module and its libraries have different versions, as after an update: reboot"
        ) from None
    except pynvml.NVMLError as wrong:
        raise UnreadError(f"NVML does not start: {wrong}; `nvidia-smi` shows more") from None
    return pynvml


@cache
def _handle(device: str) -> Any:
    """NVML's handle of a device, by its UUID: CUDA_VISIBLE_DEVICES makes torch count differently.

    Raises:
        UnreadError: NVML does not know it.
    """
    import torch

    library = _library()
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    try:
        return library.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
    except library.NVMLError as wrong:
        raise UnreadError(f"NVML does not know {device} ({uuid}): {wrong}") from None


def _family() -> frozenset[int]:
    """This process, or the controller that started it, with all descendants."""
    try:
        eldest = psutil.Process(int(os.environ.get(FAMILY, os.getpid())))
        return frozenset({os.getpid(), eldest.pid, *(child.pid for child in eldest.children(recursive=True))})
    except psutil.NoSuchProcess:
        return frozenset({os.getpid()})


def for_children() -> dict[str, str]:
    """The environment that makes a process that this one starts part of its family."""
    return {FAMILY: os.environ.get(FAMILY, str(os.getpid()))}


def _holds(device: str) -> bool:
    """Whether this process has memory on the device."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.accelerator.memory_allocated(device) > 0


@dataclass(frozen=True)
class _Nvml:
    """One device as NVML tells of it."""

    library: Any
    handle: Any

    def read(self, *, holds: bool) -> DeviceHealth:
        nvml = self.library
        power, limit = self._ask("nvmlDeviceGetPowerUsage"), self._ask("nvmlDeviceGetEnforcedPowerLimit")
        ecc, persistence = self._ask("nvmlDeviceGetEccMode"), self._ask("nvmlDeviceGetPersistenceMode")
        return DeviceHealth(
            sm_clock_hz=_hertz(self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM)),
            sm_clock_max_hz=_hertz(self._ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM)),
            memory_clock_hz=_hertz(self._ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_MEM)),
            temperature_c=self._ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            power_w=None if power is None else power / 1e3,
            power_limit_w=None if limit is None else limit / 1e3,
            throttle_reasons=self._throttle_reasons(),
            throttled_s=self._throttled_s(),
            ecc=None if ecc is None else bool(ecc[0]),
            ecc_errors=self._ask(
                "nvmlDeviceGetTotalEccErrors", nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            ),
            persistence=None if persistence is None else bool(persistence),
            strangers=_strangers(self._ask("nvmlDeviceGetComputeRunningProcesses") or (), holds),
        )

    def _ask(self, function: str, *arguments: Any) -> Any:
        """What NVML answers, or None where this device or driver does not tell.

        Raises:
            DeviceLostError: the driver cannot reach the device any more.
        """
        ask: Callable[..., Any] = getattr(self.library, function)
        try:
            return ask(self.handle, *arguments)
        except (self.library.NVMLError_GpuIsLost, self.library.NVMLError_ResetRequired) as wrong:
            raise DeviceLostError(f"the driver has lost the device ({wrong}); `dmesg | grep -i xid` says why") from None
        except self.library.NVMLError:
            return None

    def _throttle_reasons(self) -> tuple[str, ...]:
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:  # drivers before 535 know it by its old name
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        return tuple(words for name, words in THROTTLING.items() if bits & getattr(self.library, name))

    def _throttled_s(self) -> dict[str, float]:
        answers = {
            words: self._ask("nvmlDeviceGetViolationStatus", getattr(self.library, name))
            for name, words in THROTTLED.items()
        }
        return {words: answer.violationTime / 1e9 for words, answer in answers.items() if answer is not None}


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, as JSON has them."""
    plain: dict[str, Any] = json.loads(json.dumps(data, allow_nan=False))
    return plain


def _hertz(megahertz: int | None) -> int | None:
    return None if megahertz is None else megahertz * 1_000_000


def _strangers(listed: Sequence[Any], holds: bool) -> tuple[Process, ...]:
    """Those of NVML's processes that are not of this one's family.

    In a container NVML may count processes as the host does. Then none of them is known here although this process
    holds the device; one alone must be this one, and of several it cannot be told (run the container with --pid=host).
    """
    if all(one.pid == os.getpid() for one in listed):  # as a rule, and looking for a family takes milliseconds
        return ()
    family = _family()
    others = [one for one in listed if one.pid not in family]
    if holds and len(others) == 1 and not any(one.pid in family for one in listed):
        return ()
    return tuple(Process(one.pid, _name(one.pid), one.usedGpuMemory) for one in others)


def _name(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return None
