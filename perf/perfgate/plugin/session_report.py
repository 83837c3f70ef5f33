"""The report of a session: its sections, and the files it leaves."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from typing import Any

import pytest

from perfgate.baselines import history
from perfgate.lockstep import fresh_process
from perfgate.machine import environment, health
from perfgate.plugin import terminal_summary
from perfgate.plugin.modes import Mode
from perfgate.plugin.record_log import by_status
from perfgate.plugin.session import SessionContext
from perfgate.plugin.terminal_lines import relative
from perfgate.records.record import SCHEMA
from perfgate.report import Section, metric_list, run_summary, write
from perfgate.report.results import Results


class SessionReport:
    """What a session that has ended reports. ``written`` are the names of the files; ``error`` is why they could not be
    written."""

    def __init__(self, context: SessionContext, mode: Mode | None, *, interrupted: bool) -> None:
        self._context = context
        self._mode = mode
        self._interrupted = interrupted
        self._sections: list[Section] = []
        self.written: tuple[str, ...] = ()
        self.error: str | None = None

    @cached_property
    def head(self) -> dict[str, Any]:
        """The session's part of every JSON file."""
        context = self._context
        machine = environment.machine(context.device)
        before, after = context.workbench.health, health.read(context.device)
        return {
            "schema": SCHEMA,
            "started": context.started,
            "fingerprint": context.fingerprint().to_json(),
            "machine": machine,
            "machine_key": environment.machine_key(machine),
            "health": {"before": before.to_json(), "after": after.to_json()},
            "settings": json.loads(json.dumps(asdict(context.settings), default=str)),
            "ledger": by_status(context.records),
            "interrupted": self._interrupted,
        }

    def write(self) -> None:
        """Make the sections and write the files; remembers why if they cannot be written."""
        context, settings = self._context, self._context.settings
        records = list(context.records.values())
        of_mode = [] if self._mode is None else self._mode.sections()
        if not records and not of_mode:
            return
        suite = [] if self._mode is not None and self._mode.replaces_suite else self._of_suite()
        alone = fresh_process.only() is None
        past: list[Section] = []
        if alone:
            past = history.sections(
                context.baselines(self.head["machine_key"]).files(), records, settings.aliases, settings.tolerances_of
            )
        self._sections = [
            *of_mode,
            run_summary.outcome(self.head, records),
            *suite,
            *past,
            *metric_list.sections(records),
            run_summary.about(self.head),
        ]
        found = Results(self.head, records, self._sections)
        try:
            self.written = write.write(settings.report_dir, found, html=settings.html, shared=alone)
        except write.OutputError as wrong:
            self.error = str(wrong)
        context.log.remember(context.config)

    def _of_suite(self) -> list[Section]:
        config, records = self._context.config, list(self._context.records.values())
        return [one for found in config.hook.pytest_perfgate_sections(config=config, records=records) for one in found]

    def show(self, reporter: pytest.TerminalReporter) -> None:
        """Print the sections, and where the files are."""
        context = self._context
        if context.disabled and context.log.waiting:
            reporter.write_line("perfgate: the benchmarks ran once as plain tests; nothing was measured")
        if not self._sections:
            return
        reporter.ensure_newline()
        reporter.write(terminal_summary.rendered(context.config, self._sections))
        if self.error is not None:
            reporter.write_line(f"perfgate: {self.error}", red=True)
        else:
            folder = relative(context.settings.report_dir, context.config.invocation_params.dir)
            reporter.write_line(f"perfgate: wrote {', '.join(self.written)} into {folder}")
            if context.settings.html and (why := write.why_no_page()) is not None:
                reporter.write_line(f"perfgate: {why}")

    def exit_status(self, exitstatus: int, collected: int) -> int:
        """The session's exit status, where pytest itself would end with ``exitstatus`` after ``collected`` tests."""
        records = self._context.records.values()
        if exitstatus != pytest.ExitCode.OK:
            return exitstatus
        if records and len(records) == collected and all(record.status == "skipped" for record in records):
            return pytest.ExitCode.NO_TESTS_COLLECTED
        return pytest.ExitCode.TESTS_FAILED if self.error is not None else exitstatus
