"""Long lists in reports: cases of which the same is said share a line, and what fails never does."""

from types import SimpleNamespace
from typing import Any

from perfgate.baselines import report
from perfgate.baselines.store import Baseline
from perfgate.compare.case_verdict import Verdict
from perfgate.compare.tolerances import Tolerances
from perfgate.records.fingerprint import Fingerprint
from perfgate.records.record import Record
from perfgate.report import grouping, run_summary


def test_cases_of_which_the_same_is_said_share_a_line() -> None:
    said = [("a", "new"), ("b", "slow"), ("c", "new")]
    assert grouping.lines(said) == ["new: 2 cases: a, c", "b: slow"]


def test_a_shared_line_names_some_and_counts_the_rest() -> None:
    assert grouping.lines((str(number), "new") for number in range(5)) == ["new: 5 cases: 0, 1, 2, 3, 4"]
    assert grouping.lines((str(number), "new") for number in range(93)) == ["new: 93 cases: 0, 1, 2, 3, 4 and 88 more"]


def ended(key: str, status: str) -> Record:
    return Record("sums", 1, {}, key, status=status, reason="because")  # type: ignore[arg-type]  # validated there


def test_what_did_not_measure_is_told_together_only_where_it_was_skipped() -> None:
    records = [ended(f"sums/{number}{status}", status) for number in range(7) for status in ("skipped", "failed")]
    found = run_summary.outcome({"ledger": {}, "interrupted": False}, records)
    failed = [f"sums/{number}failed: failed: because" for number in range(7)]
    skipped = ", ".join(f"sums/{number}skipped" for number in range(5))
    assert list(found.notes) == [*failed, f"skipped: because: 7 cases: {skipped} and 2 more"]


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
