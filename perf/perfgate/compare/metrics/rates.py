"""Throughputs: what a call processes, divided by the latency."""

from __future__ import annotations

from typing import ClassVar

from perfgate.compare.metrics import register
from perfgate.compare.metrics.quantity import Seen, Told


class Rate(Told):
    better = "higher"
    why_not = "it follows from the latency, which is judged"
    place = 10
    processed: ClassVar[str]
    """The field of :class:`Seen` that says how much a call processes."""

    def value(self, seen: Seen) -> float | None:
        processed: float = getattr(seen, self.processed)
        return processed / seen.latency_s if processed else None


@register
class Tokens(Rate):
    name, unit, processed = "throughput_tokens_per_s", "tokens/s", "tokens"


@register
class Operations(Rate):
    name, unit, processed = "throughput_flop_per_s", "flop/s", "flops"


@register
class Bandwidth(Rate):
    name, unit, processed = "bandwidth_bytes_per_s", "bytes/s", "bytes"
