"""perfgate: measure, weigh and count benchmarks under pytest-benchmark, and keep what was measured."""

from perfgate.case import Case, Row, cases, part, slug
from perfgate.counters import Work, note_kernel
from perfgate.measure import Kernel, Measure
from perfgate.record import Metric, Record

__all__ = ["Case", "Kernel", "Measure", "Metric", "Record", "Row", "Work", "cases", "note_kernel", "part", "slug"]
__version__ = "0.1.0"
