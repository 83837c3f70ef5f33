"""The table of what is judged: each metric of the run once, with how many cases have it."""

from __future__ import annotations

from perfgate.records.record import Metric, Record
from perfgate.report import metric_list


def record(key: str, *names: str) -> Record:
    return Record("sums", 1, {}, key, metrics={name: Metric("sampled", "s", "lower", 0.5) for name in names})


def test_each_metric_is_told_once() -> None:
    records = [record("sums/a", "resident_set_bytes", "latency_s", "ttft_s"), record("sums/b", "latency_s")]
    (section,) = metric_list.sections(records)
    assert section.table is not None
    rows = {row["metric"]: row for row in section.table.rows}
    assert list(rows) == ["latency_s", "resident_set_bytes", "ttft_s"]
    assert [row["cases"] for row in rows.values()] == [2, 1, 1]
    assert str(rows["latency_s"]["judged"]).startswith("in lockstep")
    assert str(rows["resident_set_bytes"]["judged"]).startswith("not judged: it holds what earlier cases")


def test_without_metrics_there_is_no_section() -> None:
    assert metric_list.sections([Record("sums", 1, {}, "sums/a", status="failed", reason="because")]) == []
