"""Which cases of a comparison the next pair of processes takes, so that a budget too small for all decides some.

With more cases than the budget can decide, a pair that takes all of them leaves all of them undecided. Which case gets
how many pairs may depend on what was seen: the intervals hold for every case at every look (see
:func:`perfgate.compare.intervals.paired_intervals`). Pure functions; times in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from perfgate.compare.intervals import LOOKS
from perfgate.records.case import benchmark_of

HOPELESS_AFTER, HOPELESS_PAIRS = 10, 3 * LOOKS[-1]
"""A case that seems to need more than so many pairs, once it has as many as the first says, gets no more: exactly at
the tolerance 13 pairs in place of 30, for 1% of the verdicts elsewhere (4% of those a percent below the tolerance).
``tests/perfgate/compare/test_error_rates.py`` simulates it."""
TYPICAL_PAIRS = 5
"""What a case takes of which nothing is known yet: so many decide 83% of unchanged cases at 5%, simulated with standard
deviations of 0.5-3% between pairs (69% where one pair in twenty is an outlier)."""
SCREENED = 0.5
"""Where all cases can be looked at once within this share of the time left, they are: then it is known what each of
them takes, and what is far off is found wherever it is."""


@dataclass(frozen=True)
class OpenCase:
    """An undecided case. ``pairs`` it has; ``needed`` in all to be decided, as far as can be guessed (None before its
    first look, infinite where pairs do not help); ``pair_s`` that each took (None before its first), which is similar
    within a ``group``; ``urgent``: it comes before those that are not."""

    key: str
    pairs: int
    needed: float | None
    pair_s: float | None
    group: str = ""
    urgent: bool = False


def expected_s(cases: Sequence[OpenCase], start_up_s: float) -> float:
    """About how long it takes to decide all of these, those without a guess after ``TYPICAL_PAIRS``. Each pair of
    processes starts once for all that it takes."""
    return _Taken(start_up_s).take(_guessed(cases, TYPICAL_PAIRS)).seconds


def for_next_pair(cases: Sequence[OpenCase], left_s: float, start_up_s: float) -> set[str]:
    """The keys of those that the next pair takes, of ``cases`` in the order of their importance.

    Those that had no look yet, where the time left suffices to look at all of them. Then each that can be decided in
    the time left, together with those taken before it: the urgent ones in their order, first those that have pairs,
    because these would be lost; then the others, first those that have the least to go, so that as many as possible are
    decided. Last of either come those that pairs do not seem to help. They get a few all the same, which cost no start
    in the others' pairs. Where not even one can be decided, all: then at least some large changes show. Always one of
    each group whose cost is not known: else the others might cost it its turn.
    """
    looks = zip(cases, _guessed(cases, LOOKS[0]), strict=True)
    taken = _Taken(start_up_s).take([guessed for case, guessed in looks if case.needed is None])
    if taken.seconds > SCREENED * left_s:
        taken = _Taken(start_up_s)
    for case in sorted(_guessed(cases, TYPICAL_PAIRS), key=_rank):
        if case.key not in taken.keys and taken.with_(case) <= left_s:
            taken.take([case])
    known = {case.group for case in cases if case.pair_s is not None}
    samples = {case.group: case.key for case in reversed(cases) if case.group not in known}
    return (taken.keys or {case.key for case in cases}) | set(samples.values())


def neighbours_together(keys: Sequence[str], collected: Sequence[str], *, sampled: bool) -> list[str]:
    """The cases of a benchmark one after the other, as they were collected: neighbours share what they load, a model
    for instance. The benchmark with the most important case comes first. ``sampled``: before that one case of each, so
    that what the others take can be guessed."""
    place = {key: number for number, key in enumerate(collected)}
    ranks: dict[str, int] = {}
    for number, key in enumerate(keys):
        ranks.setdefault(benchmark_of(key), number)
    ordered = sorted(keys, key=lambda key: (ranks[benchmark_of(key)], place.get(key, len(place))))
    samples = {benchmark_of(key): key for key in reversed(ordered)} if sampled else {}
    return sorted(ordered, key=lambda key: samples.get(benchmark_of(key)) != key)


def _rank(case: OpenCase) -> tuple[bool, bool, float]:
    """By which a guessed case is taken before or after others."""
    return not case.urgent, case.needed == math.inf, case.pairs == 0 if case.urgent else _left(case)[1]


def _guessed(cases: Sequence[OpenCase], pairs: int) -> list[OpenCase]:
    """Those without a guess at so many pairs; those without a cost at the mean of their group's, or of all others'."""
    costs: dict[str | None, list[float]] = {}
    for case in cases:
        if case.pair_s is not None:
            for group in (case.group, None):
                costs.setdefault(group, []).append(case.pair_s)
    means = {group: fmean(known) for group, known in costs.items()}
    return [
        replace(
            case,
            needed=pairs if case.needed is None else case.needed,
            pair_s=means.get(case.group, means.get(None, 0.0)) if case.pair_s is None else case.pair_s,
        )
        for case in cases
    ]


def _left(case: OpenCase) -> tuple[float, float]:
    """The pairs that a guessed case still needs, and its own seconds in them."""
    assert case.needed is not None, "guessed"
    assert case.pair_s is not None, "guessed"
    pairs = max(1.0, (HOPELESS_AFTER if case.needed == math.inf else case.needed) - case.pairs)
    return pairs, pairs * case.pair_s


@dataclass
class _Taken:
    """Guessed cases that are to be decided together: the seconds of all, the pairs of the one that needs most."""

    start_up_s: float
    own_s: float = 0.0
    pairs: float = 0.0
    keys: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        return self.own_s + self.start_up_s * self.pairs

    def with_(self, case: OpenCase) -> float:
        """The seconds with one more."""
        pairs, own_s = _left(case)
        return self.own_s + own_s + self.start_up_s * max(self.pairs, pairs)

    def take(self, cases: Iterable[OpenCase]) -> _Taken:
        for case in cases:
            pairs, own_s = _left(case)
            self.own_s, self.pairs = self.own_s + own_s, max(self.pairs, pairs)
            self.keys.add(case.key)
        return self
