"""The recommendation on made-up rows: what is taken, what it costs, what is ruled out, and that every face agrees."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate.records.record import Metric, Record
from perfgate.report import Section, markdown, page, terminal
from suite_report import experiment, recommendation
from suite_report.recommendation import Recommendation, recommend

from fixtures.limits import NO_LIMITS, Limits
from tests.suite.test_experiment import row

MIB = 2**20
FAST = row("fp32", "fa2", peak=600, speed=20.0, top1=1.0)
MIDDLE = row("int8", "fa2", peak=300, speed=15.0, top1=0.97)
LEAN = row("nf4", "fa2", peak=200, speed=12.0, top1=0.9)
DOMINATED = row("fp32", "eager", peak=650, speed=10.0, top1=1.0)
ROWS = [DOMINATED, LEAN, FAST, MIDDLE]


def unknown_quality(record: Record) -> Record:
    record.metrics = {name: one for name, one in record.metrics.items() if name != "top1_agreement"}
    return record


def scored(record: Record, score: float) -> Record:
    record.metrics = dict(record.metrics) | {"human_score": Metric("bounded", "score", "higher", score)}
    return record


def labels(candidates: Sequence[recommendation.Candidate]) -> list[str]:
    return [one.label for one in candidates]


def told(found: Recommendation) -> str:
    """Everything that the section says in words."""
    (section,) = recommendation.sections(found)
    return "\n".join([*section.lead, *section.paragraphs, *section.notes])


class TestBest:
    def test_without_limits_it_is_the_fastest_and_the_next_has_its_price(self) -> None:
        found = recommend(ROWS, NO_LIMITS)
        assert labels(found.fitting) == ["fp32 + fa2", "int8 + fa2", "fp32 + eager", "nf4 + fa2"]
        assert found.ruled_out == ()
        said = told(found)
        assert "Take fp32 + fa2: 20.0 tokens/s, peak 600.0 MiB, quality 100.0%." in said
        assert "Limits: none given (--max-memory" in said
        assert "Runner-up: int8 + fa2 (15.0 tokens/s, peak 300.0 MiB, quality 97.0%) would be 25.0% slower, " in said
        assert "300.0 MiB less at the peak, quality -3.0 points." in said

    def test_a_runner_up_that_needs_more(self) -> None:
        said = told(recommend([LEAN, DOMINATED], Limits(quality=0.0)))
        assert "would be 16.7% slower, 450.0 MiB more at the peak, quality +10.0 points." in said

    def test_one_row_has_no_runner_up(self) -> None:
        assert "Runner-up" not in told(recommend([LEAN], NO_LIMITS))

    def test_of_two_equally_fast_ones_the_leaner(self) -> None:
        same = row("int8", "eager", peak=500, speed=20.0)
        assert recommend([FAST, same], NO_LIMITS).fitting[0].label == "int8 + eager"

    def test_of_rows_as_fast_as_the_fastest_the_smallest(self) -> None:
        """A 5% slower row is as fast for the gate; bf16 needs half the memory of fp32."""
        halves = row("bf16", "sdpa-flash", peak=259, speed=17.5, top1=0.988)
        whole = [
            row("fp32", name, peak=peak, speed=speed, top1=1.0)
            for name, peak, speed in (("sdpa-flash", 517.42, 17.6), ("sdpa-math", 517.38, 17.3), ("fa2", 517.4, 16.0))
        ]
        found = recommend([*whole, halves], NO_LIMITS)
        assert labels(found.fitting) == ["bf16 + sdpa-flash", "fp32 + sdpa-flash", "fp32 + sdpa-math", "fp32 + fa2"]
        said = told(found)
        assert "Of the rows that keep 95% of the unquantized model's quality within the limits, the smallest" in said
        assert "that is at most 5% slower than the fastest." in said
        assert "Runner-up, the fastest and best row: fp32 + sdpa-flash (" in said
        asked = told(recommend([*whole, halves], Limits(quality=0.9)))
        assert "Of the rows within the limits, the smallest that" in asked

    @pytest.mark.parametrize(("speed", "taken"), [(19.01, "bf16 + fa2"), (18.99, "fp32 + fa2")])
    def test_as_fast_ends_at_the_gate_s_tolerance(self, speed: float, taken: str) -> None:
        found = recommend([FAST, row("bf16", "fa2", peak=300, speed=speed, top1=0.99)], NO_LIMITS)
        assert found.fitting[0].label == taken

    def test_a_faster_row_that_does_not_keep_the_quality_has_no_say(self) -> None:
        quick = row("nf4", "fa2", peak=150, speed=40.0, top1=0.7)
        found = recommend([FAST, row("bf16", "fa2", peak=300, speed=19.9, top1=0.99), quick], NO_LIMITS)
        assert labels(found.fitting) == ["bf16 + fa2", "fp32 + fa2", "nf4 + fa2"]
        assert "The fastest row that keeps" in told(recommend([FAST, quick], NO_LIMITS))

    def test_nothing_to_choose_from_is_no_section(self) -> None:
        assert recommendation.sections(recommend([], NO_LIMITS)) == []

    @pytest.mark.parametrize("metric", ["throughput_tokens_per_s", "peak_memory_bytes"])
    def test_a_row_without_a_speed_or_a_peak_is_no_candidate(self, metric: str) -> None:
        bare = row("int8", "eager", speed=99.0)
        bare.metrics = {name: one for name, one in bare.metrics.items() if name != metric}
        assert labels(recommend([bare, LEAN], NO_LIMITS).fitting) == ["nf4 + fa2"]


class TestKeptQuality:
    """Without a wish of the user's a row must keep 95% of the unquantized model's quality."""

    FAST_4_BIT = row("nf4", "fa2", peak=166, speed=26.0, top1=0.738)
    BF16 = row("bf16", "sdpa-flash", peak=259, speed=24.5, top1=0.975)
    INT8 = row("int8", "fa2", peak=216, speed=11.1, top1=0.931)
    FP32 = row("fp32", "eager", peak=518, speed=14.8, top1=1.0)
    ALL = (FAST_4_BIT, BF16, INT8, FP32)

    def test_the_fastest_that_keeps_it_is_taken_and_what_others_would_change_is_said(self) -> None:
        found = recommend(self.ALL, NO_LIMITS)
        assert labels(found.fitting) == ["bf16 + sdpa-flash", "fp32 + eager", "nf4 + fa2", "int8 + fa2"]
        said = told(found)
        assert "The fastest row that keeps 95% of the unquantized model's quality within the limits." in said
        assert "None of them" not in said
        assert (
            "The fastest and smallest row: nf4 + fa2 (26.0 tokens/s, peak 166.0 MiB, quality 73.8%) would be 6.1%"
            in said
        )
        assert "faster, 93.0 MiB less at the peak, quality -23.7 points." in said
        assert "Runner-up, the best row: fp32 + eager (" in said
        (section,) = recommendation.sections(found)
        assert (section.data["fastest"], section.data["smallest"]) == (self.FAST_4_BIT.key,) * 2
        assert (section.data["best"], section.data["best_quality"]) == (self.BF16.key, self.FP32.key)
        assert section.data["quality_floor"] == 0.95
        assert section.table is not None
        standing = {str(one["row"]): one["standing"] for one in section.table.rows}
        assert standing["nf4 + fa2"] == standing["int8 + fa2"] == "fits, less quality"

    def test_of_rows_as_small_as_the_smallest_the_best_is_named(self) -> None:
        fp4 = row("fp4", "fa2", peak=165.9, speed=13.4, top1=0.675)
        nf4 = row("nf4", "fa2", peak=166, speed=13.3, top1=0.738)
        said = told(recommend([fp4, nf4, self.BF16, self.INT8], NO_LIMITS))
        assert "The smallest row: nf4 + fa2 (13.3 tokens/s, peak 166.0 MiB, quality 73.8%) would be 45.7%" in said

    def test_its_measure_is_the_best_unquantized_row_that_was_measured(self) -> None:
        low = row("bf16", "fa2", peak=259, speed=20.0, top1=0.8)
        assert recommend([self.FAST_4_BIT, low], NO_LIMITS).floor == pytest.approx(0.95 * 0.8)
        assert recommend([self.FAST_4_BIT], NO_LIMITS).floor == 0.95, "the unquantized model agrees with itself"

    def test_a_person_s_wish_comes_first(self) -> None:
        assert recommend(self.ALL, Limits(quality=0.7)).fitting[0].label == "nf4 + fa2"
        assert recommend(self.ALL, Limits(quality=0.0)).fitting[0].label == "nf4 + fa2"

    def test_where_none_keeps_it_the_fastest_is_taken_and_that_is_said(self) -> None:
        found = recommend(self.ALL, Limits(memory_bytes=220 * MIB))
        assert found.fitting[0].label == "nf4 + fa2"
        assert "None of them keeps 95% of the unquantized model's quality." in told(found)

    def test_without_a_known_measure_none_is_asked_for(self) -> None:
        rows = [scored(row("nf4", "fa2", speed=26.0), 5.0), scored(row("int8", "fa2", speed=11.0), 1.0)]
        found = recommend(rows, NO_LIMITS)
        assert found.floor is None
        assert found.fitting[0].label == "nf4 + fa2"
        assert "keeps" not in told(found)

    def test_it_is_on_the_front_where_a_faster_row_is_worse(self) -> None:
        slower_and_larger = row("bf16", "fa2", peak=260, speed=20.0, top1=0.975)
        found = recommend([*self.ALL, slower_and_larger], NO_LIMITS)
        assert labels(found.front) == ["nf4 + fa2", "int8 + fa2", "bf16 + sdpa-flash", "fp32 + eager"]


class TestLimits:
    @pytest.mark.parametrize(
        ("given", "best", "reasons"),
        [
            (
                Limits(memory_bytes=300 * MIB),
                "int8 + fa2",
                {"fp32 + fa2": "peak 600.0 MiB, over 300.0", "fp32 + eager": "peak 650.0 MiB, over 300.0"},
            ),
            (Limits(quality=0.97), "fp32 + fa2", {"nf4 + fa2": "top-1 agreement 90.0%, below 97.0%"}),
            (
                Limits(throughput_tokens_per_s=15.0),
                "fp32 + fa2",
                {"nf4 + fa2": "12.0 tokens/s, below 15.0", "fp32 + eager": "10.0 tokens/s, below 15.0"},
            ),
            (
                Limits(250 * MIB, 0.85, 12.0),
                "nf4 + fa2",
                {
                    "int8 + fa2": "peak 300.0 MiB, over 250.0",
                    "fp32 + fa2": "peak 600.0 MiB, over 250.0",
                    "fp32 + eager": "peak 650.0 MiB, over 250.0; 10.0 tokens/s, below 12.0",
                },
            ),
        ],
    )
    def test_each_rules_out_with_its_reason(self, given: Limits, best: str, reasons: dict[str, str]) -> None:
        found = recommend(ROWS, given)
        assert found.fitting[0].label == best
        assert {one.label: "; ".join(text for text, _ in one.broken) for one in found.ruled_out} == reasons
        for name, reason in reasons.items():
            assert f"{name}: ruled out: {reason}" in told(found)

    def test_none_fits_and_the_nearest_is_named(self) -> None:
        found = recommend(ROWS, Limits(memory_bytes=150 * MIB))
        assert found.fitting == ()
        assert labels(found.ruled_out) == ["nf4 + fa2", "int8 + fa2", "fp32 + fa2", "fp32 + eager"]
        said = told(found)
        assert "No row is within the limits; the nearest is nf4 + fa2: peak 200.0 MiB, over 150.0." in said
        assert "Take " not in said
        assert recommendation.sections(found)[0].data["nearest"] == LEAN.key

    def test_the_nearest_is_so_at_its_worst_limit(self) -> None:
        """LEAN is twice beyond the memory, MIDDLE three times, FAST and DOMINATED more."""
        found = recommend(ROWS, Limits(memory_bytes=100 * MIB, throughput_tokens_per_s=15.0))
        assert found.ruled_out[0].label == "nf4 + fa2"
        assert found.ruled_out[0].excess == 2.0

    def test_an_unknown_quality_is_not_enough_where_one_is_asked_for(self) -> None:
        bare = unknown_quality(row("int8", "eager", speed=30.0))
        assert recommend([bare, LEAN], NO_LIMITS).fitting[0].label == "int8 + eager"
        assert "quality not known" in told(recommend([bare, LEAN], NO_LIMITS))
        found = recommend([bare, LEAN], Limits(quality=0.5))
        assert labels(found.fitting) == labels(found.front) == ["nf4 + fa2"]
        assert "int8 + eager: ruled out: top-1 agreement not known" in told(found)

    def test_a_limit_is_within_itself(self) -> None:
        given = Limits(200 * MIB, 0.9, 12.0)
        assert labels(recommend(ROWS, given).fitting) == ["nf4 + fa2"]


class TestHumanScore:
    def test_it_takes_the_place_of_top1_for_every_row(self) -> None:
        rows = [
            scored(row("fp32", "fa2", speed=20.0, top1=1.0), 2.0),
            scored(row("int8", "fa2", speed=15.0, top1=0.5), 5.0),
            row("nf4", "fa2", speed=30.0, top1=1.0),
        ]
        found = recommend(rows, Limits(quality=0.9))
        assert labels(found.fitting) == ["int8 + fa2"]
        said = told(found)
        assert "Quality is human score." in said
        assert "fp32 + fa2: ruled out: human score 25.0%, below 90.0%" in said
        assert "nf4 + fa2: ruled out: human score not known" in said

    @pytest.mark.parametrize(("score", "fraction"), [(1.0, 0.0), (3.0, 0.5), (5.0, 1.0)])
    def test_it_is_a_place_on_its_scale(self, score: float, fraction: float) -> None:
        assert recommendation.quality(scored(row("fp32", "fa2"), score), recommendation.HUMAN) == fraction


made_up = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.5, 0.8, 1.0])), min_size=1, max_size=12
)


@given(made_up, st.sampled_from([None, 0.8, 1.0]))
def test_the_front_is_what_no_row_of_sufficient_quality_beats(
    figures: list[tuple[int, int, float]], wanted: float | None
) -> None:
    rows = [
        row(f"s{n}", "fa2", peak=peak, speed=float(speed), top1=top1) for n, (peak, speed, top1) in enumerate(figures)
    ]
    found = recommend(rows, Limits(quality=wanted))
    good = [one for one in (*found.fitting, *found.ruled_out) if wanted is None or (one.quality or 0) >= wanted]

    def beats(one: recommendation.Candidate, other: recommendation.Candidate) -> bool:
        a, b = ((x.throughput, -x.memory, x.quality or 0.0) for x in (one, other))
        return a != b and all(x >= y for x, y in zip(a, b, strict=True))

    for one in good:
        assert (one in found.front) != any(beats(other, one) for other in found.front)
    assert all(one in good for one in found.front)
    assert [one.memory for one in found.front] == sorted(one.memory for one in found.front)


class Tables(HTMLParser):
    """The cells of each section's table, by the section's id, and the texts of its list items and paragraphs."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self.texts: dict[str, list[str]] = {}
        self._section, self._into = "", None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
        elif tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        elif tag in ("td", "th"):
            self._into = self.rows[self._section][-1]
            self._into.append("")
        elif tag in ("li", "p"):
            self._into = self.texts.setdefault(self._section, [])
            self._into.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "li", "p"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def plain(text: str) -> str:
    """A line of Markdown as it reads."""
    return html.unescape(re.sub(r"\\([\\`*_\[\]|~])", r"\1", text))


LIMITS = Limits(memory_bytes=310 * MIB, quality=0.85)
STANDING = {
    "int8 + fa2": "recommended",
    "nf4 + fa2": "runner-up",
    "int8 + eager": "fits",
    "fp32 + fa2": "ruled out",
    "fp32 + eager": "ruled out",
}
FRONT = {"nf4 + fa2", "int8 + fa2", "fp32 + fa2"}


class TestFourFaces:
    def sections(self) -> list[Section]:
        slow = row("int8", "eager", peak=310, speed=9.0, top1=0.97)
        return experiment.sections([*ROWS, slow], LIMITS)

    def rows(self, cells: list[list[str]]) -> tuple[dict[str, str], set[str]]:
        head, *body = cells
        name, standing, front = (head.index(title) for title in ("row", "standing", "Pareto front"))
        return {one[name]: one[standing] for one in body}, {one[name] for one in body if one[front] == "yes"}

    def claims(self, texts: list[str]) -> list[str]:
        return [text for text in texts if re.match("(held|not held|not judged here): ", text)]

    def wanted_claims(self) -> list[str]:
        section = next(one for one in self.sections() if one.name == "claims")
        return [f"{one['outcome']}: {one['claim']}: {one['because']}" for one in section.data["claims"]]

    def test_json(self) -> None:
        stored = json.loads(json.dumps({one.name: one.to_json() for one in self.sections()}))["recommendation"]
        names = {one["key"]: one["row"] for one in stored["rows"]}
        assert {one["row"]: one["standing"] for one in stored["rows"]} == STANDING
        assert (names[stored["best"]], names[stored["runner_up"]]) == ("int8 + fa2", "nf4 + fa2")
        ruled_out = {name for name, standing in STANDING.items() if standing == "ruled out"}
        assert {names[key] for key in stored["ruled_out"]} == ruled_out
        assert {names[key] for key in stored["front"]} == FRONT
        assert stored["limits"] == vars(LIMITS)

    def test_markdown(self) -> None:
        text = markdown.render("R", self.sections())
        part = text[text.index("## Recommendation") : text.index("## The experiment")]
        lines = [plain(line) for line in part.splitlines() if line.startswith("| ")]
        found = self.rows([[cell.strip() for cell in line.strip("|").split("|")] for line in lines])
        assert found == (STANDING, FRONT)
        assert "**Take int8 + fa2: 15.0 tokens/s" in text
        assert "Runner-up, the smallest row: nf4 + fa2" in part
        assert self.claims([plain(line[2:]) for line in text.splitlines()]) == self.wanted_claims()

    def test_html(self) -> None:
        tables = Tables()
        tables.feed(page.render("R", self.sections()))
        assert self.rows(tables.rows["s-recommendation"]) == (STANDING, FRONT)
        assert any(text.startswith("Take int8 + fa2: 15.0 tokens/s") for text in tables.texts[""])
        runner_up = "Runner-up, the smallest row: nf4 + fa2"
        assert any(text.startswith(runner_up) for text in tables.texts["s-recommendation"])
        assert self.claims(tables.texts["s-claims"]) == self.wanted_claims()

    def test_terminal(self) -> None:
        lines = terminal.render(self.sections(), 1000).splitlines()
        start = next(n for n, line in enumerate(lines) if line.lstrip().startswith("row") and "standing" in line)
        stop = next(n for n, line in enumerate(lines) if "The experiment" in line)
        body = [
            re.split(r"\s{2,}", line.strip()) for line in lines[start + 2 : stop] if line.strip()[:1] not in ("-", "")
        ]
        assert {one[0]: one[1] for one in body} == STANDING
        assert {one[0] for one in body if one[-1] == "yes"} == FRONT
        text = "\n".join(lines)
        assert "Take int8 + fa2: 15.0 tokens/s" in text
        assert "Runner-up, the smallest row: nf4 + fa2" in text
        assert self.claims([line.rstrip()[2:] for line in lines]) == self.wanted_claims()
