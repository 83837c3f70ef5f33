"""The only door to memory meters: heap peak, device allocator peak, resident set, and a fake one for tests.

A meter answers one question: by how many bytes did the memory in use rise, at most, while a call ran? The heap meter
counts what the allocator was asked for (memray), so it repeats to the byte; resident set size does not (the C heap
keeps freed pages) and is only reported.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from perfgate.machine.accelerator import Accelerator

T = TypeVar("T")

BALLAST_BYTES = 1 << 20
"""What :func:`verify` allocates: 1 MiB, far above a meter's own noise and far below anything that could fail."""


class MeterError(RuntimeError):
    """A meter that does not see memory it must see: its numbers cannot be trusted."""


class Meter(Protocol):
    """Measures the peak of memory allocated during a call, in bytes. ``name`` goes into the record."""

    @property
    def name(self) -> str: ...

    def peak_of(self, call: Callable[[], T]) -> tuple[T, int]:
        """Run ``call``; return its result and the peak of the bytes allocated meanwhile."""
        ...

    def peak_of_one(self, call: Callable[[], T]) -> tuple[T, int]:
        """The same of a call that is made once and never again, as loading is."""
        ...

    def beside(self) -> Mapping[str, int]:
        """What else was read during the last call, in bytes by metric name: reported, never judged."""
        ...

    def allocate(self, size: int) -> Any:
        """Allocate ``size`` bytes where this meter must see them, and return what keeps them alive."""
        ...


@dataclass(frozen=True)
class HeapMeter:
    """Peak of the bytes requested from the C allocator and mmap during the call, native code included (memray)."""

    name: str = "heap (memray)"

    def peak_of(self, call: Callable[[], T]) -> tuple[T, int]:
        import memray

        with tempfile.TemporaryDirectory(prefix="perfgate-memray-") as folder:
            capture = Path(folder) / "capture.bin"
            with memray.Tracker(capture):
                result = call()
            return result, int(memray.FileReader(capture).metadata.peak_memory)

    peak_of_one = peak_of

    def beside(self) -> dict[str, int]:
        return {}

    def allocate(self, size: int) -> bytearray:
        return bytearray(size)


@dataclass
class AllocatorMeter:
    """Growth of the device allocator's peak during the call, over what was allocated before it.

    The call runs once before it is measured: what only a first call allocates (workspaces of cuBLAS, compiled kernels,
    caches) stays allocated and is no growth of the case. On several devices the growths are added up: an upper bound,
    because the peaks need not fall together.
    """

    accelerator: Accelerator
    name: str = "device allocator"
    _beside: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def peak_of(self, call: Callable[[], T]) -> tuple[T, int]:
        call()
        return self.peak_of_one(call)

    def peak_of_one(self, call: Callable[[], T]) -> tuple[T, int]:
        accelerator = self.accelerator
        accelerator.find_devices()
        accelerator.synchronize()
        accelerator.clear()
        before = {device: accelerator.memory(device).allocated for device in accelerator.devices}
        result = call()
        accelerator.synchronize()
        after = {device: accelerator.memory(device) for device in accelerator.devices}
        self._beside = {
            "reserved_peak_bytes": sum(one.peak_reserved for one in after.values()),
            "driver_memory_bytes": sum(one.driver_used for one in after.values()),
        }
        if len(after) > 1:
            self._beside |= {
                f"peak_bytes_{device.replace(':', '_')}": one.peak_allocated for device, one in after.items()
            }
        return result, sum(one.peak_allocated - before[device] for device, one in after.items())

    def beside(self) -> dict[str, int]:
        """What the allocator had reserved at its peak, what the driver says is in use on these devices by all processes
        together, and where there are several devices the allocator's peak on each."""
        return self._beside

    def allocate(self, size: int) -> Any:
        return self.accelerator.allocate(size)


@dataclass(frozen=True)
class FakeMeter:
    """For tests: every call peaked at ``peak_bytes``."""

    peak_bytes: int
    name: str = "fake"

    def peak_of(self, call: Callable[[], T]) -> tuple[T, int]:
        return call(), self.peak_bytes

    peak_of_one = peak_of

    def beside(self) -> dict[str, int]:
        return {}

    def allocate(self, size: int) -> None:
        return None


def of(accelerator: Accelerator | None) -> Meter | None:
    """The meter of an accelerator, or of a CPU; None where the machine has none (:func:`why_none` says why)."""
    if accelerator is not None:
        return AllocatorMeter(accelerator)
    return HeapMeter() if why_none("cpu") is None else None


def why_none(device: str) -> str | None:
    """Why ``device`` has no memory meter here, or None when it has one."""
    if device == "cpu" and importlib.util.find_spec("memray") is None:
        return "memray is not installed (it has no Windows build): peak memory is not measured"
    return None


def verify(meter: Meter) -> None:
    """Prove that ``meter`` sees memory: allocate a known amount and read it back.

    Raises:
        MeterError: the meter reports less than was allocated, or more than twice as much.
    """
    _, peak = meter.peak_of(lambda: meter.allocate(BALLAST_BYTES))
    if not BALLAST_BYTES <= peak <= 2 * BALLAST_BYTES:
        raise MeterError(
            f"memory meter {meter.name!r} read {peak:,} bytes while {BALLAST_BYTES:,} bytes were allocated: "
            "its peaks cannot be trusted; run `python -m perfgate doctor`"
        )


def resident_set_bytes() -> int:
    """Resident set size of this process now, in bytes. Reported, never judged."""
    import psutil

    return int(psutil.Process().memory_info().rss)
