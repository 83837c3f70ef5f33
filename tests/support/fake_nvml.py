"""A stand-in for NVML: the functions that perfgate asks, with answers that a test sets, held to the real signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml


def process(pid: int, used_bytes: int | None = 2**30) -> SimpleNamespace:
    """A process as NVML lists it."""
    return SimpleNamespace(pid=pid, usedGpuMemory=used_bytes)


@dataclass
class FakeNvml:
    """Answers like a healthy card that computes at 1,755 MHz and 60 degrees. Everything that is no function (constants,
    errors) is nvidia-ml-py's own, and so is every function's signature."""

    reasons: int = 0
    violations_ns: dict[int, int] = field(default_factory=dict)
    processes: list[SimpleNamespace] = field(default_factory=list)
    ecc_errors: int = 0
    energy_mj: int = 5_000_000
    errors: dict[str, Exception] = field(default_factory=dict)
    """What a function raises instead of answering, by its name."""
    asked: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        real = getattr(pynvml, name)
        if not inspect.isfunction(real):
            return real
        answer: Callable[..., Any] = getattr(type(self), f"_{name}")

        def function(*arguments: Any) -> Any:
            inspect.signature(real).bind(*arguments)
            self.asked.append(name)
            if name in self.errors:
                raise self.errors[name]
            return answer(self, *arguments)

        return function

    def _nvmlInit(self) -> None: ...

    def _nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def _nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:
        return {pynvml.NVML_CLOCK_SM: 1755, pynvml.NVML_CLOCK_MEM: 2619}[kind]

    def _nvmlDeviceGetMaxClockInfo(self, handle: str, kind: int) -> int:
        return 1980

    def _nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 60

    def _nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 310_500  # milliwatts

    def _nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        return self.energy_mj

    def _nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:
        return 700_000

    def _nvmlDeviceGetEccMode(self, handle: str) -> list[int]:
        return [1, 1]

    def _nvmlDeviceGetPersistenceMode(self, handle: str) -> int:
        return 0

    def _nvmlDeviceGetTotalEccErrors(self, handle: str, kind: int, counter: int) -> int:
        assert (kind, counter) == (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        return self.ecc_errors

    def _nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        return self.reasons

    def _nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        return self.reasons

    def _nvmlDeviceGetViolationStatus(self, handle: str, policy: int) -> SimpleNamespace:
        return SimpleNamespace(referenceTime=0, violationTime=self.violations_ns.get(policy, 0))

    def _nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        return self.processes
