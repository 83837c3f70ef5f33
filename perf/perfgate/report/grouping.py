"""What is said of cases, in lines: those of which the same is said share one."""

from __future__ import annotations

from collections.abc import Iterable

NAMED = 5
"""Cases that a shared line names; the tables have all of them."""


def lines(said: Iterable[tuple[str, str]]) -> list[str]:
    """From (case, text) pairs: ``case: text`` for each text of one case, and for a text of several one line with their
    number and the first names. In the order in which each text is first said."""
    cases: dict[str, list[str]] = {}
    for case, text in said:
        cases.setdefault(text, []).append(case)
    return [_line(text, own) for text, own in cases.items()]


def _line(text: str, cases: list[str]) -> str:
    if len(cases) == 1:
        return f"{cases[0]}: {text}"
    more = len(cases) - NAMED
    return f"{text}: {len(cases)} cases: {', '.join(cases[:NAMED])}{f' and {more} more' if more > 0 else ''}"
