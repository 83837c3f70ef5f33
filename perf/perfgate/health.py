"""How busy and how fit the machine is: read before and after a run, and a reason not to believe stored times.

Nothing is read while something is timed, and no clock or power limit is ever changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil

BUSY_LOAD = 0.5
"""A one-minute load above which other processes take time from the measured one: half a core."""
SLOWED_BY = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "temperature (driver)",
    0x40: "temperature (hardware)",
    0x80: "power brake",
}
"""The clock event reasons that make a GPU slower than it could be; idling and chosen clocks are no such reasons.

Source: nvml.h of the NVIDIA Management Library, nvmlClocksEventReasons.
"""


def health(device: str) -> dict[str, Any]:
    """Load over one minute, available memory in bytes, CPU frequency in Hz; of an NVIDIA device what its driver tells:
    clocks in Hz, why they are lowered, temperature in degrees Celsius, power in watts, and other processes on it."""
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):  # containers and some virtual machines hide it
        frequency = None
    found = {
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "available_memory_bytes": psutil.virtual_memory().available,
        "cpu_frequency_hz": int(frequency.current * 1e6) if frequency and frequency.current else None,
    }
    return found | (_nvidia(device) if device.startswith("cuda") else {})


def not_idle(found: Mapping[str, Any]) -> list[str]:
    """Why the machine is not idle, in words; empty where it is."""
    load = found.get("load_1min")
    busy = [] if load is None or load <= BUSY_LOAD else [f"load {load:g}, at most {BUSY_LOAD:g} allowed"]
    return busy + device_doubts(found)


def doubts(before: Mapping[str, Any], after: Mapping[str, Any], cores: int) -> list[str]:
    """Why times measured between two readings are not to be compared with stored ones: others used the device, it was
    slowed down, or more ran than this process on its ``cores`` can have caused."""
    load = after.get("load_1min")
    busy = [f"load {load:g} on {cores} cores"] if load is not None and load > cores + BUSY_LOAD else []
    earlier = before.get("load_1min")
    if earlier is not None and earlier > BUSY_LOAD:
        busy.insert(0, f"load {earlier:g} before the first case")
    return busy + list(dict.fromkeys([*device_doubts(before), *device_doubts(after)]))


def device_doubts(found: Mapping[str, Any]) -> list[str]:
    """Why the device itself was not fit for timing."""
    doubts = [f"the device is slowed down: {reason}" for reason in found.get("slowed_by", ())]
    others = found.get("other_processes", 0)
    return doubts + ([f"{others} other processes use the device"] if others else [])


@contextmanager
def _library() -> Iterator[Any]:
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _nvidia(device: str) -> dict[str, Any]:
    """What the driver tells of the device that torch calls by this name; why it tells nothing, where it does not."""
    import torch

    try:
        with _library() as nvml:
            uuid = torch.cuda.get_device_properties(device).uuid
            handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            reasons = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
            processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            return {
                "clock_hz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) * 10**6,
                "max_clock_hz": nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM) * 10**6,
                "slowed_by": [words for bit, words in SLOWED_BY.items() if reasons & bit],
                "temperature_c": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
                "power_w": nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
                "other_processes": sum(process.pid not in _own_processes() for process in processes),
            }
    except ImportError:
        return {"device_health": "unknown: nvidia-ml-py is not installed (the extra gpu brings it)"}
    except Exception as wrong:
        if type(wrong).__name__.startswith("NVMLError"):  # its own error classes are made as it runs
            return {"device_health": f"unknown: {wrong}"}
        raise


def _own_processes() -> set[int]:
    """This process, those that started it, and those it started: a controller and its workers use the device."""
    own = psutil.Process()
    return {own.pid, *(one.pid for one in own.parents()), *(one.pid for one in own.children(recursive=True))}
