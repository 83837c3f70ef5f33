"""Charts as SVG that a page can take in."""

from __future__ import annotations

import re
import warnings
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from perfgate.report import Axis, Chart, Series, decimals, plots

from tests.support import report_sections
from tests.support.report_sections import CHARTS, HOSTILE

NAMES = [chart.name for chart in CHARTS]
SVG = "{http://www.w3.org/2000/svg}"


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
