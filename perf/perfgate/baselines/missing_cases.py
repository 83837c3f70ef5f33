"""Which stored cases a run was asked for and did not find: pure functions over keys, test names and selections."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import PurePosixPath

from perfgate.baselines.store import Entry


def missing(
    entries: Mapping[str, Entry],
    collected: Collection[str],
    *,
    arguments: Sequence[str],
    tiers: Collection[str],
    matches: Callable[[str], bool],
    in_scope: Callable[[Entry], bool],
) -> list[Entry]:
    """The stored cases that this run's selection asks for and that no longer exist.

    Args:
        entries: what is stored, by key.
        collected: the keys of everything collected, before anything was deselected.
        arguments: what pytest was asked to collect, relative to its root: folders, files, ``file::test``.
        tiers: which of the stored tiers run.
        matches: whether ``-k`` selects a test of this name.
        in_scope: whether the suite's own options select the case.
    """
    return [
        entry
        for key, entry in entries.items()
        if key not in collected
        and entry.tier in tiers
        and any(_asks_for(argument, entry.node) for argument in arguments)
        and matches(entry.node)
        and in_scope(entry)
    ]


def _asks_for(argument: str, node: str) -> bool:
    path, *names = argument.split("::")
    file, *parts = node.split("::")
    if names:  # a function's name stands for all its cases
        bare = [part.partition("[")[0] for part in parts]
        return path == file and names in (parts[: len(names)], bare[: len(names)])
    return path in ("", ".") or PurePosixPath(file).is_relative_to(path)
