"""NVIDIA's devices through NVML: clocks, throttling, temperature, power, ECC, persistence, and which processes compute.

Everything here only reads; nothing ever changes a clock or a power limit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import psutil

from perfgate.machine.device_health import DeviceHealth, DeviceLostError, Process, UnreadError
from perfgate.machine.process_tree import family

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


def read(device: str) -> DeviceHealth:
    """One CUDA device's health now, by torch's name.

    Raises:
        UnreadError: it cannot be read here.
        DeviceLostError: the driver cannot reach it any more.
    """
    return _Nvml(_library(), _handle(device)).read(holds=_holds(device))


def energy_mj(device: str) -> int:
    """What a CUDA device has used since its driver was loaded, by torch's name, in millijoules.

    Raises:
        UnreadError: it cannot be read here; devices older than Volta do not count.
        DeviceLostError: the driver cannot reach it any more.
    """
    found = _Nvml(_library(), _handle(device))._ask("nvmlDeviceGetTotalEnergyConsumption")
    if found is None:
        raise UnreadError(f"{device} does not count its energy")
    return int(found)


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


def _hertz(megahertz: int | None) -> int | None:
    return None if megahertz is None else megahertz * 1_000_000


def _strangers(listed: Sequence[Any], holds: bool) -> tuple[Process, ...]:
    """Those of NVML's processes that are not of this one's family.

    In a container NVML may count processes as the host does. Then none of them is known here although this process
    holds the device; one alone must be this one, and of several it cannot be told (run the container with --pid=host).
    """
    if all(one.pid == os.getpid() for one in listed):  # as a rule, and looking for a family takes milliseconds
        return ()
    ours = family()
    others = [one for one in listed if one.pid not in ours]
    if holds and len(others) == 1 and not any(one.pid in ours for one in listed):
        return ()
    return tuple(Process(one.pid, _name(one.pid), one.usedGpuMemory) for one in others)


def _name(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return None
