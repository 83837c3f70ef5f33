"""perfgate: measure, weigh and count benchmarks under pytest-benchmark, and keep what was measured."""

from perfgate.measure.measurement import Kernel, Measure
from perfgate.measure.op_counts import Work, note_kernel
from perfgate.plugin.case_tables import cases
from perfgate.records.case import Case, Row, part, slug
from perfgate.records.record import Metric, Record

__all__ = ["Case", "Kernel", "Measure", "Metric", "Record", "Row", "Work", "cases", "note_kernel", "part", "slug"]
__version__ = "0.1.0"
