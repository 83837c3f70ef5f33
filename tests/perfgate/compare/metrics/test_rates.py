"""Throughputs follow from the latency that is told: the median of rounds, the mean over inputs."""

from __future__ import annotations

import pytest
from perfgate.compare.metrics.quantity import Seen
from perfgate.compare.metrics.rates import Bandwidth, Operations, Tokens


@pytest.mark.parametrize(("by_input", "latency_s"), [(False, 0.5), (True, 1.0)])
def test_what_a_call_processes_by_its_time(by_input: bool, latency_s: float) -> None:
    seen = Seen([0.5, 2.0, 0.5], 3, by_input=by_input, tokens=4, flops=8, bytes=16)
    found = [rate().value(seen) for rate in (Tokens, Operations, Bandwidth)]
    assert found == [4 / latency_s, 8 / latency_s, 16 / latency_s]


def test_what_is_not_stated_has_no_rate() -> None:
    assert [rate().recorded(Seen([0.5], 1)) for rate in (Tokens, Operations, Bandwidth)] == [{}, {}, {}]
