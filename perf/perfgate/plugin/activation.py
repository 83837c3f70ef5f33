"""When perfgate does anything in a session: once a benchmark was collected, or an option of its own asks for it.

Read in every session, so nothing slow is imported before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from perfgate.plugin.command_line import PREFIX, destination

NAME = "perfgate-measuring"
"""The plugin of a session that measures: :mod:`perfgate.plugin.hooks`."""
COMPARE: pytest.StashKey[bool | str] = pytest.StashKey()
"""What ``--perfgate-compare`` named; or ``--benchmark-compare`` in a project that has set perfgate up, where it waits
for the first benchmark."""
WINDOWS = sys.platform == "win32"
ADOPTS: pytest.StashKey[bool] = pytest.StashKey()
"""Whether this session was asked for something of perfgate's by name: then tests that were written for pytest-benchmark
or pytest-codspeed are cases too."""
OWN, OWN_FIXTURE = "measure", "perfgate.plugin.entry"
"""perfgate's fixture, and where it is: a project may have one of its own of that name."""
WHOLE = "marker"
ADOPTED_FIXTURES: Mapping[str, str] = {
    "benchmark": "pytest_benchmark.plugin",
    "codspeed_benchmark": "pytest_codspeed.plugin",
}
"""Fixtures that a test measures with, and where each is."""
ADOPTED_MARKERS, MARKERS_PLUGIN = ("benchmark", "codspeed_benchmark"), "codspeed_plugin"
"""Markers by which a plugin, pytest-codspeed, measures a whole test that uses no such fixture. Without that plugin they
mean nothing of the kind: pytest-benchmark's own marker only sets options."""


def is_benchmark(item: pytest.Item) -> bool:
    """Whether an item measures, in this session."""
    return measured_by(item) is not None


def is_adopted(item: pytest.Item) -> bool:
    """Whether an item was written for pytest-benchmark or pytest-codspeed, and this session measures such tests."""
    return measured_by(item) not in (None, OWN)


def measured_by(item: pytest.Item) -> str | None:
    """What an item measures with, in this session: :data:`OWN`; a fixture of :data:`ADOPTED_FIXTURES`; :data:`WHOLE`,
    where a marker has it measured as a whole; or nothing."""
    if _uses(item, OWN, OWN_FIXTURE):
        return OWN
    if not item.config.stash.get(ADOPTS, False):
        return None
    for name, where in ADOPTED_FIXTURES.items():
        if _uses(item, name, where):
            return name
    whole = isinstance(item, pytest.Function) and item.config.pluginmanager.has_plugin(MARKERS_PLUGIN)
    return WHOLE if whole and any(item.get_closest_marker(name) is not None for name in ADOPTED_MARKERS) else None


def _uses(item: pytest.Item, name: str, where: str) -> bool:
    """Whether an item requests the fixture ``name`` of the module ``where``, or one of that name around it."""
    if name not in getattr(item, "fixturenames", ()):
        return False
    fixtures: Any = getattr(item, "_fixtureinfo")  # noqa: B009  # pytest's own, and not in its types
    for fixture in reversed(fixtures.name2fixturedefs.get(name, ())):
        if fixture.func.__module__ == where:
            return True
        if name not in fixture.argnames:
            return False
    return False


def configure(config: pytest.Config) -> None:
    """Begin at once where the command line or a parent process says that this session is perfgate's.

    Raises:
        pytest.UsageError: an option or setting makes no sense, or needs times where pytest-xdist is on or there is none
            of what comparisons need.
    """
    compare = getattr(config.option, "benchmark_compare", None)
    asked = list(_asks(config))
    ours = is_child() or bool(asked)
    config.stash[ADOPTS] = ours
    if (baseline := config.getoption(destination("compare"))) is not None:
        config.stash[COMPARE] = baseline
    compares = not ours and bool(compare) and is_set_up(config)
    timed = [name for name in asked if name != PREFIX + "doctor"] or (["--benchmark-compare"] if compares else [])
    if timed and config.getoption("dist", "no") != "no":
        raise pytest.UsageError(
            f"{timed[0]} needs times, and pytest-xdist (-n, --dist) runs benchmarks as "
            "plain tests, beside each other: add -n 0"
        )
    if timed and WINDOWS:
        raise pytest.UsageError(
            f"{timed[0]} compares processes that inherit their pipes by number, which Windows does not have: use "
            "Linux, macOS or WSL"
        )
    if ours:
        activate(config)
    elif compares:
        assert compare is not None
        config.stash[COMPARE] = compare
        config.option.benchmark_compare = []  # pytest-benchmark would look into its own storage


def _asks(config: pytest.Config) -> Iterator[str]:
    """The options given that make a session perfgate's before a benchmark is collected."""
    for name in ("versus", "compare", "refresh-baseline", "doctor"):
        if config.getoption(destination(name)) not in (None, False):
            yield PREFIX + name


def is_child() -> bool:
    """Whether perfgate started this process to measure for another one."""
    if not any(name.startswith("PERFGATE_") for name in os.environ):
        return False  # nearly always; what knows the names is slow to import
    from perfgate.lockstep import fresh_process

    return is_worker() or fresh_process.only() is not None


def is_worker() -> bool:
    """Whether this process is one side of a comparison, before it has opened its pipes."""
    if not any(name.startswith("PERFGATE_") for name in os.environ):
        return False
    from perfgate.lockstep import channel

    return channel.PIPES in os.environ


def is_set_up(config: pytest.Config) -> bool:
    """Whether the project's pyproject.toml has a table ``[tool.perfgate]``, right or wrong."""
    import tomllib

    try:
        text = (config.rootpath / "pyproject.toml").read_text(encoding="utf-8")
        tools = tomllib.loads(text).get("tool", {})
    except (OSError, ValueError):
        return False
    return isinstance(tools, dict) and "perfgate" in tools


def is_active(config: pytest.Config) -> bool:
    """Whether this session is perfgate's."""
    return config.pluginmanager.has_plugin(NAME)


def activate(config: pytest.Config) -> None:
    """Let perfgate measure, judge and report in this session, from now on.

    Raises:
        pytest.UsageError: an option or setting makes no sense, or the device does not exist.
    """
    if not is_active(config):
        from perfgate.plugin import hooks

        hooks.start(config)
        config.pluginmanager.register(hooks, NAME)


def collected(item: pytest.Item) -> None:
    """Make a collected benchmark ready for being measured; the first one activates perfgate."""
    if is_benchmark(item):
        activate(item.config)
        from perfgate.plugin import hooks

        hooks.prepare(item)


def give_compare_back(config: pytest.Config) -> None:
    """Let pytest-benchmark compare where no benchmark of perfgate's was collected."""
    if COMPARE in config.stash and not is_active(config):
        benchmarks = config._benchmarksession  # type: ignore[attr-defined]  # set by pytest-benchmark
        benchmarks.compare = config.stash[COMPARE]
        benchmarks.handle_loading()
