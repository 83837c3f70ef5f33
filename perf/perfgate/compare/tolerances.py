"""What may differ before something is called worse."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

TIME = 0.05
"""A case may become this fraction slower: what pairs of processes tell within minutes even on a small shared machine,
and less than the regressions that people met in these libraries' releases (7% and more)."""
TAIL = 0.15
"""The slowest of many times, whose metrics' names end in ``_p95_s``, may become longer by this fraction: a few of them
tell it."""
COLD = 0.25
"""A cold time may become longer by this fraction: it is taken once in a process, while the other side loads too."""
EXACT_RELATIVE = 0.005
"""Exact amounts may grow by this fraction: room for a changed alignment or another library's few more objects."""
EXACT_BYTES = 128 * 1024
"""Bytes may grow by this much in any case: a generation's first call needs half as much once, for its caches."""
QUALITY = 0.01
"""What is wrong (an error, a divergence, a disagreement) may grow by this fraction."""
QUALITY_ABSOLUTE = 1e-4
"""What is wrong may grow by this much in any case, in the metric's unit: the noise of rounding."""
ALPHA = 0.01
"""The chance that an unchanged suite is called changed: one run in a hundred."""
SAME_RISK = 0.05
"""The chance that a case slower than its tolerance is called SAME, over all looks at it, and so for one faster. Usual
for one-sided bounds. It is a case's own: many other cases make no miss worse, while each of them can raise a false
alarm, for which ``ALPHA`` holds for the suite. At a suite's 1%, 105 unchanged cases take twice as many pairs
(simulated)."""


@dataclass(frozen=True)
class Tolerances:
    """What may differ. ``time``, ``cold``, ``tail``, ``exact_relative`` and ``quality`` are fractions, ``exact_bytes``
    is in bytes, ``quality_absolute`` in the unit of the metric, and ``alpha`` is the chance, for the whole suite, of
    calling something changed that is not.

    Raises:
        ValueError: a number that makes no sense.
    """

    time: float = TIME
    exact_relative: float = EXACT_RELATIVE
    exact_bytes: int = EXACT_BYTES
    alpha: float = ALPHA
    quality: float = QUALITY
    quality_absolute: float = QUALITY_ABSOLUTE
    cold: float = COLD
    tail: float = TAIL

    def __post_init__(self) -> None:
        for name, fine, allowed in (
            ("time", 0 < self.time < math.inf, "a fraction above 0"),
            ("cold", 0 < self.cold < math.inf, "a fraction above 0"),
            ("tail", 0 < self.tail < math.inf, "a fraction above 0"),
            ("exact_relative", 0 <= self.exact_relative < math.inf, "a fraction, 0 or more"),
            ("exact_bytes", 0 <= self.exact_bytes < math.inf, "bytes, 0 or more"),
            ("quality", 0 <= self.quality < math.inf, "a fraction, 0 or more"),
            ("quality_absolute", 0 <= self.quality_absolute < math.inf, "an amount, 0 or more"),
            ("alpha", 0 < self.alpha < 1, "a chance between 0 and 1"),
        ):
            if not fine:
                raise ValueError(f"tolerance {name}: got {getattr(self, name)!r}, expected {allowed}")


TolerancesOf = Callable[[str], Tolerances]
"""What may differ in a case, by its key."""
