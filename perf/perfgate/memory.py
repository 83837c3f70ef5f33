"""The only door to memory meters: heap peak, device allocator peak, resident set, and a fake one for tests.

A meter answers one question: by how many bytes did the memory in use rise, at most, while a call ran? The heap meter
counts what the allocator was asked for (memray), so it repeats to the byte; resident set size does not (the C heap
keeps freed pages) and is only reported.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

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

    def allocate(self, size: int) -> bytearray:
        return bytearray(size)


@dataclass(frozen=True)
class AllocatorMeter:
    """Growth of the device allocator's peak during the call, over what was allocated before it (torch)."""

    device: str
    name: str = "device allocator"

    def peak_of(self, call: Callable[[], T]) -> tuple[T, int]:
        import torch

        module = torch.get_device_module(torch.device(self.device))
        module.synchronize(self.device)
        module.reset_peak_memory_stats(self.device)
        before = module.memory_allocated(self.device)
        result = call()
        module.synchronize(self.device)
        return result, int(module.max_memory_allocated(self.device) - before)

    def allocate(self, size: int) -> Any:
        import torch

        return torch.empty(size, dtype=torch.uint8, device=self.device)


@dataclass(frozen=True)
class FakeMeter:
    """For tests: every call peaked at ``peak_bytes``."""

    peak_bytes: int
    name: str = "fake"

    def peak_of(self, call: Callable[[], T]) -> tuple[T, int]:
        return call(), self.peak_bytes

    def allocate(self, size: int) -> None:
        return None


def for_device(device: str) -> Meter | None:
    """The meter for ``device``, or None where the machine has none (:func:`why_none` says why)."""
    if device != "cpu":
        return AllocatorMeter(device)
    return HeapMeter() if why_none(device) is None else None


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
