"""One reading of an accelerator's health, whichever library it comes from, and why there may be none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


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
        return plain(asdict(self))


def plain(data: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, as JSON has them."""
    written: dict[str, Any] = json.loads(json.dumps(data, allow_nan=False))
    return written
