"""Charts as data: written, read, and refused where a field is wrong."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate.records.validate import RecordError
from perfgate.report import Axis, Chart, Series

from tests.support import report_sections
from tests.support.report_strategies import formats, numbers, through_json


@st.composite
def series(draw: st.DrawFn) -> Series:
    x = draw(st.lists(numbers, max_size=4))
    same: dict[str, Any] = {"min_size": len(x), "max_size": len(x)}
    return Series(
        draw(st.text()),
        draw(st.sampled_from(["points", "line", "guide", "front", "spread", "intervals"])),
        x,
        draw(st.lists(numbers, **same)),
        labels=draw(st.lists(st.text(), **same)),
        low=draw(st.lists(numbers, **same)),
        high=draw(st.lists(numbers, **same)),
        shades=draw(st.lists(st.none() | numbers, **same)),
        status=draw(st.sampled_from(["", "SAME", "REGRESSED"])),
    )


axes = st.builds(Axis, st.text(), formats)
charts = st.builds(
    Chart,
    name=st.text(),
    title=st.text(),
    alt=st.text(),
    x=axes,
    y=axes,
    series=st.lists(series(), max_size=3),
    categories=st.lists(st.text(), max_size=3),
    shade=st.none() | axes,
    marks=st.dictionaries(st.text(), numbers, max_size=3),
)


class TestRoundTrip:
    @given(charts)
    def test_any_chart(self, chart: Chart) -> None:
        assert Chart.from_json(through_json(chart.to_json())) == chart


class TestWrong:
    @pytest.mark.parametrize("name", ["y", "labels", "low", "high", "shades"])
    def test_lengths_that_differ(self, name: str) -> None:
        values: dict[str, Any] = {"y": [1.0, 2.0], name: ["a"] if name == "labels" else [1.0]}
        with pytest.raises(RecordError, match=rf"series rows: {name}: got 1 values for 2 of x"):
            Series("rows", "line", [1.0, 2.0], **values)

    def test_a_style_that_there_is_not(self) -> None:
        with pytest.raises(RecordError, match="style: got 'pie', allowed are points, line"):
            Series("rows", "pie", [], [])  # type: ignore[arg-type]

    @pytest.mark.parametrize("axis", ["x", "y"])
    @pytest.mark.parametrize("value", [0, -1.5])
    def test_what_a_logarithmic_axis_has_no_place_for(self, axis: str, value: float) -> None:
        data = report_sections.scaling().to_json()
        data["series"][0][axis][1] = value
        with pytest.raises(RecordError, match=f"chart scaling: {axis}: a logarithmic axis has values above 0 only"):
            Chart.from_json(data)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"title": 3}, "title: got 3, expected text"),
            ({"series": {}}, "series: got {}, expected a list"),
            ({"marks": {"a": "b"}}, "a: got 'b', expected a finite number"),
            ({"categories": [None]}, "categories: got None"),
            ({"x": None}, "axis: got NoneType, expected an object"),
        ],
    )
    def test_a_field_of_a_chart(self, change: dict[str, Any], said: str) -> None:
        with pytest.raises(RecordError, match=re.escape(said)):
            Chart.from_json(report_sections.scaling().to_json() | change)
