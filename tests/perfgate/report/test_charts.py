"""Charts and formats as data, and as SVG that a page can take in."""

from __future__ import annotations

import json
import re
import warnings
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate.records.validate import RecordError
from perfgate.report import Axis, Chart, Column, Format, Section, Series, Table, decimals, latency, percent, plots
from perfgate.report.formats import HIDDEN, printable, significant

from tests.support import report_sections
from tests.support.report_sections import CHARTS, HOSTILE

NAMES = [chart.name for chart in CHARTS]
SVG = "{http://www.w3.org/2000/svg}"

numbers = st.floats(allow_nan=False, allow_infinity=False)
formats = st.builds(
    Format,
    kind=st.sampled_from(["text", "fixed", "significant", "latency"]),
    scale=numbers,
    digits=st.integers(0, 15),
    suffix=st.text(max_size=3),
)


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


def through_json(data: Any) -> Any:
    return json.loads(json.dumps(data, allow_nan=False))


class TestRoundTrip:
    @given(charts)
    def test_any_chart(self, chart: Chart) -> None:
        assert Chart.from_json(through_json(chart.to_json())) == chart

    @given(formats)
    def test_any_format(self, made: Format) -> None:
        assert Format.from_json(through_json(made.to_json())) == made

    @pytest.mark.parametrize("name", ["everything", "hostile", "large"])
    def test_whole_sections(self, name: str) -> None:
        for section in getattr(report_sections, name)():
            stored = through_json(section.to_json())
            again = Section.from_json(section.name, stored)
            assert through_json(again.to_json()) == stored
            assert again.folded == section.folded
            if section.table is not None:
                assert again.table is not None
                rows = [[column.text(row) for column in section.table.columns] for row in section.table.rows]
                assert [[column.text(row) for column in again.table.columns] for row in again.table.rows] == rows

    def test_what_stands_beside_the_rows_stays(self) -> None:
        section = Section("s", "S", data={"best": "a", "front": [1, 2.5, None], "deep": {"x": {"y": True}}})
        assert Section.from_json("s", through_json(section.to_json())).data == section.data


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

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"kind": "hex"}, "kind: got 'hex', allowed are text, fixed"),
            ({"digits": 16}, "digits: got '16'"),
            ({"digits": 2.5}, "digits: got 2.5, expected a whole number"),
            ({"digits": -1}, "digits: got '-1'"),
            ({"scale": "1"}, "scale: got '1', expected a finite number"),
            ({"suffix": None}, "suffix: got None, expected text"),
        ],
    )
    def test_a_field_of_a_format(self, change: dict[str, Any], said: str) -> None:
        with pytest.raises(RecordError, match=re.escape(said)):
            Format.from_json(Format().to_json() | change)

    def test_a_value_that_does_not_suit_its_column(self) -> None:
        columns = [Column("ms", "ms", latency).to_json()]
        with pytest.raises(RecordError, match="ms: got 'fast', expected a finite number"):
            Table.from_json(columns, [{"ms": "fast"}])
        with pytest.raises(RecordError, match="columns: got none"):
            Table.from_json([], [])

    @pytest.mark.parametrize("missing", ["title", "folded", "lead", "rows"])
    def test_a_section_without_a_field(self, missing: str) -> None:
        data = report_sections.everything()[0].to_json()
        del data[missing]
        with pytest.raises(RecordError, match=f"section gate: field '{missing}' is missing"):
            Section.from_json("gate", data)


class TestFormats:
    @pytest.mark.parametrize(
        ("render", "value", "text"),
        [
            (significant(2), 0.012345, "0.012"),
            (percent, 1, "100.0%"),
            (decimals(2, 1e3), 0.0012, "1.20"),
            (latency, 0.0, "0 ns"),
            (Format("fixed", 1.0, 1, " GiB"), 1234.56, "1,234.6 GiB"),
            (Format(), True, "True"),
        ],
    )
    def test_a_number_for_people(self, render: Format, value: float, text: str) -> None:
        assert render(value) == text

    @given(st.text())
    def test_what_is_printed_is_one_line_that_can_be_seen(self, text: str) -> None:
        import unicodedata

        shown = printable(text)
        assert not [one for one in shown if unicodedata.category(one) in HIDDEN and one not in "\u200c\u200d"]
        assert len(shown.splitlines()) <= 1
        assert printable(shown) == shown

    def test_what_is_not_seen_is_named(self) -> None:
        assert printable("a\u202eb\x1b[0m\n\tc") == "a<U+202E>b<U+001B>[0m c"


class TestSvg:
    @pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
    def test_every_colour_is_the_pages(self, chart: Chart) -> None:
        text = plots.svg(chart)
        assert "#0101" not in text
        assert not re.findall(r"(?:fill|stroke): ?#[0-9a-f]{3,6}", text), "a colour that stays the same in the dark"
        used = set(re.findall(r"var\(--([a-z0-9-]+)\)", text))
        assert {"ink", "faint"} < used
        assert used <= set(plots.NAMES)

    def test_every_colour_is_defined_in_light_and_the_inks_in_dark(self) -> None:
        from perfgate.report import page

        style = (page.HERE / "page.css").read_text(encoding="utf-8")
        light, dark = style.split("@media (prefers-color-scheme: dark)")
        assert [name for name in plots.NAMES if f"--{name}:" not in light] == []
        assert [name for name in plots.NAMES if f"--{name}:" not in dark and name not in plots.SHADES] == []

    @pytest.mark.parametrize("chart", CHARTS, ids=NAMES)
    def test_text_stays_text_and_the_whole_is_named(self, chart: Chart) -> None:
        root = ET.fromstring(plots.svg(chart))
        said = ["".join(one.itertext()).strip() for one in root.iter(f"{SVG}text")]
        assert chart.x.title in said
        assert set(chart.categories) <= set(said)
        assert [label for one in chart.series for label in one.labels if label not in said] == []
        assert (root.get("role"), root.get("aria-label")) == ("img", chart.alt)
        assert root.get("width") is None, "it fills its container"

    def test_every_name_of_a_crowd_is_there(self) -> None:
        said = plots.svg(report_sections.crowded())
        assert said.count("fp32 + fa1+flash-attn-2</text>") == 4
        assert said.count("+ fa1+flash-attn-2</text>") == 16

    def test_a_name_without_any_place_is_left_out_and_the_chart_is_drawn(self) -> None:
        count = 300
        heap = Series("rows", "points", [1.0] * count, [1.0] * count, labels=[f"row {n}" for n in range(count)])
        said = plots.svg(Chart("heap", "Heap", "", Axis("x"), Axis("y"), [heap]))
        assert 20 < said.count(">row ") < count

    @pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
    def test_no_label_becomes_an_element(self, text: str) -> None:
        axis = Axis(text)
        points = [Series(text, "points", [1.0], [1.0], labels=[text]), Series(f"2{text}", "line", [1.0], [1.0])]
        said = plots.svg(Chart(text, text, text, axis, axis, points, marks={text: 1.0}))
        kinds = {one.tag.removeprefix(SVG) for one in ET.fromstring(said).iter()}
        assert kinds <= {"svg", "g", "path", "text", "tspan", "use", "defs", "clipPath", "rect", "style"}

    def test_the_same_chart_makes_the_same_bytes(self) -> None:
        assert [plots.svg(chart) for chart in CHARTS] == [plots.svg(chart) for chart in CHARTS]

    def test_ids_of_different_charts_do_not_clash(self) -> None:
        ids = [re.findall(r' id="([^"]*)"', plots.svg(chart)) for chart in CHARTS]
        together = [one for own in ids for one in own]
        assert len(together) == len(set(together)) > 0

    def test_many_series_stay_distinguishable(self) -> None:
        """No two of 20 lines have both the same marker and the same colour."""
        lines = [Series(f"line {n}", "line", [1.0, 2.0], [1.0 + n, 2.0 + n]) for n in range(20)]
        drawn = plots.svg(Chart("many", "Many", "", Axis("x"), Axis("y"), lines))
        shapes = dict(re.findall(r'<path id="(m[0-9a-f]+)" d="([^"]*)"', drawn))
        looks = set(re.findall(r'<use xlink:href="#(m[0-9a-f]+)"[^>]*fill: (var\(--series-\d\))', drawn))
        assert len({(shapes[marker], colour) for marker, colour in looks}) == 20

    def test_lines_to_compare_with_differ_by_their_dashes(self) -> None:
        base = [Series("line", "line", [1.0, 2.0], [1.0, 2.0])]
        guides = [Series(f"g{n}", "guide", [1.0, 2.0], [1.0 + n, 2.0 + n]) for n in range(2)]
        for more, marks in ((guides, {}), ([], {"a": 1.2, "b": 1.4})):
            drawn = plots.svg(Chart("g", "G", "", Axis("x"), Axis("y"), [*base, *more], marks=marks))
            dashes = re.findall(r"stroke-dasharray: ([0-9.,]+)", drawn)
            assert len(set(dashes)) == 2

    def test_letters_that_no_font_here_has_are_no_warning(self) -> None:
        line = Series("line", "line", [1.0], [1.0])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plots.svg(Chart("e", "E", "", Axis("\U0001f680 日本語"), Axis("y"), [line]))

    @pytest.mark.parametrize("style", ["points", "line", "front", "spread"])
    @pytest.mark.parametrize("count", [0, 1])
    def test_next_to_no_points(self, style: Any, count: int) -> None:
        axis = Axis("x", decimals(1), log=True)
        chart = Chart("few", "Few", "", axis, axis, [Series("one", style, [1.0] * count, [2.0] * count)])
        ET.fromstring(plots.svg(chart))
