"""The plan of a run, and its progress: one line, rewritten in place on a terminal and printed once a minute elsewhere.
A case that fails is named at once, with its reason."""

from __future__ import annotations

from collections import Counter

import pytest

from perfgate.machine import health
from perfgate.machine.health import Health
from perfgate.plugin import public
from perfgate.plugin.activation import is_benchmark
from perfgate.plugin.case_tables import row_of
from perfgate.plugin.record_log import benchmark_name
from perfgate.plugin.session import SessionContext
from perfgate.plugin.terminal_lines import LINE, Lines
from perfgate.records.record import Record
from perfgate.report import counted, duration, latency, mebibytes


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


def begin(context: SessionContext, items: list[pytest.Item]) -> list[str]:
    """The cases of ``items`` wait from now on; returns the plan. The line of progress is registered where it does not
    stand between other tests' dots, and nothing else was asked for."""
    config, log = context.config, context.log
    log.waiting = [item for item in items if is_benchmark(item)]
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    only_benchmarks = bool(items) and len(log.waiting) == len(items)
    if reporter is not None and only_benchmarks and config.get_verbosity() == 0:
        config.pluginmanager.register(Progress(reporter, Lines(config, "perfgate")), "perfgate-progress")
    lines = plan(context)
    if lines and not config.option.collectonly and not public.is_child(config):  # nobody reads what a child says
        lines += busy(context.workbench.health)
    return lines


def plan(context: SessionContext) -> list[str]:
    """What will run and about how long it takes, as lines for the terminal."""
    log = context.log
    if not log.waiting:
        return []
    counts = Counter(benchmark_name(item).partition("::")[0] for item in log.waiting)  # or by file
    known = [log.expected_s(item) for item in log.waiting]
    by_benchmark = ", ".join(f"{n} {name}" for name, n in counts.items())
    told = [s for s in known if s is not None]
    takes = [f"about {duration(sum(told))}"] if told else []
    if len(told) < len(known):
        takes.append(f"{counted(len(known) - len(told))} of unknown length")
    lines = [f"perfgate: {counted(len(log.waiting))} on {context.device} ({by_benchmark}), {' and '.join(takes)}"]
    rows = [row for item in log.waiting if (row := row_of(item))]
    if any(row.case.key not in log.remembered for row in rows):
        lines[0] += " (a guess: the next run here will know from this one)"
    unavailable = sum(row.unavailable is not None for row in rows)
    if unavailable:
        lines.append(f"perfgate: {unavailable} of them cannot run here; `python -m perfgate doctor` says why")
    return lines


def busy(now: Health) -> list[str]:
    """What to tell of a machine on which something else runs."""
    if not health.still_busy(now):
        return []
    return [
        f"perfgate: this machine is busy (load {now.load_1min:g}): times will be too long and spread; "
        "OMP_WAIT_POLICY=PASSIVE makes OpenMP threads (torch, numpy) suffer less from it"
    ]


def line(record: Record, position: int, total: int, took_s: float, left_s: float | None) -> str:
    """``[3/13] generation/fp32-eager: 14.2 tokens/s, peak 600.1 MiB (23 s; about 3 min 20 s left)``."""
    left = f"; about {duration(left_s)} left" if left_s and position < total else ""
    return f"[{position}/{total}] {record.key}: {headline(record)} ({duration(took_s)}{left})"
