"""perfgate: measure and profile benchmarks under pytest-benchmark, and keep what was measured."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfgate.machine.environment import versions
    from perfgate.measure.measurement import Kernel, Measure
    from perfgate.measure.op_counts import Work, note_kernel
    from perfgate.plugin.case_tables import cases
    from perfgate.plugin.public import (
        clock_of,
        device_of,
        is_child,
        kernel_timer_of,
        only_reports,
        records_of,
        report_dir_of,
    )
    from perfgate.records.case import ALL_CORES, Case, Row, part, slug
    from perfgate.records.record import Metric, Record

__all__ = [
    "ALL_CORES",
    "Case",
    "Kernel",
    "Measure",
    "Metric",
    "Record",
    "Row",
    "Work",
    "cases",
    "clock_of",
    "device_of",
    "is_child",
    "kernel_timer_of",
    "note_kernel",
    "only_reports",
    "part",
    "records_of",
    "report_dir_of",
    "slug",
    "versions",
]

_WHERE = {
    "ALL_CORES": "records.case",
    "Case": "records.case",
    "Kernel": "measure.measurement",
    "Measure": "measure.measurement",
    "Metric": "records.record",
    "Record": "records.record",
    "Row": "records.case",
    "Work": "measure.op_counts",
    "cases": "plugin.case_tables",
    "clock_of": "plugin.public",
    "device_of": "plugin.public",
    "is_child": "plugin.public",
    "kernel_timer_of": "plugin.public",
    "note_kernel": "measure.op_counts",
    "only_reports": "plugin.public",
    "part": "records.case",
    "records_of": "plugin.public",
    "report_dir_of": "plugin.public",
    "slug": "records.case",
    "versions": "machine.environment",
}
"""The module of each public name. They are imported when asked for: pytest imports this package in every session, also
in those that measure nothing."""


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'perfgate' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(f"perfgate.{_WHERE[name]}"), name)
