"""How near a kernel comes to what its device can do: the columns, and what they are shares of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from perfgate.records.record import Record
from perfgate.report import Column, decimals

COLUMNS = (
    Column("flop_ceiling_fraction", "% of matmul", decimals(1, 100)),
    Column("bandwidth_ceiling_fraction", "% of copy", decimals(1, 100)),
    Column("flop_peak_fraction", "% of sheet FLOP/s", decimals(1, 100)),
    Column("bandwidth_peak_fraction", "% of sheet GB/s", decimals(1, 100)),
)
"""Shares of the ceilings measured in the run (see fixtures.ceilings), then of the device's data sheet."""


def columns(rows: Sequence[Record]) -> tuple[Column, ...]:
    """The columns for which some row has a number: a CPU has no data sheet here."""
    return tuple(column for column in COLUMNS if any(row.value(column.key) is not None for row in rows))


def notes(rows: Iterable[Record]) -> list[str]:
    """What the shares are shares of: one line for each number type that was multiplied in."""
    found: dict[str, str] = {}
    for row in rows:
        ceilings = row.provenance.get("ceilings")
        if ceilings is not None:
            matmul, copy = ceilings["matmul_flop_per_s"], ceilings["copy_bytes_per_s"]
            found[ceilings["dtype"]] = (
                f"ceilings measured in this run, {ceilings['dtype']}: matmul {matmul / 1e9:,.0f} GFLOP/s, "
                f"copy {copy / 1e9:,.1f} GB/s"
            )
    return list(found.values())
