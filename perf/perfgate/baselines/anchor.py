"""Slow creep: how far a case has come since its anchor, over refreshes of which each stayed within the tolerance.

Stored times of different days cannot tell that: machines drift. Each refresh is judged in lockstep against the one
before, and what these comparisons found adds up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from perfgate.baselines.file_format import Rows
from perfgate.compare.case_verdict import Verdict
from perfgate.compare.metric_verdict import LATENCY, percent
from perfgate.compare.tolerances import TolerancesOf
from perfgate.records.validate import RecordError, finite, items, mapping, text, whole

if TYPE_CHECKING:
    from perfgate.baselines.store import Entry, Refresh


@dataclass(frozen=True)
class Anchor:
    """The refresh that a case was last accepted at, and what has added up since: ``log_ratio`` is log(time now / time
    then), and its interval reaches ``half_width`` to each side, the root of the sum of the squares of the refreshes'
    own: they are independent."""

    date: str
    reason: str
    log_ratio: float = 0.0
    half_width: float = 0.0

    @property
    def ratio(self) -> float:
        """Time now / time then."""
        return math.exp(self.log_ratio)

    @property
    def at_least(self) -> float:
        """The lower end of the ratio's interval."""
        return math.exp(self.log_ratio - self.half_width)

    def after(self, verdict: Verdict | None) -> Anchor:
        """With what one more refresh's verdict found; a case whose time was not compared has not changed."""
        time = next((one for one in (verdict.findings if verdict else ()) if one.metric == LATENCY), None)
        if time is None or time.ratio is None:
            return self
        half = math.log(time.high / time.low) / 2 if time.low and time.high else 0.0
        return replace(
            self, log_ratio=self.log_ratio + math.log(time.ratio), half_width=math.hypot(self.half_width, half)
        )


def of(refresh: Refresh) -> Anchor:
    """An anchor at a refresh."""
    return Anchor(refresh.date, refresh.reason)


def carried(
    before: Mapping[str, Entry], new: Mapping[str, Entry], verdicts: Mapping[str, Verdict], anew: Callable[[str], bool]
) -> dict[str, Entry]:
    """The new entries with their anchors: what the entries before had, and what this refresh found on top. A new one
    begins where a person says so (``anew``, by key), where there was no case, and where a decided change is stored:
    that was accepted, or is an improvement, and is the standard from now on."""
    found = {}
    for key, entry in new.items():
        old, verdict = before.get(key), verdicts.get(key)
        decided = verdict is not None and verdict.status in ("REGRESSED", "IMPROVED")
        if old is None or decided or anew(key):
            anchor = of(entry.refresh)
        else:
            anchor = (old.anchor or of(old.refresh)).after(verdict)
        found[key] = replace(entry, anchor=anchor)
    return found


def beyond(entries: Mapping[str, Entry], tolerances_of: TolerancesOf) -> list[str]:
    """The cases that are surely slower than their tolerance since their anchor, in words."""
    said = []
    for key, entry in entries.items():
        anchor, tolerance = entry.anchor, tolerances_of(key).time
        if anchor is not None and anchor.at_least > 1 + tolerance:
            said.append(
                f"{key}: slower by {anchor.ratio - 1:.1%} in all (at least {anchor.at_least - 1:.1%}) since its anchor "
                f"of {anchor.date} ({anchor.reason}), a bit at each refresh, and the tolerance is "
                f'{percent(tolerance)}; to accept it and begin anew, add --perfgate-anchor "{key}"'
            )
    return said


def farthest(entries: Mapping[str, Entry]) -> str | None:
    """Which case has become slowest since its anchor, in words; None where nothing has added up."""
    moved = {key: one.anchor for key, one in entries.items() if one.anchor is not None and one.anchor.half_width > 0}
    if not moved:
        return None
    key, anchor = max(moved.items(), key=lambda one: one[1].log_ratio)
    return f"Since their anchors: {key} has changed most, by {anchor.ratio - 1:+.1%} since {anchor.date}"


def pack(anchors: Mapping[str, Anchor | None]) -> tuple[list[dict[str, str]], dict[str, list[float]]]:
    """For a baseline's file: the anchors' refreshes, each once, and by case the number of its refresh with the two
    numbers that have added up."""
    refreshes = Rows()
    numbers = {
        key: [refreshes.number({"date": one.date, "reason": one.reason}), one.log_ratio, one.half_width]
        for key, one in anchors.items()
        if one is not None
    }
    return refreshes.rows, numbers


def unpack(refreshes: list[Any], stored: Any) -> Anchor:
    """The anchor of a case.

    Raises:
        RecordError: a value is of the wrong type or impossible.
        KeyError: a field is missing.
    """
    values = items("anchor", stored)
    if len(values) != 3:
        raise RecordError(f"anchor: got {len(values)} values, expected 3")
    number, log_ratio, half_width = whole("anchor", values[0]), finite("anchor", values[1]), finite("anchor", values[2])
    if not 0 <= number < len(refreshes) or half_width < 0:
        raise RecordError(f"anchor: got {stored!r}; there are {len(refreshes)} refreshes")
    refresh = mapping("anchors", refreshes[number])
    return Anchor(text("date", refresh["date"]), text("reason", refresh["reason"]), float(log_ratio), float(half_width))
