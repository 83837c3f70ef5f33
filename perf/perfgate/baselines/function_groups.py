"""The functions of all cases in a baseline's file: those that the same cases ran stand together once, by file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from perfgate.records.validate import RecordError, items, mapping, text, whole


def pack(functions: Mapping[str, frozenset[str] | None]) -> tuple[list[dict[str, list[str]]], dict[str, list[int]]]:
    """The groups, each with its functions' names by file; and by case the numbers of its groups. ``functions`` are by
    case, named like ``fixtures/linear.py:make``; a case of which they are not known has no numbers."""
    cases: dict[str, list[str]] = defaultdict(list)
    for case, found in sorted(functions.items()):
        for function in found or ():
            cases[function].append(case)
    together: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for function, ran_by in sorted(cases.items()):
        file, _, name = function.partition(":")
        together[tuple(ran_by)][file].append(name)
    numbers: dict[str, list[int]] = {case: [] for case, found in functions.items() if found is not None}
    for number, group in enumerate(together):
        for case in group:
            numbers[case].append(number)
    return [dict(group) for group in together.values()], numbers


def unpack(groups: Sequence[Any], numbers: Any) -> frozenset[str]:
    """The functions of the case that has these numbers.

    Raises:
        RecordError: a value is of the wrong type, or there is no such group.
    """
    found = set()
    for number in items("functions", numbers):
        if not 0 <= whole("functions", number) < len(groups):
            raise RecordError(f"functions: got {number}, there are {len(groups)} groups")
        for file, names in mapping("functions", groups[number]).items():
            found |= {f"{file}:{text('functions', name)}" for name in items("functions", names)}
    return frozenset(found)
