"""What is judged: every metric of the run's records, how, or why not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from perfgate.compare import metrics
from perfgate.records.record import Metric, Record
from perfgate.report.formats import decimals
from perfgate.report.section import Column, Section, Table, Value

COLUMNS = (
    Column("metric", "metric"),
    Column("unit", "unit", words=True),
    Column("cases", "cases", decimals(0)),
    Column("judged", "judged", words=True),
)


def sections(records: Sequence[Record]) -> list[Section]:
    """One section; none where nothing was measured."""
    cases = Counter(name for record in records for name in record.metrics)
    found: dict[str, Metric] = {name: one for record in records for name, one in record.metrics.items()}
    if not found:
        return []
    quantities = sorted(((name, metrics.of(name, one)) for name, one in found.items()), key=lambda one: one[1].place)
    rows: list[Mapping[str, Value]] = [
        {
            "metric": name,
            "unit": found[name].unit,
            "cases": cases[name],
            "judged": quantity.how or f"not judged: {quantity.why_not}",
        }
        for name, quantity in quantities
    ]
    return [Section("metrics", "What is judged", table=Table(COLUMNS, rows), folded=True)]
