"""What a session can be asked for beside a plain run: one of the modes, each a plugin of its own."""

from __future__ import annotations

from typing import ClassVar, Protocol

import pytest

from perfgate.plugin import compare_mode, refresh_mode, versus_mode
from perfgate.plugin.session import SessionContext
from perfgate.report import Section


class Mode(Protocol):
    """A pytest plugin that is registered where its option was given."""

    replaces_suite: ClassVar[bool]
    """Whether the cases were measured elsewhere, so that the suite has nothing to report."""

    def sections(self) -> list[Section]:
        """Its part of the report; empty before it has done anything."""


MODE: pytest.StashKey[Mode] = pytest.StashKey()


def register(context: SessionContext) -> None:
    """Register the mode that the command line asks for.

    Raises:
        pytest.UsageError: a value makes no sense, or two modes were asked for.
    """
    config = context.config
    chosen: dict[str, Mode | None] = {
        "--perfgate-versus": versus_mode.plugin(context),
        "--perfgate-refresh-baseline": refresh_mode.plugin(context),
        "--benchmark-compare": compare_mode.plugin(context),
    }
    named = {name: mode for name, mode in chosen.items() if mode is not None}
    if len(named) > 1:
        raise pytest.UsageError(f"{' and '.join(named)} exclude each other: pass one of them")
    for name, mode in named.items():
        config.stash[MODE] = mode
        config.pluginmanager.register(mode, f"perfgate{name}")
