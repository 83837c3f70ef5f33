"""One line on the terminal for each finished case: what was measured, and about how long the rest will take."""

from __future__ import annotations

import pytest

from perfgate.records.record import Record
from perfgate.report import duration, latency, mebibytes


def headline(record: Record) -> str:
    """The record in a few words: throughput or latency, and peak memory."""
    if record.status != "measured":
        return f"{record.status}: {record.reason}"
    parts = []
    throughput, took, peak = map(record.value, ("throughput_tokens_per_s", "latency_s", "peak_memory_bytes"))
    if throughput is not None:
        parts.append(f"{throughput:,.1f} tokens/s")
    elif took is not None:
        parts.append(latency(took))
    if peak is not None:
        parts.append(f"peak {mebibytes(peak)} MiB")
    return ", ".join(parts)


class Progress:
    """Registered where the terminal shows dots: replaces the dot of a measured case with its line."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        return ("passed", "", "") if report.passed and hasattr(report, "perfgate_line") else None

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        line = getattr(report, "perfgate_line", None)
        if line is not None:
            self._terminal.write("\n" + line)


def line(record: Record, position: int, total: int, took_s: float, left_s: float | None) -> str:
    """``[3/13] generation/fp32-eager: 14.2 tokens/s, peak 600.1 MiB (23 s; about 3 min 20 s left)``."""
    left = f"; about {duration(left_s)} left" if left_s and position < total else ""
    return f"  [{position}/{total}] {record.key}: {headline(record)} ({duration(took_s)}{left})"
