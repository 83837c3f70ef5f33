"""What an A/B comparison reports of its cases."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from perfgate.compare.case_verdict import Tolerances, Verdict
from perfgate.compare.intervals import LOOKS
from perfgate.lockstep import report
from perfgate.lockstep.comparison import Comparison
from perfgate.records.record import Metric, Record
from perfgate.report import Section


def case(key: str, status: Any = None, **changes: Any) -> Comparison:
    one = Comparison(key, key.partition("/")[0], **changes)
    one.verdict = None if status is None else Verdict(status, f"why {status}")
    return one


def record(key: str, peak: int, **operators: int) -> Record:
    return Record(
        "sum", 1, {}, key, metrics={"peak_memory_bytes": Metric("exact", "bytes", "lower", peak)}, operators=operators
    )


def section(*cases: Comparison, needed_s: float | None = None) -> Section:
    sides = {
        "A": SimpleNamespace(name="old", versions={"torch": "2.12", "numpy": "2.4"}, used={}),
        "B": SimpleNamespace(name="new", versions={"torch": "2.13", "numpy": "2.4"}, used={}),
    }
    run: Any = SimpleNamespace(
        sides=sides,
        cases={one.key: one for one in cases},
        plan=SimpleNamespace(tolerances_of=lambda key: Tolerances(), alpha=0.01),
        pairs=7,
        needed_s=needed_s,
        undecided=[one for one in cases if not one.decided],
    )
    (found,) = report.sections(run, 12.0)
    return found


def test_the_worst_case_comes_first() -> None:
    found = section(case("sum/a", "SAME"), case("sum/b", "REGRESSED"), case("sum/c"))
    assert found.table is not None
    assert [(row["case"], row["verdict"]) for row in found.table.rows] == [
        ("sum/b", "REGRESSED"),
        ("sum/c", "INCONCLUSIVE"),
        ("sum/a", "SAME"),
    ]
    assert found.lead is not None
    assert "1 REGRESSED, 1 INCONCLUSIVE, 1 SAME" in found.lead[-1]


def test_only_versions_that_differ_are_told() -> None:
    told = section(case("sum/a", "SAME")).paragraphs[0]
    assert "torch 2.12 -> 2.13" in told
    assert "numpy" not in told


def test_times_peaks_and_changed_work_of_both_sides() -> None:
    one = case("sum/a", "REGRESSED", log_ratios=[0.1, 0.1], times_s={"A": [0.001, 0.003], "B": [0.004]})
    one.records = {"A": record("sum/a", 100, mm=1), "B": record("sum/a", 200, mm=3)}
    found = section(one)
    assert found.table is not None
    (row,) = found.table.rows
    assert (row["a_s"], row["b_s"], row["pairs"]) == (pytest.approx(0.002), pytest.approx(0.004), 2)
    assert (row["a_peak_bytes"], row["b_peak_bytes"]) == (100, 200)
    assert any("mm 1 -> 3" in note for note in found.notes)
    assert not any("mm" in note for note in section(case("sum/b", "SAME")).notes)


def test_a_budget_that_would_decide_is_told() -> None:
    told = " ".join(section(case("sum/a", "INCONCLUSIVE"), needed_s=90.0).paragraphs)
    assert "1 min 30 s" in told
    assert f"{LOOKS[-1]} pairs" in told
    assert "would decide" not in " ".join(section(case("sum/a", "INCONCLUSIVE")).paragraphs)


def test_a_case_that_was_measured_apart_says_so() -> None:
    assert any("apart" in note for note in section(case("sum/a", "SAME", apart=True)).notes)
    assert not any("apart" in note for note in section(case("sum/a", "SAME")).notes)
