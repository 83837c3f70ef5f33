"""perfgate: measure and profile benchmarks under pytest-benchmark, and keep what was measured."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfgate.measure.measurement import Kernel, Measure
    from perfgate.measure.op_counts import Work, note_kernel
    from perfgate.plugin.case_tables import cases
    from perfgate.records.case import Case, Row, part, slug
    from perfgate.records.record import Metric, Record

__all__ = ["Case", "Kernel", "Measure", "Metric", "Record", "Row", "Work", "cases", "note_kernel", "part", "slug"]
__version__ = "0.1.0"

_WHERE = {
    "Case": "records.case",
    "Kernel": "measure.measurement",
    "Measure": "measure.measurement",
    "Metric": "records.record",
    "Record": "records.record",
    "Row": "records.case",
    "Work": "measure.op_counts",
    "cases": "plugin.case_tables",
    "note_kernel": "measure.op_counts",
    "part": "records.case",
    "slug": "records.case",
}
"""The module of each public name. They are imported when asked for: pytest imports this package in every session, also
in those that measure nothing."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'perfgate' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(f"perfgate.{_WHERE[name]}"), name)
