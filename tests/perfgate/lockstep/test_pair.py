"""What a pair of processes makes of its turns."""

from __future__ import annotations

import math

import pytest
from perfgate.lockstep import pair


@pytest.mark.parametrize("call_s", [1e-6, 0.003, 0.03, 0.2, 0.7, 1.1, 30.0])
def test_each_side_is_first_in_as_many_turns_as_the_other(call_s: float) -> None:
    calls, turns = pair._plan(call_s)
    assert turns % 2 == 0
    assert 2 <= turns <= pair.TURNS
    assert 2 * turns * calls * call_s <= max(pair.CASE_S * 1.5, 4 * call_s)


def test_that_the_second_of_a_turn_is_slower_cancels() -> None:
    second = math.log(1.04)
    turns = [second, -second] * 6
    assert pair._without_order([0.1 + one for one in turns]) == pytest.approx(0.1)


def test_one_interrupted_turn_tells_nothing() -> None:
    turns = [0.01, -0.01] * 6
    turns[3] = 5.0
    assert pair._without_order(turns) == pytest.approx(0.0)
