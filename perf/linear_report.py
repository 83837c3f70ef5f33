"""The linear layers' part of the report: every scheme on every shape, and why others are not there."""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.record import Record
from perfgate.report import Column, Section, Table, Value, decimals, mebibytes

ABOUT = (
    "One layer without bias, on one core where the device is a CPU. GB/s count the weight as it is stored, the inputs "
    "and the outputs once; the relative error is against float64, and must lie between its scheme's two bounds."
)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


COLUMNS = (
    Column("case", "case"),
    Column("latency_ms", "median ms", decimals(3)),
    Column("spread", "±%", _percent),
    Column("throughput_flop_per_s", "GFLOP/s", lambda value: f"{value / 1e9:,.1f}"),
    Column("bandwidth_bytes_per_s", "GB/s", lambda value: f"{value / 1e9:,.2f}"),
    Column("weights_bytes", "weight MiB", mebibytes),
    Column("activation_peak_bytes", "call's peak MiB", mebibytes),
    Column("relative_error", "relative error", lambda value: f"{value:.2g}"),
)


def _row(record: Record) -> dict[str, Value]:
    latency = record.metrics["latency_s"]
    low, high = latency.interval or (None, None)
    return {
        "case": record.key.partition("/")[2],
        "key": record.key,
        "latency_ms": latency.value * 1e3,
        "spread": None if low is None or high is None else (high - low) / 2 / latency.value,
        **{column.key: record.value(column.key) for column in COLUMNS[3:]},
    }


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
    return [Section("linear", "Linear layers", [ABOUT], Table(COLUMNS, [_row(record) for record in rows]), notes)]
