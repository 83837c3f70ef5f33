"""The history of cases over stored baselines: its table, its reasons, its chart, and damaged files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from perfgate.baselines import history
from perfgate.baselines.anchor import Anchor
from perfgate.baselines.store import BaselineStore, Refresh, to_json
from perfgate.compare.tolerances import Tolerances
from perfgate.records.fingerprint import Fingerprint
from perfgate.records.record import Metric, Record
from perfgate.report import markdown, page

from tests.support.baseline_entries import REFRESH, entry

NEWER = Refresh("2026-12-01T12:00:00+0000", "new torch", Fingerprint("code", {"python": "3.12.1"}), 7)


def record(key: str, seconds: float) -> Record:
    metrics = {"latency_s": Metric("sampled", "s", "lower", seconds)}
    return Record(key.partition("/")[0], 1, {}, key, metrics=metrics)


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    return BaselineStore(tmp_path / "baselines", "cpu-2c")


@pytest.fixture
def two(store: BaselineStore) -> BaselineStore:
    """Two baselines: of two cases, then of the first alone, which became twice as fast."""
    for refresh, times in ((REFRESH, {"sum/a": 0.5, "sum/b": 0.1}), (NEWER, {"sum/a": 0.25})):
        store.save(to_json({}, "cpu-2c", {key: entry(key, time, refresh) for key, time in times.items()}), refresh)
    return store


def test_nothing_stored_is_no_section(store: BaselineStore) -> None:
    assert history.sections(store.files(), [record("sum/a", 1.0)], {}, lambda key: Tolerances()) == []


def test_none_of_these_cases_stored_is_no_section(two: BaselineStore) -> None:
    assert history.sections(two.files(), [record("max/a", 1.0)], {}, lambda key: Tolerances()) == []


def test_each_baseline_is_a_column_and_this_run_the_last(two: BaselineStore) -> None:
    records = [record("sum/a", 0.75), record("sum/b", 0.1), record("sum/new", 1.0)]
    (section,) = history.sections(two.files(), records, {}, lambda key: Tolerances())
    assert section.table is not None
    assert [column.title for column in section.table.columns] == ["case", "0001", "0002", "this run"]
    cells = [[column.text(row) for column in section.table.columns] for row in section.table.rows]
    assert cells == [["sum/a", "500 ms", "250 ms", "750 ms"], ["sum/b", "100 ms", "-", "100 ms"]]
    assert section.folded


def test_every_refresh_tells_its_reason_and_what_had_changed(two: BaselineStore) -> None:
    (section,) = history.sections(two.files(), [record("sum/a", 0.75)], {}, lambda key: Tolerances())
    first, second, changed = section.notes
    for note, facts in (
        (first, ("0001", REFRESH.date, "5 processes", REFRESH.reason)),
        (second, ("0002", NEWER.date, "7 processes", NEWER.reason)),
        (changed, ("0002", "0001", "python 3.11.7 -> 3.12.1")),
    ):
        assert all(fact in note for fact in facts), note


def test_the_chart_shows_multiples_of_the_first_time(two: BaselineStore) -> None:
    records = [record("sum/a", 0.75), record("sum/b", 0.1)]
    (section,) = history.sections(two.files(), records, {}, lambda key: Tolerances())
    (chart,) = section.charts
    lines = {one.name: (list(one.x), list(one.y)) for one in chart.series if one.style == "line"}
    assert lines == {"a": ([1, 2, 3], [1.0, 0.5, 1.5]), "b": ([1, 3], [1.0, 1.0])}
    assert all(fact in chart.alt for fact in ("1.50 times", "2 of 2 cases"))


def test_the_chart_has_the_anchor_and_the_tolerance_around_it(store: BaselineStore) -> None:
    """Three baselines; the changes of one case add up from the second on, those of the other from the first."""
    third = replace(NEWER, date="2026-12-20T12:00:00+0000")
    for refresh, seconds in ((REFRESH, 0.5), (NEWER, 0.4), (third, 0.44)):
        entries = {
            "sum/a": replace(entry("sum/a", seconds, refresh), anchor=Anchor(NEWER.date, NEWER.reason)),
            "sum/b": entry("sum/b", 0.5, refresh),
        }
        store.save(to_json({}, "cpu-2c", entries), refresh)
    sections = history.sections(
        store.files(), [record("sum/a", 0.46), record("sum/b", 0.5)], {}, lambda key: Tolerances(time=0.1)
    )
    (chart,) = sections[0].charts
    lines = {one.name: (one.style, list(one.x), list(one.y)) for one in chart.series}
    assert lines["a"] == ("line", [1, 2, 3, 4], pytest.approx([1.25, 1.0, 1.1, 1.15]))
    assert lines["b"][2] == [1.0] * 4
    assert lines["10% above the anchor"] == ("guide", [1, 4], [1.1, 1.1])
    assert lines["10% below the anchor"][2] == pytest.approx([1 / 1.1] * 2)
    assert chart.marks == {"anchor 0001": 1.0, "anchor 0002": 2.0}


def test_the_chart_has_those_that_moved_most(store: BaselineStore) -> None:
    keys = [f"sum/{n}" for n in range(history.LINES + 4)]
    store.save(to_json({}, "cpu-2c", {key: entry(key, 1.0) for key in keys}), REFRESH)
    (section,) = history.sections(
        store.files(), [record(key, 1.0 + n) for n, key in enumerate(keys)], {}, lambda key: Tolerances()
    )
    assert [one.name for one in section.charts[0].series if one.style == "line"] == [str(n) for n in range(11, 3, -1)]
    assert len(section.table.rows) == len(keys)  # type: ignore[union-attr]  # it has one


def test_a_case_stored_under_its_old_name_is_found(two: BaselineStore) -> None:
    (section,) = history.sections(two.files(), [record("total/a", 0.5)], {"sum": "total"}, lambda key: Tolerances())
    assert section.table is not None
    assert [row["case"] for row in section.table.rows] == ["total/a"]


def test_a_damaged_file_is_noted_and_left_out(two: BaselineStore) -> None:
    first, second = two.files()
    first.write_text(first.read_text()[:100])
    (section,) = history.sections([first, second], [record("sum/a", 0.5)], {}, lambda key: Tolerances())
    assert section.table is not None
    assert [column.title for column in section.table.columns] == ["case", "0002", "this run"]
    assert first.name in section.notes[0]


def test_nothing_but_damaged_files_is_a_note(two: BaselineStore) -> None:
    for path in two.files():
        path.write_text("{")
    (section,) = history.sections(two.files(), [record("sum/a", 0.5)], {}, lambda key: Tolerances())
    assert (section.table, len(section.notes)) == (None, 2)


def test_only_the_newest_files_are_read(two: BaselineStore) -> None:
    files = [Path("no-such-file.json"), *(two.files()[-1:] * history.LATEST)]
    (section,) = history.sections(files, [record("sum/a", 0.5)], {}, lambda key: Tolerances())
    assert not any("no-such-file" in note for note in section.notes)


def test_a_page_and_a_summary_take_it(two: BaselineStore) -> None:
    found = history.sections(two.files(), [record("sum/a", 0.75)], {}, lambda key: Tolerances())
    assert page.render("R", found).count("<svg") == 1
    assert "<details><summary>History</summary>" in markdown.render("R", found)
