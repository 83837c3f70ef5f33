"""Cold times and tails: their own tolerances, and what is said where the pairs do not decide."""

from __future__ import annotations

import pytest
from perfgate.compare import metrics
from perfgate.compare.intervals import RatioEstimate
from perfgate.compare.known_time import Estimated
from perfgate.compare.tolerances import Tolerances

from tests.support.two_records import judged, of, twice_as_long

NAMES = {"ttft_s": 0.01, "tpot_p95_s": 0.02, "load_s": 0.03, "first_call_s": 0.03}


@pytest.mark.parametrize("name", NAMES)
def test_each_has_its_tolerance(name: str) -> None:
    allowed = Tolerances(time=0.01, tail=0.02, cold=0.03)
    assert metrics.time_beside(name).tolerance(allowed) == NAMES[name]


def test_short_loads_are_not_compared() -> None:
    assert metrics.time_beside("load_s").shortest_s == 0.5
    assert metrics.time_beside("ttft_s").shortest_s < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_twice_as_long_is_found(name: str) -> None:
    finding = judged(name, of({}), of({}), twice_as_long(beside=name))
    assert finding is not None
    assert (finding.metric, finding.status) == (name, "REGRESSED")
    assert judged(name, of({}), of({})) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("value", "status"), [(0.8, None), (1.0, None), (1.04, None), (1.3, "INCONCLUSIVE")])
def test_a_wide_interval_asks_for_more_pairs_only_where_it_seems_too_long(
    name: str, value: float, status: str | None
) -> None:
    wide = RatioEstimate(value, 0.5, 8.0, 0.5, 8.0)
    finding = judged(name, of({}), of({}), Estimated(None, beside={name: wide}))
    assert (finding.status if finding is not None else None) == status


def test_a_name_that_is_no_time_of_ours_is_judged_as_a_time() -> None:
    assert metrics.time_beside("resident_set_bytes").tolerance(Tolerances()) == Tolerances().time
