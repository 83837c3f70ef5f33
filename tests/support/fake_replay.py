"""Stands for pytest-benchmark, to which a measurement hands its samples."""

from __future__ import annotations

from collections.abc import Sequence


class FakeReplay:
    """Keeps the samples it is given; ``disabled`` as pytest-benchmark is with ``--benchmark-disable``."""

    def __init__(self, disabled: bool = False) -> None:
        self.disabled = disabled
        self.given: list[list[float]] = []

    def replay(self, samples: Sequence[float]) -> None:
        self.given.append(list(samples))
