"""Which cases a run has, and what it was asked for, so that what nobody selected is not missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perfgate.baselines import missing_cases
from perfgate.baselines.store import Baseline, Entry
from perfgate.lockstep import fresh_process
from perfgate.plugin.activation import is_benchmark
from perfgate.plugin.case_tables import row_of
from perfgate.plugin.command_line import destination
from perfgate.plugin.session import SessionContext


def deselect(context: SessionContext, items: list[pytest.Item]) -> None:
    """Take away the cases that this run leaves out: those of other tiers, and in a process that perfgate started those
    that it was not started for.

    Raises:
        pytest.UsageError: two of the cases left have one key.
    """
    log, settings, only = context.log, context.settings, fresh_process.only()
    log.recall(context.config)
    log.collect(items)
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        row = row_of(item)
        chosen = row is None or row.chosen(quick=settings.quick, all_cases=settings.all_cases)
        if only is not None and is_benchmark(item):
            chosen = log.record_of(item).key in only
        (kept if chosen else left_out).append(item)
    if left_out:
        context.config.hook.pytest_deselected(items=left_out)
        items[:] = kept
    log.require_own_keys(items)


def runs_cases(session: pytest.Session) -> bool:
    """Whether a session is there to run its cases, and has any: not to list them or to tell what would run."""
    config = session.config
    return bool(session.items) and not (config.getoption("collectonly") or config.getoption(destination("doctor")))


def asked_for(config: pytest.Config) -> list[str]:
    """What pytest was asked to collect, relative to its root."""
    here, root = config.invocation_params.dir, config.rootpath.resolve()
    found = []
    for argument in config.args:
        path, colons, names = argument.partition("::")
        absolute = (here / path).resolve()
        if absolute.is_relative_to(root):
            found.append(f"{absolute.relative_to(root).as_posix()}{colons}{names}")
    return found


def keyword_filter(config: pytest.Config) -> Callable[[str], bool]:
    """Whether ``-k`` selects a test of a name."""
    text = config.getoption("keyword")
    if not text:
        return lambda name: True
    from _pytest.mark.expression import Expression

    expression = Expression.compile(text)

    def matches(name: str) -> bool:
        lowered = "/".join((name.lower(), Path(name.partition("::")[0]).name.lower()))
        return bool(expression.evaluate(lambda word, /, **_: word.lower() in lowered))

    return matches


def gone(context: SessionContext, baseline: Baseline) -> list[Entry]:
    """The stored cases that this run's selection asks for and that no test has any more."""
    config = context.config
    if config.getoption("lf", False) or config.getoption("stepwise", False):
        return []  # these select by what failed the last time, which says nothing of a case that is gone

    def in_scope(entry: Entry) -> bool:
        name, fields = entry.record.name, entry.record.fields
        return all(config.hook.pytest_perfgate_in_scope(config=config, name=name, fields=fields))

    return missing_cases.missing(
        baseline.entries,
        context.log.collected,
        arguments=asked_for(config),
        tiers=context.settings.tiers,
        matches=keyword_filter(config),
        in_scope=in_scope,
    )
