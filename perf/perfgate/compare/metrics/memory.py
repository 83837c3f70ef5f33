"""Memory: weights, the peak of a call, and what is told beside them."""

from __future__ import annotations

from dataclasses import replace

from perfgate.compare.metric_verdict import Finding, amount
from perfgate.compare.metrics import register
from perfgate.compare.metrics.quantity import Basis, Exact, Seen, Told
from perfgate.records.record import Metric

METER = "memory_meter"
"""The provenance that names the meter."""
LOADING = "loading_peak_bytes"
IMPORTS_BYTES = 8 * 2**20
"""Loading may weigh this much more, in bytes, in any case: what it imports depends on what the process loaded before.
LLM.int8() after other schemes of bitsandbytes, and as the first of them, differ by 2 MiB."""


@register
class Weights(Exact):
    name, unit = "weights_bytes", "bytes"
    place = 30

    def value(self, seen: Seen) -> int | None:
        return seen.weights_bytes


class Peak(Exact):
    """Two meters weigh differently: what they say is not compared."""

    how = f"{Exact.how}, where one meter weighed both"

    def of_both(self, name: str, before: Metric, after: Metric, basis: Basis) -> Finding:
        then, now = (record.provenance.get(METER) for record in (basis.before, basis.after))
        if then != now:
            return Finding(name, "INCOMPARABLE", f"weighed by {then} before, by {now} now")
        return super().of_both(name, before, after, basis)


@register
class ActivationPeak(Peak):
    """The call's own peak."""

    name, unit = "activation_peak_bytes", "bytes"
    place = 31

    def value(self, seen: Seen) -> int | None:
        return seen.peak_bytes


@register
class PeakMemory(Peak):
    """The call's peak and what the subject keeps allocated."""

    name, unit = "peak_memory_bytes", "bytes"
    place = 32

    def value(self, seen: Seen) -> int | None:
        return None if seen.peak_bytes is None else (seen.weights_bytes or 0) + seen.peak_bytes


@register
class LoadingPeak(Peak):
    """The peak while a model was loaded and quantized, which is before the measured call and may be far above its own:
    a benchmark weighs it (``measure.weighed``)."""

    name, unit = LOADING, "bytes"
    how = f"{Peak.how}; {amount(IMPORTS_BYTES, 'bytes')} are allowed in any case"
    place = 33

    def of_both(self, name: str, before: Metric, after: Metric, basis: Basis) -> Finding:
        allowed = max(basis.tolerances.exact_bytes, IMPORTS_BYTES)
        return super().of_both(
            name, before, after, replace(basis, tolerances=replace(basis.tolerances, exact_bytes=allowed))
        )


@register
class ResidentSet(Told):
    name, unit = "resident_set_bytes", "bytes"
    why_not = "it holds what earlier cases of the process left and what the system has not taken back"
    place = 35

    def value(self, seen: Seen) -> int | None:
        return seen.resident_set_bytes


class Beside(Told):
    """What the device's memory meter tells beside the peak."""

    unit = "bytes"

    def value(self, seen: Seen) -> int | None:
        return seen.beside_bytes.get(self.name)


@register
class ReservedPeak(Beside):
    name = "reserved_peak_bytes"
    why_not = "the allocator's cache holds what earlier cases of the process left"
    place = 36


@register
class DriverMemory(Beside):
    name = "driver_memory_bytes"
    why_not = "all processes of the device together"
    place = 37


@register
class DevicePeaks(Beside):
    """The allocator's peak on each of several devices."""

    name = "peak_bytes_*"
    why_not = "their sum is judged, as activation_peak_bytes"
    place = 38

    @classmethod
    def covers(cls, name: str) -> bool:
        return name.startswith("peak_bytes_")

    def recorded(self, seen: Seen) -> dict[str, Metric]:
        told = {name: value for name, value in seen.beside_bytes.items() if self.covers(name)}
        return {name: Metric(self.kind, self.unit, self.better, value) for name, value in told.items()}
