"""The times beside the latency in an A/B comparison: what they decide, and when they ask for more pairs."""

from __future__ import annotations

import pytest
from perfgate.compare.intervals import LOOKS

from tests.support.pretenders import Comparison, give, statuses


@pytest.mark.parametrize(
    ("load_s", "status", "told"),
    [(1.0, "SAME", False), (2.0, "REGRESSED", True), (1.1, "SAME", False), (0.6, "IMPROVED", True)],
)
def test_a_load_that_takes_longer_is_found_with_the_pairs_that_the_latency_takes(
    load_s: float, status: str, told: bool
) -> None:
    comparison = Comparison({"sum/a": 1.0, "sum/b": 1.0}, spread=0.002, exact=False)
    unchanged = Comparison({"sum/a": 1.0, "sum/b": 1.0}, spread=0.002, exact=False)
    give(comparison, "load_s", a=1.0, b=load_s)
    comparison.run()
    unchanged.run()
    assert set(statuses(comparison).values()) == {status}
    assert comparison.pairs == unchanged.pairs, "it costs no pair more"
    verdict = comparison.cases["sum/a"].verdict
    assert verdict is not None
    assert verdict.reason.startswith("load_s: time ") is told


def test_a_short_load_is_not_compared() -> None:
    comparison = Comparison({"sum/a": 1.0}, spread=0.002)
    comparison.run()
    assert comparison.cases["sum/a"].beside_log_ratios == {}


@pytest.mark.parametrize(("first_s", "status"), [(0.02, "REGRESSED"), (0.01, "SAME"), (0.0, "SAME")])
def test_what_calls_tell_of_themselves_is_compared(first_s: float, status: str) -> None:
    """The whole call takes as long as before; its first part took 10 ms."""
    comparison = Comparison({"sum/a": 1.0, "sum/b": 1.0}, spread=0.002, exact=False)
    give(comparison, "first_s", a=0.01, b=first_s)
    comparison.run()
    assert set(statuses(comparison).values()) == {status}
    known = set(comparison.cases["sum/a"].beside_log_ratios)
    assert known == ({"first_s"} if first_s else set()), "what one side alone tells is not compared"


@pytest.mark.parametrize(("load_s", "status"), [(1.6, "REGRESSED"), (1.0, "SAME")])
def test_a_load_that_seems_too_long_keeps_its_case_until_it_is_decided(load_s: float, status: str) -> None:
    """It varies by a fifth from pair to pair: three pairs, which the latency takes, tell nothing of it."""
    comparison = Comparison({"sum/a": 1.0}, spread=0.002, exact=False)
    give(comparison, "load_s", a=1.0, b=load_s)
    give(comparison, "load_noise", a=0.0, b=0.2)
    comparison.run()
    assert statuses(comparison) == {"sum/a": status}
    assert (LOOKS[0] < comparison.pairs < LOOKS[-1]) == (status == "REGRESSED")


def test_a_load_that_seems_too_long_and_is_not_decided_is_told() -> None:
    comparison = Comparison({"sum/a": 1.0}, spread=0.002, exact=False, budget_s=20.0)
    give(comparison, "load_s", a=1.0, b=1.6)
    give(comparison, "load_noise", a=0.0, b=0.2)
    comparison.run()
    verdict = comparison.cases["sum/a"].verdict
    assert verdict is not None
    assert verdict.status == "INCONCLUSIVE"
    assert verdict.reason.startswith("load_s: time +")
    assert comparison.cases["sum/a"].open_case.needed == comparison.cases["sum/a"].needed["load_s"]
    assert comparison.needed_s is not None, "the budget that would decide it"


def test_a_case_that_is_slower_anyway_is_not_kept_for_its_load() -> None:
    comparison = Comparison({"sum/a": 1.5}, spread=0.002, exact=False)
    give(comparison, "load_s", a=1.0, b=1.6)
    give(comparison, "load_noise", a=0.0, b=0.2)
    comparison.run()
    assert statuses(comparison) == {"sum/a": "REGRESSED"}
    assert comparison.pairs == LOOKS[0]
