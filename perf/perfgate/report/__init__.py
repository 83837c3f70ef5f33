"""Rendering alone: sections -> terminal, Markdown, HTML page, charts, results.json.

Door (what other rooms may import): this module, for what a section is made of; ``grouping``, ``metric_list``,
``ratio_chart``, ``results``, ``run_summary``, ``terminal``, ``write``.
"""

from perfgate.report.charts import Axis, Chart, Series
from perfgate.report.formats import (
    TEXT,
    Format,
    counted,
    decimals,
    duration,
    latency,
    mebibytes,
    milliseconds,
    percent,
    printable,
    seconds,
    significant,
    visible,
)
from perfgate.report.section import MISSING, PARTS, Column, Section, Table, Value, long_table

__all__ = [
    "MISSING",
    "PARTS",
    "TEXT",
    "Axis",
    "Chart",
    "Column",
    "Format",
    "Section",
    "Series",
    "Table",
    "Value",
    "counted",
    "decimals",
    "duration",
    "latency",
    "long_table",
    "mebibytes",
    "milliseconds",
    "percent",
    "printable",
    "seconds",
    "significant",
    "visible",
]
