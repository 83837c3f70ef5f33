"""The chart of verdicts as data: which cases it has, in which order, and with what beside them."""

from __future__ import annotations

import pytest
from perfgate.report import Chart, Value, ratio_chart

Row = dict[str, Value]


def row(case: str, verdict: str, ratio: float | None = 1.0, width: float | None = 0.1) -> Row:
    """A row of the gate's table, with an interval so wide on both sides."""
    low, high = (None, None) if ratio is None or width is None else (ratio - width, ratio + width)
    return {"case": case, "verdict": verdict, "ratio": ratio, "low": low, "high": high}


def drawn(*rows: Row, tolerances: tuple[float, ...] = ()) -> Chart:
    (chart,) = ratio_chart.chart("Title", "now / before", rows, tolerances)
    return chart


@pytest.mark.parametrize("rows", [(), (row("a", "NEW", None),), (row("a", "INCONCLUSIVE", 1.0, None),)])
def test_without_a_ratio_and_its_interval_there_is_no_chart(rows: tuple[Row, ...]) -> None:
    assert ratio_chart.chart("Title", "now / before", rows, [0.05]) == []


def test_the_worst_verdict_is_on_top_and_of_one_verdict_the_largest_ratio() -> None:
    chart = drawn(
        row("same", "SAME", 1.04),
        row("slow", "REGRESSED", 1.2),
        row("gone", "MISSING", None),
        row("fast", "IMPROVED", 0.5),
        row("slower", "REGRESSED", 1.5),
    )
    assert list(chart.categories) == ["slower", "slow", "fast", "same"]


def test_each_verdict_is_a_series_that_says_where_its_cases_stand() -> None:
    chart = drawn(row("same", "SAME", 1.0, 0.25), row("slow", "REGRESSED", 2.0, 0.5), row("slower", "REGRESSED", 3.0))
    slow, same = chart.series
    assert (slow.status, slow.style, list(slow.x), list(slow.y)) == ("REGRESSED", "intervals", [3.0, 2.0], [0, 1])
    assert (same.status, list(same.y), list(same.low), list(same.high)) == ("SAME", [2], [0.75], [1.25])


def test_every_tolerance_is_marked_once_beside_no_change() -> None:
    assert drawn(row("a", "SAME"), tolerances=(0.1, 0.05, 0.1)).marks == {
        "unchanged": 1.0,
        "5.0% slower": 1.05,
        "10.0% slower": 1.1,
    }


def test_what_is_too_much_for_one_chart_are_the_best_ones() -> None:
    many = [row(f"same {n}", "SAME") for n in range(ratio_chart.MOST)]
    chart = drawn(*many, row("slow", "REGRESSED", 1.2))
    assert len(chart.categories) == sum(len(one.x) for one in chart.series) == ratio_chart.MOST
    assert chart.categories[0] == "slow"
    assert f"same {ratio_chart.MOST - 1}" not in chart.categories


def test_it_can_be_stored_and_read_again() -> None:
    chart = drawn(row("a", "SAME"), row("b", "IMPROVED", 0.5), tolerances=(0.05,))
    assert Chart.from_json(chart.to_json()).to_json() == chart.to_json()
