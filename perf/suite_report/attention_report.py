"""The attention benchmarks' part of the report: every backend on every shape, and why the others are not there."""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.records.case import split_key
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

from fixtures import attention
from suite_report import roofline_report, scaling_charts
from suite_report.scaling_charts import Cost, Scaling

TITLES = {"attention_prefill": "Attention: prefill", "attention_decode": "Attention: decode"}

SCALING = {
    "attention_prefill": Scaling("seqlen_q", "attention", {"O(L)": 1, "O(L^2)": 2}),
    "attention_decode": Scaling("seqlen_k", "attention", {"O(L)": 1}),
}
COSTS = (
    Cost("latency_s", "time", Axis("median ms", milliseconds, log=True)),
    Cost("activation_peak_bytes", "memory", Axis("call's own peak in MiB", mebibytes, log=True)),
)

ABOUT = {
    "attention_prefill": "A whole prompt at once. FLOP/s count causal attention as half, as the papers do; the peak is "
    "the call's own. Each result is within its dtype's rounding of float64; flash, FA1 and FA2 are asserted to grow "
    "linearly in memory and to need less than a tenth of eager's from 2,048 tokens on.",
    "attention_decode": "One new token against a long KV cache: bytes per second tell, not FLOP/s.",
}


COLUMNS = (
    Column("case", "case"),
    Column("latency_ms", "median ms", decimals(2)),
    Column("spread", "±%", decimals(1, 100)),
    Column("throughput_flop_per_s", "GFLOP/s", decimals(1, 1e-9)),
    Column("bandwidth_bytes_per_s", "GB/s", decimals(2, 1e-9)),
    Column("activation_peak_bytes", "call's peak MiB", mebibytes),
    Column("relative_error", "relative error", significant(1)),
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


def _missing(records: Sequence[Record]) -> list[str]:
    """The backends that this machine cannot run, each with its reason."""
    reasons = {str(r.fields["attention"]): r.reason for r in records if r.status == "skipped" and r.name in TITLES}
    return [f"{name}: not measured: {reason}" for name, reason in reasons.items()]


def _ratio(record: Record) -> str:
    ours, theirs = record.metrics["latency_s"], record.metrics["versus_s"]
    name, versus = str(record.fields["attention"]), str(record.fields["versus"])
    return (
        f"{record.key.partition('/')[2]}: {name} takes {record.metrics['time_ratio'].value:.2f} of {versus}'s time, "
        f"{len(theirs.samples)} turns each (means {ours.value * 1e3:,.0f} and {theirs.value * 1e3:,.0f} ms; "
        f"{attention.backend(name).label}, against {attention.backend(versus).label})"
    )


def _charts(name: str, rows: Sequence[Record]) -> list[Chart]:
    """Time and memory over the length, for the shapes that were measured at several lengths."""
    scaling = SCALING[name]
    apart = (scaling.size, scaling.line, "device")
    shapes: dict[tuple[object, ...], list[Record]] = {}
    for row in rows:
        shape = {field: value for field, value in row.fields.items() if field not in apart}
        shapes.setdefault(tuple(shape.items()), []).append(row)
    found = []
    for number, (shape, own) in enumerate(shapes.items()):
        words = ", ".join(f"{field} {value}" for field, value in shape)
        for cost in COSTS:
            title = f"{TITLES[name]}, {cost.title}: {words}"
            found += scaling_charts.chart(f"{name}-{number}-{cost.metric}", title, own, scaling, cost)
    return found


def sections(records: Sequence[Record]) -> list[Section]:
    """The sections of the attention benchmarks; none where none was selected."""
    out = []
    for name, title in TITLES.items():
        rows = [record for record in records if record.name == name and record.status == "measured"]
        notes = _missing(records) if name == "attention_prefill" else []
        if not rows and not notes:
            continue
        notes += roofline_report.notes(rows)
        table = Table(COLUMNS + roofline_report.columns(rows), [_row(row) for row in rows])
        out.append(Section(name, title, [ABOUT[name]], table, notes, charts=_charts(name, rows), detail=PARTS))
    ratios = [record for record in records if record.name == "attention_ratio" and record.status == "measured"]
    if ratios:
        told = [_ratio(record) for record in ratios]
        out.append(Section("attention_ratio", "Attention: two backends in turns", notes=told, detail=PARTS))
    return out
