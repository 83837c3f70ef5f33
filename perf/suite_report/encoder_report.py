"""The encoder's part of the report: both paths, and how much faster the fast one is."""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.records.record import Record
from perfgate.report import PARTS, Column, Section, Table, Value, decimals, mebibytes, milliseconds, significant

COLUMNS = (
    Column("path", "path"),
    Column("input", "input", words=True),
    Column("latency_s", "median ms", milliseconds),
    Column("throughput_tokens_per_s", "tokens/s", decimals(0)),
    Column("peak_memory_bytes", "peak MiB", mebibytes),
    Column("relative_error", "error", significant(2)),
)

ABOUT = (
    "torch.nn.TransformerEncoder with torch's fast path (one fused operator for each layer; a padded input becomes a "
    "nested tensor) and without it. Tokens are the positions that are no padding; the error is relative, against "
    "float64, padding left out. On a CPU the fused operator holds attention's whole score matrix, which the slow "
    "path's flash attention does not: on long inputs the fast path needs more memory there."
)


def _input(record: Record) -> str:
    fields = record.fields
    padding = "padded" if fields["padded"] else "full"
    return f"{fields['dtype']}, {fields['batch_size']} x {fields['seqlen']}, {padding}"


def _row(record: Record) -> dict[str, Value]:
    row: dict[str, Value] = {"path": str(record.fields["path"]), "input": _input(record), "key": record.key}
    return row | {column.key: record.value(column.key) for column in COLUMNS[2:]}


def _ratios(rows: Sequence[Record]) -> list[str]:
    """Each input that both paths were measured on, with the ratio of their speeds: a statement, never a verdict."""
    latency = {(str(row.fields["path"]), _input(row)): row.metrics["latency_s"].value for row in rows}
    return [
        f"{one}: the fast path is {latency['slow', one] / latency['fast', one]:.2f} times the slow path's speed"
        for one in dict.fromkeys(_input(row) for row in rows)
        if ("fast", one) in latency and ("slow", one) in latency
    ]


def sections(records: Sequence[Record]) -> list[Section]:
    """The encoder's section; none where no encoder was measured."""
    rows = [record for record in records if record.name == "encoder" and record.status == "measured"]
    if not rows:
        return []
    table = Table(COLUMNS, [_row(record) for record in rows])
    return [Section("encoder", "The encoder fast path", [ABOUT], table, _ratios(rows), detail=PARTS)]
