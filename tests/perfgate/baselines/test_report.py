"""The gate's part of the report as data: what fails first, what was compared, and what a refresh stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from perfgate.baselines import report
from perfgate.baselines.store import Baseline, Entry
from perfgate.compare.case_verdict import Verdict
from perfgate.compare.metric_verdict import Finding
from perfgate.compare.tolerances import Tolerances
from perfgate.records.fingerprint import Fingerprint
from perfgate.records.record import Record
from perfgate.report import Section

from tests.support.baseline_entries import FINGERPRINT, REFRESH, entry


def against(verdicts: dict[str, Verdict], order: list[str]) -> Any:
    """The gate's section of these verdicts, of a run that ran its cases in this order."""
    now = Fingerprint("code", {})
    entry: Any = SimpleNamespace(
        refresh=SimpleNamespace(date="today", reason="first", runs=5, fingerprint=now),
        by_process_s=(1.0,),
        record=Record("sums", 1, {}, "sums/stored"),
    )
    baseline: Any = SimpleNamespace(entries={"sums/stored": entry}, path=SimpleNamespace(name="0001.json"))
    baseline.machine_key = "machine"
    typed: Baseline = baseline
    records = {key: Record("sums", 1, {}, key) for key in order}
    comparison = report.Comparison(typed, verdicts, records, now, forced=False)
    (section,) = report.sections(comparison, lambda key: Tolerances(time=0.05))
    return section


def test_a_comparison_begins_with_what_fails_each_on_its_own_line() -> None:
    order = [f"sums/{number}" for number in range(10)]
    statuses = ["SAME", "NEW", "REGRESSED", "SKIPPED", "REGRESSED", "NEW", "INCONCLUSIVE", "SAME", "NEW", "SKIPPED"]
    known = {key: Verdict(status, "because") for key, status in zip(order, statuses, strict=True)}  # type: ignore[arg-type]  # validated there
    verdicts = {key: known[key] for key in reversed(order)} | {"sums/gone": Verdict("MISSING", "gone")}
    section = against(verdicts, order)
    seen = "REGRESSED REGRESSED MISSING INCONCLUSIVE SKIPPED SKIPPED SAME SAME NEW NEW NEW"
    assert [row["verdict"] for row in section.table.rows] == seen.split()
    assert [row["case"] for row in section.table.rows][:3] == ["sums/2", "sums/4", "sums/gone"]
    assert [row["case"] for row in section.table.rows][-3:] == ["sums/1", "sums/5", "sums/8"]
    assert section.changes == [
        "sums/2: REGRESSED: because",
        "sums/4: REGRESSED: because",
        "sums/gone: MISSING: gone",
        "NEW: because: 3 cases: sums/1, sums/5, sums/8",
    ]
    assert section.notes == ["sums/6: INCONCLUSIVE: because", "SKIPPED: because: 2 cases: sums/3, sums/9"]


def tolerances_of(key: str) -> Tolerances:
    return Tolerances(time=0.1 if key == "sum/loose" else 0.05)


def stored(*entries: Entry) -> Baseline:
    return Baseline("cpu-2c", {one.record.key: one for one in entries}, Path("baselines/cpu-2c/0007_x.json"))


def rows(section: Section) -> dict[str, dict[str, Any]]:
    """The table's rows by case."""
    assert section.table is not None
    return {str(row["case"]): dict(row) for row in section.table.rows}


TIMED = Finding("latency_s", "SAME", "as before", before=0.6, after=0.7, ratio=1.01, low=0.99, high=1.03, unit="s")


class TestSections:
    def section(self, baseline: Baseline, verdicts: dict[str, Verdict], *records: Record) -> Section:
        by_key = {one.key: one for one in records}
        comparison = report.Comparison(baseline, verdicts, by_key, FINGERPRINT, forced=False)
        (section,) = report.sections(comparison, tolerances_of)
        return section

    def test_a_row_tells_what_was_compared_and_else_what_is_known_of_each_side(self) -> None:
        baseline = stored(entry("sum/timed"), entry("sum/told"), entry("sum/gone"))
        verdicts = {
            "sum/timed": Verdict("SAME", "because", (TIMED,), largest_slowdown=0.04),
            "sum/told": Verdict("SAME", "because"),
            "sum/gone": Verdict("MISSING", "because"),
            "sum/new": Verdict("NEW", "because"),
        }
        now = [entry(key, 0.8).record for key in ("sum/timed", "sum/told", "sum/new")]
        found = rows(self.section(baseline, verdicts, *now))
        times = {key: (row["before_s"], row["after_s"]) for key, row in found.items()}
        assert times == {
            "sum/timed": (0.6, 0.7),
            "sum/told": (0.5, 0.8),
            "sum/gone": (0.5, None),
            "sum/new": (None, 0.8),
        }
        peaks = {key: (row["before_peak_bytes"], row["after_peak_bytes"]) for key, row in found.items()}
        assert peaks == {
            "sum/timed": (1024, 1024),
            "sum/told": (1024, 1024),
            "sum/gone": (1024, None),
            "sum/new": (None, 1024),
        }
        judged = [found["sum/timed"][name] for name in ("ratio", "low", "high", "largest_slowdown")]
        assert judged == [1.01, 0.99, 1.03, 0.04]
        assert found["sum/told"]["ratio"] is None

    def test_the_latest_refresh_names_the_baseline(self) -> None:
        later = replace(REFRESH, date="2026-12-01T00:00:00+0000", reason="second")
        verdicts = {"sum/a": Verdict("SAME", "because")}
        section = self.section(stored(entry("sum/a", refresh=later), entry("sum/b")), verdicts, entry("sum/a").record)
        assert section.data["baseline"] == {
            "file": "0007_x.json",
            "machine_key": "cpu-2c",
            "reason": "second",
            "date": "2026-12-01T00:00:00+0000",
        }

    def test_every_verdict_is_there_as_data(self) -> None:
        verdicts = {"sum/a": Verdict("SAME", "because", (TIMED,)), "sum/gone": Verdict("MISSING", "because")}
        section = self.section(stored(entry("sum/a"), entry("sum/gone")), verdicts, entry("sum/a").record)
        assert {key: Verdict.from_json(one) for key, one in section.data["verdicts"].items()} == verdicts

    def test_the_chart_has_the_tolerances_of_its_cases(self) -> None:
        verdicts = {key: Verdict("SAME", "because", (TIMED,)) for key in ("sum/a", "sum/loose")}
        now = [entry(key).record for key in verdicts]
        (chart,) = self.section(stored(*map(entry, verdicts)), verdicts, *now).charts
        assert sorted(chart.marks.values()) == [1.0, 1.05, 1.1]


REFRESHED = {
    "sum/same": Verdict("SAME", "because"),
    "sum/slow": Verdict("REGRESSED", "because"),
    "sum/noisy": Verdict("INCONCLUSIVE", "because"),
}


class TestRefreshed:
    def section(self, before: Baseline | None, stored_as: Path | None, *problems: str) -> Section:
        entries = {key: entry(key, 0.8) for key in REFRESHED}
        outcome = report.Refreshed(stored_as, before, entries, REFRESHED, REFRESH, problems)
        (section,) = report.refreshed(outcome, tolerances_of)
        return section

    def test_old_against_new_with_the_worst_first(self) -> None:
        section = self.section(stored(entry("sum/same"), entry("sum/slow")), Path("0008_x.json"))
        found = rows(section)
        assert [(key, row["verdict"], row["before_s"], row["after_s"]) for key, row in found.items()] == [
            ("sum/slow", "REGRESSED", 0.5, 0.8),
            ("sum/noisy", "INCONCLUSIVE", None, 0.8),
            ("sum/same", "SAME", 0.5, 0.8),
        ]
        assert section.changes == ["sum/slow: REGRESSED: because"]
        assert section.notes == ["sum/noisy: INCONCLUSIVE: because"]

    def test_the_first_one_has_nothing_to_differ_from(self) -> None:
        section = self.section(None, Path("0001_x.json"))
        assert [row["before_s"] for row in rows(section).values()] == [None] * 3
        assert section.changes == section.notes == []

    def test_what_forbids_it_stands_instead_of_what_changed(self) -> None:
        section = self.section(stored(entry("sum/slow")), None, "sum/slow: failed: wrong sum")
        assert section.notes == ["sum/slow: failed: wrong sum"]
        assert section.changes == []

    @pytest.mark.parametrize("stored_as", [Path("0008_x.json"), None])
    def test_the_lead_names_the_file_where_there_is_one(self, stored_as: Path | None) -> None:
        (lead,) = self.section(None, stored_as).lead
        assert lead.startswith("Stored as 0008_x.json") is (stored_as is not None)
        assert "None" not in lead
