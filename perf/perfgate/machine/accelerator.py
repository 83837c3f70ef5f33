"""The only door to an accelerator: its queue, its events, its cache and its memory, through torch's generic interface.

Nothing here names a vendor, so that whatever torch calls an accelerator can be measured. A CPU has no such door.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

FLUSH_BYTES = 256 << 20
"""At least this much is overwritten to empty a device's cache: more than any cache held in 2026.

Source: triton.testing.do_bench, which always writes 256 MB."""
FLUSH_CACHES = 2
"""And at least as much as so many caches hold: one size alone leaves old lines in a cache that does not replace
strictly the oldest. Chosen, not measured."""
FLUSH_SHARE = 8
"""But at most this part (an eighth) of the memory that is free, so that flushing is not what runs out of it."""


class Event(Protocol):
    """A mark on the device's queue."""

    def record(self) -> None:
        """Put the mark behind what is queued now."""

    def query(self) -> bool:
        """Whether the device has come to it."""
        ...

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this mark to ``end``; both must have been reached."""
        ...


@dataclass(frozen=True)
class Memory:
    """A device's memory, in bytes: what this process has allocated and reserved there now and at its peak, and what the
    driver says is in use by all processes together."""

    allocated: int
    peak_allocated: int
    peak_reserved: int
    driver_used: int


class Accelerator(Protocol):
    """What measuring asks of a device. ``device`` is its name ("cuda:0"); ``devices`` are those in use, more than one
    for a model that is spread over several."""

    device: str
    devices: tuple[str, ...]

    def find_devices(self) -> None:
        """Bring ``devices`` up to date: ``device`` and every other one on which this process has memory."""

    def synchronize(self) -> None:
        """Wait until everything queued on ``devices`` has run."""

    def event(self) -> Event:
        """A new mark for the device's queue."""
        ...

    def flush(self) -> None:
        """Queue one overwriting of the device's cache."""

    def clear(self) -> None:
        """Give memory that is only kept for later back to the driver, and start new peaks from what is in use."""

    def memory(self, device: str) -> Memory:
        """What is in use on one of these devices."""
        ...

    def allocate(self, size: int) -> Any:
        """Allocate ``size`` bytes on the device."""
        ...


@dataclass
class TorchAccelerator:
    """An accelerator as torch knows it. It becomes torch's current device, because kernels from outside torch launch
    there whatever tensors they get."""

    device: str
    devices: tuple[str, ...] = field(init=False)
    _buffer: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        import torch

        self._torch = torch
        self._accelerator = torch.accelerator
        self._accelerator.set_device_index(torch.device(self.device).index)
        self.devices = (self.device,)

    def find_devices(self) -> None:
        kind = self.device.partition(":")[0]
        names = [f"{kind}:{index}" for index in range(self._accelerator.device_count())]
        self.devices = tuple(name for name in names if name == self.device or self._accelerator.memory_allocated(name))

    def synchronize(self) -> None:
        for device in self.devices:
            self._accelerator.synchronize(device)

    def event(self) -> Event:
        event: Event = self._torch.Event(self.device, enable_timing=True)
        return event

    def flush(self) -> None:
        if self._buffer is None:
            self._buffer = self._torch.empty(self.flush_bytes(), dtype=self._torch.uint8, device=self.device)
        self._buffer.zero_()

    def flush_bytes(self) -> int:
        """How much is overwritten to empty the device's last cache; never less than the cache holds, where it tells."""
        properties = self._torch.get_device_module(self._torch.device(self.device)).get_device_properties(self.device)
        cache = int(getattr(properties, "L2_cache_size", 0))
        free, _ = self._accelerator.get_memory_info(self.device)
        return max(min(max(FLUSH_CACHES * cache, FLUSH_BYTES), free // FLUSH_SHARE), cache, 1)

    def clear(self) -> None:
        self._accelerator.empty_cache()
        for device in self.devices:
            self._accelerator.reset_peak_memory_stats(device)

    def memory(self, device: str) -> Memory:
        free, total = self._accelerator.get_memory_info(device)
        return Memory(
            allocated=self._accelerator.memory_allocated(device),
            peak_allocated=self._accelerator.max_memory_allocated(device),
            peak_reserved=self._accelerator.max_memory_reserved(device),
            driver_used=total - free,
        )

    def allocate(self, size: int) -> Any:
        return self._torch.empty(size, dtype=self._torch.uint8, device=self.device)


def of(device: str) -> Accelerator | None:
    """The accelerator called ``device``, or None for a CPU."""
    return None if device == "cpu" else TorchAccelerator(device)
