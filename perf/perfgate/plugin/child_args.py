"""What the processes that a controller starts are asked to run: an allow-list of this session's command line.

Passed on is what selects the cases, what sets the session up, and what changes the measured calls. Everything else
(verbosity, coverage, a debugger, files to write) stays with the controller: it would spoil times, or write twice.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from perfgate.lockstep.child_process import ADDOPTS
from perfgate.machine.source_files import is_installed
from perfgate.plugin.command_line import GROUPS, PREFIX, destination

SELECTION = (
    "-k",
    "-m",
    "--deselect",
    "--ignore",
    "--ignore-glob",
    "--pyargs",
    "--keep-duplicates",
    "--collect-in-virtualenv",
    "--continue-on-collection-errors",
)
"""pytest's options that choose what is collected."""
SET_UP = (
    "--config-file",
    "--rootdir",
    "--confcutdir",
    "--noconftest",
    "--import-mode",
    "--disable-plugin-autoload",
    "-p",
    "--override-ini",
    "--pythonwarnings",
    "--assert",
    "--runxfail",
)
"""pytest's options without which the same tests would run differently, or not at all."""
MEASURING = ("device", "quick", "all-cases", "measure-budget", "measure-precision", "no-pins")
"""perfgate's options that change which cases there are or how one is measured."""
PERFGATES = frozenset(destination(name) for _, _, options in GROUPS for name in options)
PATHS = ("--deselect", "--ignore", "--ignore-glob", "--config-file", "--rootdir", "--confcutdir")
DECIDED = ("cacheprovider", "terminal")
"""Plugins about which a controller decides for its processes."""
HOOK = "pytest_perfgate_measuring_options"


@dataclass(frozen=True)
class Given:
    """One option of the command line: ``names`` are all it has, ``spelled`` is the one that was used."""

    names: frozenset[str]
    spelled: str
    values: tuple[str, ...]
    destination: str

    def is_one_of(self, names: Sequence[str] | frozenset[str]) -> bool:
        return not self.names.isdisjoint(names)

    def words(self) -> list[str]:
        """The option as words of another command line."""
        if len(self.values) == 1 and (self.spelled.startswith("--") or self.values[0].startswith("-")):
            return [f"{self.spelled}={self.values[0]}"]
        return [self.spelled, *self.values]


class _Note(argparse.Action):
    """Keeps an option and its values as they were written."""

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        texts = values if isinstance(values, list) else [] if values is None else [values]
        assert option_string is not None
        namespace.given.append(Given(frozenset(self.option_strings), option_string, tuple(texts), self.dest))


ARGUMENTS: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()


def arguments(config: pytest.Config, say: Callable[[str], None]) -> tuple[str, ...]:
    """The command line of this session for another process; ``say`` is told once what of other plugins' is not in it.

    It is all that the child needs: the configuration file's ``addopts`` are among it, and the child ignores its own
    (see :mod:`perfgate.lockstep.child_process`).
    """
    if ARGUMENTS not in config.stash:
        passed, left_out = passed_on(config)
        config.stash[ARGUMENTS] = tuple(passed)
        if left_out:
            say(
                f"not passed on to the processes that measure: {shlex.join(left_out)}; a suite names other plugins' "
                f"options that change what is measured in its hook {HOOK}"
            )
    return config.stash[ARGUMENTS]


def passed_on(config: pytest.Config) -> tuple[list[str], list[str]]:
    """The words that another process is given, and those of other plugins' options that it is not."""
    paths, options = parsed(config._parser, whole_line(config))
    controllers_own = frozenset(name for names in config.hook.pytest_perfgate_own_options() for name in names)
    measuring = frozenset(name for names in config.hook.pytest_perfgate_measuring_options() for name in names)
    suites = measuring | _registered_by(config, lambda file: _is_of_project(file, config.rootpath))
    known = controllers_own | _registered_by(config, _is_of_pytest)
    passed, left_out = [_portable(path, config) for path in paths], []
    own = {destination(name): name for name in MEASURING}
    for option in options:
        if option.destination in PERFGATES:
            if option.destination in own:
                passed += replace(option, spelled=PREFIX + own[option.destination]).words()
        elif _is_allowed(option) or (option.is_one_of(suites) and not option.is_one_of(controllers_own)):
            values = [_portable(value, config) for value in option.values] if option.is_one_of(PATHS) else option.values
            passed += replace(option, values=tuple(values)).words()
        elif not option.is_one_of(known):
            left_out += option.words()
    return passed, left_out


def whole_line(config: pytest.Config) -> list[str]:
    """The command line as pytest has put it together."""
    given = [os.fspath(argument) for argument in config.invocation_params.args]
    return [*config.getini("addopts"), *shlex.split(os.environ.get(ADDOPTS, "")), *given]


def parsed(parser: pytest.Parser, line: Sequence[str]) -> tuple[list[str], list[Given]]:
    """The paths and the options of a command line, as a parser with all of pytest's options reads it."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, fromfile_prefix_chars="@")
    for action in parser.optparser._actions:
        if action.option_strings:
            reader.add_argument(*action.option_strings, action=_Note, nargs=action.nargs, dest=action.dest)
    reader.add_argument("paths", nargs="*")
    found = reader.parse_intermixed_args(line, argparse.Namespace(given=[]))
    return found.paths, found.given


def _is_allowed(option: Given) -> bool:
    if option.spelled == "-p":
        return option.values[0].strip().removeprefix("no:") not in DECIDED
    return option.is_one_of(SELECTION) or option.is_one_of(SET_UP)


def _portable(text: str, config: pytest.Config) -> str:
    """A path or node id of the project, relative to where pytest runs: one side of a comparison may run in another
    checkout, and must not collect this one."""
    path, *rest = text.split("::")
    if os.path.isabs(path) and Path(path).is_relative_to(config.rootpath):
        path = os.path.relpath(path, config.invocation_params.dir)
    return "::".join([path, *rest])


def _registered_by(config: pytest.Config, wanted: Callable[[Path], bool]) -> frozenset[str]:
    """The options of plugins whose file is ``wanted``. pytest does not keep who registered an option, so their hooks
    are called once more, with a parser of their own."""
    parser = pytest.Parser(_ispytest=True)
    given = {"parser": parser, "pluginmanager": config.pluginmanager}
    for hook in config.hook.pytest_addoption.get_hookimpls():
        code = getattr(inspect.unwrap(hook.function), "__code__", None)
        if code is None or hook.wrapper or hook.hookwrapper or not wanted(Path(code.co_filename)):
            continue
        with contextlib.suppress(Exception):  # somebody else's code; what it would have registered is not passed on
            hook.function(*(given[name] for name in hook.argnames))
    return frozenset(name for action in parser.optparser._actions for name in action.option_strings)


def _is_of_project(file: Path, root: Path) -> bool:
    inside = file.is_relative_to(root) and not is_installed(file, root)
    return inside or file.name == "conftest.py"


def _is_of_pytest(file: Path) -> bool:
    """Whether a plugin is pytest's or pytest-benchmark's."""
    return file.parent.name == "pytest_benchmark" or "_pytest" in file.parts
