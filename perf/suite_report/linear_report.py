"""The linear layers' part of the report: every scheme on every shape, and why others are not there."""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.records.case import on_all_cores, split_key
from perfgate.records.record import Record
from perfgate.report import (
    PARTS,
    Axis,
    Chart,
    Column,
    Section,
    Table,
    Value,
    decimals,
    mebibytes,
    milliseconds,
    significant,
)

from suite_report import roofline_report, scaling_charts
from suite_report.scaling_charts import Cost, Scaling

ABOUT = (
    "One layer without bias, on one core where the device is a CPU and the case does not say all-cores. GB/s count the "
    "weight as it is stored, the inputs and the outputs once; the relative error is against float64, and must lie "
    "between its scheme's two bounds. The matmul ceiling is that of the type that a scheme computes in: int8 products "
    "can be faster than it."
)

SCALING = Scaling("num_tokens", "scheme")
COSTS = (
    Cost("latency_s", "latency", Axis("median ms", milliseconds, log=True)),
    Cost("relative_error", "error", Axis("relative error", significant(2), log=True)),
)

COLUMNS = (
    Column("case", "case"),
    Column("latency_ms", "median ms", decimals(3)),
    Column("spread", "±%", decimals(1, 100)),
    Column("throughput_flop_per_s", "GFLOP/s", decimals(1, 1e-9)),
    Column("bandwidth_bytes_per_s", "GB/s", decimals(2, 1e-9)),
    Column("weights_bytes", "weight MiB", mebibytes),
    Column("activation_peak_bytes", "call's peak MiB", mebibytes),
    Column("relative_error", "relative error", significant(2)),
)


def _row(record: Record) -> dict[str, Value]:
    latency = record.metrics["latency_s"]
    low, high = latency.interval or (None, None)
    return {
        "case": split_key(record.key)[1],
        "key": record.key,
        "latency_ms": latency.value * 1e3,
        "spread": None if low is None or high is None else (high - low) / 2 / latency.value,
        **{column.key: record.value(column.key) for column in (*COLUMNS[3:], *roofline_report.COLUMNS)},
    }


def _charts(rows: Sequence[Record]) -> list[Chart]:
    """Latency and error over the number of tokens, for the layers that were measured with several."""
    layers: dict[tuple[str, bool], list[Record]] = {}
    for row in rows:
        shape = f"{row.fields['in_features']} to {row.fields['out_features']} features"
        if not on_all_cores(row.fields):
            layers.setdefault((shape, bool(row.fields["outliers"])), []).append(row)
    found = []
    for number, ((shape, outliers), own) in enumerate(layers.items()):
        for cost in COSTS:
            title = f"Linear layer, {cost.title}: {shape}{', with outliers' if outliers else ''}"
            found += scaling_charts.chart(f"linear-{number}-{cost.metric}", title, own, SCALING, cost)
    return found


def sections(records: Sequence[Record]) -> list[Section]:
    """The section of the linear layers; none where none was selected."""
    rows = [record for record in records if record.name == "linear" and record.status == "measured"]
    said: dict[str, list[str]] = {}
    for record in records:
        if record.name == "linear" and record.status == "skipped":
            said.setdefault(f"not measured: {record.reason}", []).append(str(record.fields["scheme"]))
    for record in rows:
        for note in record.notes:
            said.setdefault(note, []).append(str(record.fields["scheme"]))
    notes = [f"{', '.join(dict.fromkeys(schemes))}: {note}" for note, schemes in said.items()]
    if not rows and not notes:
        return []
    notes += roofline_report.notes(rows)
    table = Table(COLUMNS + roofline_report.columns(rows), [_row(record) for record in rows])
    return [Section("linear", "Linear layers", [ABOUT], table, notes, charts=_charts(rows), detail=PARTS)]
