"""The progress of a run: one line, rewritten in place on a terminal and printed once a minute elsewhere. A case that
fails is named at once, with its reason."""

from __future__ import annotations

import pytest

from perfgate.plugin.terminal_lines import LINE, Lines
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
    """Registered where the terminal would show dots and every selected test is a benchmark: one line in place of the
    files' names, the dots and the percentages."""

    def __init__(self, terminal: pytest.TerminalReporter, lines: Lines) -> None:
        self._lines = lines
        self._running = True
        terminal.showfspath = False
        terminal._show_progress_info = False  # pytest's percentages would end the line that is rewritten

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """No letter for a report whose line is printed here; a failed setup or teardown stays pytest's error."""
        ours = self._running and hasattr(report, LINE) and not hasattr(report, "wasxfail")
        return (report.outcome, "", "") if ours and not (report.failed and report.when != "call") else None

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        text = getattr(report, LINE, None)
        if report.failed:
            self._lines.say(f"FAILED {reason(report, text)}")
        elif text:
            self._lines.show(text)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Before pytest's summaries, which need its words for what failed and what was skipped."""
        self._running = False
        self._lines.clear()


def reason(report: pytest.TestReport, text: str | None) -> str:
    """A failed test in one line: perfgate's own message, the case's line, or the name of the test."""
    if isinstance(report.longrepr, str):
        return " ".join(report.longrepr.split())
    return " ".join((text or report.nodeid).split())


def line(record: Record, position: int, total: int, took_s: float, left_s: float | None) -> str:
    """``[3/13] generation/fp32-eager: 14.2 tokens/s, peak 600.1 MiB (23 s; about 3 min 20 s left)``."""
    left = f"; about {duration(left_s)} left" if left_s and position < total else ""
    return f"[{position}/{total}] {record.key}: {headline(record)} ({duration(took_s)}{left})"
