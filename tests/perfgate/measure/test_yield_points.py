"""Places where a call may pause: who is asked, and for how long."""

from __future__ import annotations

import pytest
from perfgate.measure.yield_points import may_pause, pausing


def test_where_nobody_takes_turns_nothing_happens() -> None:
    asked: list[int] = []
    with pausing(lambda: asked.append(1)):
        pass
    may_pause()
    assert asked == []


def test_every_place_asks_once() -> None:
    asked: list[int] = []
    with pausing(lambda: asked.append(1)):
        may_pause()
        may_pause()
    assert len(asked) == 2


def test_the_innermost_is_asked_and_after_its_failure_the_outer_one_again() -> None:
    asked: list[str] = []

    def fails() -> None:
        with pausing(lambda: asked.append("inner")):
            may_pause()
            raise ZeroDivisionError

    with pausing(lambda: asked.append("outer")):
        with pytest.raises(ZeroDivisionError):
            fails()
        may_pause()
    assert asked == ["inner", "outer"]
