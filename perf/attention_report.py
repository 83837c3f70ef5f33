"""The attention benchmarks' part of the report: every backend on every shape, and why the others are not there."""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.record import Record
from perfgate.report import Column, Section, Table, Value, decimals, mebibytes

from fixtures import attention

TITLES = {"attention_prefill": "Attention: prefill", "attention_decode": "Attention: decode"}

ABOUT = {
    "attention_prefill": "A whole prompt at once. FLOP/s count causal attention as half, as the papers do; the peak is "
    "the call's own. Each result is within its dtype's rounding of float64; flash, FA1 and FA2 are asserted to grow "
    "linearly in memory and to need less than a tenth of eager's from 2,048 tokens on.",
    "attention_decode": "One new token against a long KV cache: bytes per second tell, not FLOP/s.",
}


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


COLUMNS = (
    Column("case", "case"),
    Column("latency_ms", "median ms", decimals(2)),
    Column("spread", "±%", _percent),
    Column("throughput_flop_per_s", "GFLOP/s", lambda value: f"{value / 1e9:,.1f}"),
    Column("bandwidth_bytes_per_s", "GB/s", lambda value: f"{value / 1e9:,.2f}"),
    Column("activation_peak_bytes", "call's peak MiB", mebibytes),
    Column("relative_error", "relative error", lambda value: f"{value:.1g}"),
)
OF_PEAK = (
    Column("flop_peak_fraction", "% of peak FLOP/s", _percent),
    Column("bandwidth_peak_fraction", "% of peak GB/s", _percent),
)


def _row(record: Record) -> dict[str, Value]:
    latency = record.metrics["latency_s"]
    low, high = latency.interval or (None, None)
    return {
        "case": record.key.partition("/")[2],
        "key": record.key,
        "latency_ms": latency.value * 1e3,
        "spread": None if low is None or high is None else (high - low) / 2 / latency.value,
        **{column.key: record.value(column.key) for column in (*COLUMNS[3:], *OF_PEAK)},
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


def sections(records: Sequence[Record]) -> list[Section]:
    """The sections of the attention benchmarks; none where none was selected."""
    out = []
    for name, title in TITLES.items():
        rows = [record for record in records if record.name == name and record.status == "measured"]
        notes = _missing(records) if name == "attention_prefill" else []
        if not rows and not notes:
            continue
        columns = COLUMNS + tuple(c for c in OF_PEAK if any(row.value(c.key) is not None for row in rows))
        out.append(Section(name, title, [ABOUT[name]], Table(columns, [_row(row) for row in rows]), notes))
    ratios = [record for record in records if record.name == "attention_ratio" and record.status == "measured"]
    if ratios:
        out.append(Section("attention_ratio", "Attention: two backends in turns", notes=[_ratio(r) for r in ratios]))
    return out
