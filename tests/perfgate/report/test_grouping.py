"""Long lists in reports: cases of which the same is said share a line."""

from __future__ import annotations

from perfgate.report import grouping


def test_cases_of_which_the_same_is_said_share_a_line() -> None:
    said = [("a", "new"), ("b", "slow"), ("c", "new")]
    assert grouping.lines(said) == ["new: 2 cases: a, c", "b: slow"]


def test_a_shared_line_names_some_and_counts_the_rest() -> None:
    assert grouping.lines((str(number), "new") for number in range(5)) == ["new: 5 cases: 0, 1, 2, 3, 4"]
    assert grouping.lines((str(number), "new") for number in range(93)) == ["new: 93 cases: 0, 1, 2, 3, 4 and 88 more"]
