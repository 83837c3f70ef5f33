"""Which cases the next pair of a comparison takes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate.compare.intervals import LOOKS
from perfgate.lockstep.scheduling import (
    HOPELESS_AFTER,
    TYPICAL_PAIRS,
    OpenCase,
    expected_s,
    for_next_pair,
    neighbours_together,
)


def fresh(number: int, pair_s: float | None = 1.0) -> list[OpenCase]:
    return [OpenCase(f"case {n}", 0, None, pair_s) for n in range(number)]


def keys(numbers: range) -> set[str]:
    return {f"case {n}" for n in numbers}


def test_all_are_looked_at_where_half_the_time_suffices() -> None:
    """Before those that are nearly decided: what is far off is found wherever it is."""
    begun = [OpenCase(f"begun {n}", 3, 4, 4.0) for n in range(12)]
    first_look_s = 10 * LOOKS[0] * 1.0 + LOOKS[0] * 5.0
    assert for_next_pair([*begun, *fresh(10)], 2 * first_look_s, 5.0) > keys(range(10))
    taken = for_next_pair([*begun, *fresh(10)], 2 * first_look_s - 1, 5.0)
    assert taken == {*keys(range(3)), *(case.key for case in begun)}


def test_with_less_time_as_many_as_can_be_decided() -> None:
    left_s = TYPICAL_PAIRS * (4 * 1.0 + 5.0)
    assert for_next_pair(fresh(100), left_s, 5.0) == keys(range(4))
    assert for_next_pair(fresh(100), left_s - 1, 5.0) == keys(range(3))


def test_the_cheapest_come_first_after_the_urgent_ones_in_their_order() -> None:
    costs = {"slow": 3.0, "urgent": 4.0, "quick": 1.0, "urgent too": 2.0, "usual": 2.0}
    cases = [OpenCase(key, 0, None, cost, urgent=key.startswith("urgent")) for key, cost in costs.items()]
    left_s = TYPICAL_PAIRS * (4.0 + 2.0 + 1.0 + 2.0)
    assert for_next_pair(cases, left_s, 0.0) == {"urgent", "urgent too", "quick", "usual"}
    assert for_next_pair(cases, left_s - 1, 0.0) == {"urgent", "urgent too", "quick"}
    assert for_next_pair(cases, TYPICAL_PAIRS * 5.0, 0.0) == {"urgent", "quick"}


def test_what_is_nearly_decided_is_cheaper_than_what_a_pair_costs_less_of() -> None:
    cases = [OpenCase("many", 3, 13, 1.0), OpenCase("few", 3, 4, 5.0)]
    assert for_next_pair(cases, 10.0, 0.0) == {"few"}


def test_those_begun_go_on_before_others_begin() -> None:
    cases = fresh(100)
    cases[50] = OpenCase("case 50", 2, None, 1.0)
    left_s = (TYPICAL_PAIRS - 2) + 3 * TYPICAL_PAIRS + TYPICAL_PAIRS * 5.0
    assert for_next_pair(cases, left_s, 5.0) == {"case 50", *keys(range(3))}
    assert for_next_pair(cases, left_s - 1, 5.0) == {"case 50", *keys(range(2))}


def test_what_pairs_do_not_help_waits_for_what_they_do() -> None:
    cases = [OpenCase("case 0", 5, math.inf, 1.0), OpenCase("case 1", 5, 8, 1.0)]
    together_s = 5.0 + 3.0 + 5 * 5.0
    assert for_next_pair(cases, together_s - 1, 5.0) == {"case 1"}
    assert for_next_pair(cases, together_s, 5.0) == {"case 0", "case 1"}, "its pairs start no processes of their own"
    assert for_next_pair(cases[:1], 100.0, 5.0) == {"case 0"}
    nearly_given_up = OpenCase("case 0", 9, math.inf, 1.0)
    assert for_next_pair([nearly_given_up, cases[1]], 3.0 + 3 * 5.0, 5.0) == {"case 1"}, "however little it has to go"


def test_where_not_even_one_can_be_decided_all_go_on() -> None:
    assert for_next_pair(fresh(7), 15.0, 8.0) == keys(range(7))


def test_a_case_without_a_cost_costs_what_the_others_do() -> None:
    cases = [OpenCase("case 0", 1, None, 3.0), *fresh(5, None)[1:]]
    assert expected_s(cases, 2.0) == pytest.approx((TYPICAL_PAIRS - 1 + 4 * TYPICAL_PAIRS) * 3.0 + TYPICAL_PAIRS * 2.0)


def test_a_case_without_a_cost_costs_what_its_group_does() -> None:
    cases = [OpenCase("a", 0, 1, 9.0, "slow"), OpenCase("b", 0, 1, 1.0, "quick"), OpenCase("c", 0, 1, None, "quick")]
    assert expected_s(cases, 0.0) == pytest.approx(9.0 + 1.0 + 1.0)
    assert expected_s([*cases, OpenCase("d", 0, 1, None, "new")], 0.0) == pytest.approx(11.0 + 5.0)


@pytest.mark.parametrize(
    ("sampled", "order"),
    [(False, ["run/b", "run/a", "run/z", "sum/c", "sum/d"]), (True, ["run/b", "sum/c", "run/a", "run/z", "sum/d"])],
)
def test_neighbours_stay_together_after_a_sample_of_each(sampled: bool, order: list[str]) -> None:
    """As they were collected; what was not collected comes last."""
    keys = ["run/z", "sum/d", "run/a", "sum/c", "run/b"]
    assert neighbours_together(keys, ["sum/c", "sum/d", "run/b", "run/a"], sampled=sampled) == order


def test_one_of_each_group_tells_what_the_others_cost() -> None:
    cases = [OpenCase("dear", 0, None, 9.0, "known"), *(OpenCase(f"new {n}", 0, None, None, "new") for n in range(3))]
    assert for_next_pair(cases, TYPICAL_PAIRS * 9.0, 0.0) == {"dear", "new 0"}


CANDIDATES = st.lists(
    st.tuples(
        st.integers(0, 29),
        st.none() | st.integers(1, 30) | st.just(math.inf),
        st.none() | st.floats(0.01, 100),
    ),
    min_size=1,
    max_size=30,
)


@given(CANDIDATES, st.floats(0.1, 1000), st.floats(0, 20))
def test_there_is_always_one_and_what_is_taken_fits_or_is_everything(
    drawn: list[tuple[int, float | None, float | None]], left_s: float, start_up_s: float
) -> None:
    cases = [OpenCase(f"case {n}", *one) for n, one in enumerate(drawn)]
    taken = for_next_pair(cases, left_s, start_up_s)
    everything = {case.key for case in cases}
    assert taken
    assert taken <= everything
    known = [case.pair_s for case in cases if case.pair_s is not None]
    mean = sum(known) / len(known) if known else 0.0
    own = [case for case in cases if case.key in taken]
    needed = [HOPELESS_AFTER if case.needed == math.inf else case.needed or LOOKS[0] for case in own]
    left = [max(1.0, pairs - case.pairs) for pairs, case in zip(needed, own, strict=True)]
    costs = [mean if case.pair_s is None else case.pair_s for case in own]
    least_s = sum(pairs * cost for pairs, cost in zip(left, costs, strict=True)) + start_up_s * max(left)
    assert taken == everything or least_s <= left_s * (1 + 1e-9)
