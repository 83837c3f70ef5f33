"""Energy counters: NVML's of NVIDIA's devices, and RAPL's of the processor's packages. They only read.

A counter counts for the whole device or package, whoever uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from perfgate.machine import nvml
from perfgate.machine.device_health import UnreadError

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows RAPL's counters, AMD's too. Source: Linux, Documentation/power/powercap/powercap.rst."""
PACKAGE = "package"
"""How the names of the counters of whole packages begin; those of their parts are in them."""


class Counter(Protocol):
    """Counts energy. ``name`` goes into the record."""

    @property
    def name(self) -> str: ...

    def read(self) -> Sequence[int]:
        """What the counters show now."""

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        """The energy between two readings."""


@dataclass(frozen=True)
class Rapl:
    """The processor's packages: folders of the counters, each with the value at which it begins again, in
    microjoules."""

    packages: tuple[tuple[Path, int], ...]
    name: str = "RAPL, whole packages"

    def read(self) -> list[int]:
        return [int((folder / "energy_uj").read_text()) for folder, _ in self.packages]

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        """Right as long as no counter went round more than once, which takes minutes at least."""
        ranges = (largest for _, largest in self.packages)
        return sum((b - a) % (largest + 1) for a, b, largest in zip(before, after, ranges, strict=True)) / 1e6


@dataclass(frozen=True)
class Nvml:
    """NVIDIA devices by torch's names, in millijoules since the driver was loaded."""

    devices: tuple[str, ...]
    name: str = "NVML, whole devices"

    def read(self) -> list[int]:
        return [nvml.energy_mj(device) for device in self.devices]

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float:
        return sum(b - a for a, b in zip(before, after, strict=True)) / 1e3


def of(device: str, folder: Path = POWERCAP) -> Counter | None:
    """The counter of where the benchmarks run ("cpu", "cuda:0"); None where there is none."""
    found = _find(device, folder)
    return None if isinstance(found, str) else found


def why_none(device: str, folder: Path = POWERCAP) -> str | None:
    """Why there is no counter, or None where there is one."""
    found = _find(device, folder)
    return found if isinstance(found, str) else None


def _find(device: str, folder: Path) -> Counter | str:
    found: Counter | str
    if device.startswith("cuda"):
        found = Nvml((device,))
    elif device == "cpu":
        found = _rapl(folder)
    else:
        return f"no counter is known for {device}"
    if not isinstance(found, str):
        try:
            found.read()
        except UnreadError as wrong:
            return str(wrong)
        except PermissionError as wrong:
            return f"{wrong.filename} can be read by root alone"
        except (OSError, ValueError) as wrong:
            return f"it cannot be read: {wrong}"
    return found


def _rapl(folder: Path) -> Rapl | str:
    packages = []
    for one in sorted(folder.glob("*rapl:*")):
        try:
            if (one / "name").read_text().startswith(PACKAGE):
                packages.append((one, int((one / "max_energy_range_uj").read_text())))
        except (OSError, ValueError):
            continue
    return Rapl(tuple(packages)) if packages else f"this machine shows no counters of packages in {folder}"
