"""``python -m perfgate report --from results.json``: the report of a run again, from its JSON alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfgate.plugin import session, terminal_summary
from perfgate.plugin.command_line import PREFIX, destination
from perfgate.plugin.terminal_lines import relative
from perfgate.records.record import Record
from perfgate.report import Section, results, write
from perfgate.report.results import Results, ResultsError

OPTION = f"{PREFIX}report-from"


def main(config: pytest.Config) -> int:
    """Configure the session, as pytest's own ``--version`` and ``--fixtures`` do (nothing is collected), and report."""
    config._do_configure()
    return report(config, config.getoption(destination("report-from")))


def report(config: pytest.Config, path: Path) -> int:
    """Write and print the report of the run stored in ``path``; returns the exit code.

    Raises:
        pytest.UsageError: the file cannot be read, or the report cannot be written.
    """
    settings, terminalwriter = session.of(config).settings, config.get_terminal_writer()
    try:
        stored = results.load(config.invocation_params.dir / path)
        sections = renewed(stored.sections, _own(config, list(stored.records)))
        found = Results(stored.session, stored.records, sections)
        written = write.write(settings.report_dir, found, html=settings.html, shared=False)
    except (ResultsError, write.OutputError) as wrong:
        raise pytest.UsageError(str(wrong)) from None
    terminalwriter.write(terminal_summary.rendered(config, sections))
    folder = relative(settings.report_dir, config.invocation_params.dir)
    terminalwriter.line(f"perfgate: wrote {', '.join(written)} into {folder}")
    if settings.html and (why := write.why_no_page()) is not None:
        terminalwriter.line(f"perfgate: {why}")
    return int(pytest.ExitCode.OK)


def _own(config: pytest.Config, records: list[Record]) -> list[Section]:
    found = config.hook.pytest_perfgate_sections(config=config, records=records)
    return [section for sections in found for section in sections]


def renewed(stored: list[Section], own: list[Section]) -> list[Section]:
    """The stored sections, those that the suite makes anew in the place of their first; a new one joins them."""
    names = {section.name for section in own}
    first = next((place for place, one in enumerate(stored) if one.name in names), max(0, len(stored) - 1))
    kept = [[one for one in part if one.name not in names] for part in (stored[:first], stored[first:])]
    return [*kept[0], *own, *kept[1]]
