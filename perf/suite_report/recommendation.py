"""Which row to take: the fastest within the user's limits that keeps the model's quality, or the smallest of those that
are as fast as it; what other rows would change, and what the limits rule out.

Computed once, from the records; terminal, Markdown, page and JSON show the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from perfgate.compare.tolerances import EXACT_RELATIVE, TIME
from perfgate.records.record import Record
from perfgate.report import Column, Section, Table, Value, decimals, mebibytes, percent

from fixtures.limits import NO_LIMITS, Limits
from fixtures.quantization import schemes
from fixtures.scores import SCALE
from fixtures.synthetic import label_of

THROUGHPUT, MEMORY = "throughput_tokens_per_s", "peak_memory_bytes"
TOP1, HUMAN = "top1_agreement", "human_score"
QUALITY_NAMES = {TOP1: "top-1 agreement", HUMAN: "human score"}
KEPT = 0.95
"""The share of the unquantized model's quality that a row must keep to be taken, where the user asks for none. Chosen:
16 bits keep 97% and more, 4 bits on small models two thirds."""
UNQUANTIZED = ("32 bit", "16 bit")

COLUMNS = (
    Column("row", "row"),
    Column("standing", "standing", words=True),
    Column(THROUGHPUT, "tokens/s", decimals(1)),
    Column(MEMORY, "peak MiB", mebibytes),
    Column("quality", "quality", percent),
    Column("front", "Pareto front", words=True),
)


def label(record: Record) -> str:
    """A row's name for people."""
    return f"{record.fields['scheme']} + {record.fields['attention']}"


@dataclass(frozen=True)
class Candidate:
    """A row: tokens per second, peak memory in bytes, quality as a fraction (None where it is not known), and in words
    each limit that it breaks, with how far it is beyond it as a ratio above 1. ``keeps``: its quality is sufficient."""

    label: str
    key: str
    throughput: float
    memory: float
    quality: float | None
    broken: tuple[tuple[str, float], ...] = ()
    keeps: bool = True

    @property
    def excess(self) -> float:
        """How far beyond the limits it is at the worst; 1 where it breaks none."""
        return max((far for _, far in self.broken), default=1.0)


@dataclass(frozen=True)
class Recommendation:
    """What fits, those that keep the quality first, each the one to take of those after it; what does not fit, the
    nearest first; and the Pareto front: those rows within the user's quality than which no other is faster, smaller and
    better, in order of their memory. ``floor`` is the quality that a row must have to be taken, None where none is
    known. ``unjudged`` are rows of synthetic models, by the label that says why nothing is recommended from them."""

    limits: Limits
    quality_metric: str
    fitting: tuple[Candidate, ...]
    ruled_out: tuple[Candidate, ...]
    front: tuple[Candidate, ...]
    floor: float | None
    unjudged: tuple[tuple[Candidate, str], ...] = ()

    @property
    def rows(self) -> tuple[Candidate, ...]:
        """All of them."""
        return (*self.fitting, *self.ruled_out, *(one for one, _ in self.unjudged))


def quality(record: Record, metric: str) -> float | None:
    """The row's quality as a fraction: top-1 agreement, or the human score's place on its scale."""
    value = record.value(metric)
    if value is None or metric != HUMAN:
        return value
    low, high = SCALE
    return (value - low) / (high - low)


def recommend(rows: Sequence[Record], limits: Limits) -> Recommendation:
    """Judge the rows of one experiment. Quality is the human score if any row has one, else top-1 agreement."""
    judged = [row for row in rows if label_of(row.provenance) is None]
    metric = HUMAN if any(row.value(HUMAN) is not None for row in judged) else TOP1
    floor = _floor(judged, metric) if limits.quality is None else limits.quality
    measured = [one for row in judged if (one := _candidate(row, metric, limits)) is not None]
    candidates = [replace(one, keeps=floor is None or (one.quality or 0.0) >= floor) for one in measured]
    unjudged = [
        (replace(one, quality=None), why)
        for row in rows
        if (why := label_of(row.provenance)) is not None and (one := _candidate(row, metric, NO_LIMITS)) is not None
    ]
    fitting = _ranked([one for one in candidates if not one.broken])
    ruled_out = sorted((one for one in candidates if one.broken), key=lambda one: (one.excess, -one.throughput))
    good = [one for one in candidates if limits.quality is None or (one.quality or 0.0) >= limits.quality]
    front = sorted(
        (one for one in good if not any(_dominates(other, one) for other in good)), key=lambda one: one.memory
    )
    return Recommendation(limits, metric, tuple(fitting), tuple(ruled_out), tuple(front), floor, tuple(unjudged))


def _ranked(rows: Sequence[Candidate]) -> list[Candidate]:
    """Those that keep the quality first, each time the one to take of those that are left."""
    left, ranked = list(rows), []
    while left:
        ranked.append(_to_take([one for one in left if one.keeps] or left))
        left.remove(ranked[-1])
    return ranked


def _to_take(rows: Sequence[Candidate]) -> Candidate:
    """The fastest row; where others are as fast, the smallest of them; where others are as small, the faster one."""
    return max(_smallest(_fastest(rows)), key=lambda one: (one.throughput, -one.memory))


def _fastest(rows: Sequence[Candidate]) -> list[Candidate]:
    """The fastest row and those that are slower by no more than the gate allows: another run may turn them round."""
    most = max(one.throughput for one in rows)
    return [one for one in rows if one.throughput >= (1 - TIME) * most]


def _smallest(rows: Sequence[Candidate]) -> list[Candidate]:
    """The smallest row and those that are larger by no more than the gate allows."""
    least = min(one.memory for one in rows)
    return [one for one in rows if one.memory <= (1 + EXACT_RELATIVE) * least]


def _floor(rows: Sequence[Record], metric: str) -> float | None:
    """The usual share of the unquantized model's quality: of the best such row's, and of agreement with the
    unquantized model all there is."""
    whole = {name for name, one in schemes().items() if one.family in UNQUANTIZED}
    found = [quality(row, metric) for row in rows if row.fields["scheme"] in whole]
    known = [one for one in found if one is not None] or ([1.0] if metric == TOP1 else [])
    return KEPT * max(known) if known else None


def _candidate(row: Record, metric: str, limits: Limits) -> Candidate | None:
    throughput, memory, good = row.value(THROUGHPUT), row.value(MEMORY), quality(row, metric)
    if throughput is None or memory is None:
        return None
    broken = []
    if limits.memory_bytes is not None and memory > limits.memory_bytes:
        broken.append(
            (f"peak {mebibytes(memory)} MiB, over {mebibytes(limits.memory_bytes)}", memory / limits.memory_bytes)
        )
    if limits.quality is not None and good is None:
        broken.append((f"{QUALITY_NAMES[metric]} not known", inf))
    elif limits.quality is not None and good is not None and good < limits.quality:
        below = limits.quality / good if good > 0 else inf
        broken.append((f"{QUALITY_NAMES[metric]} {percent(good)}, below {percent(limits.quality)}", below))
    least = limits.throughput_tokens_per_s
    if least is not None and throughput < least:
        broken.append(
            (f"{throughput:,.1f} tokens/s, below {least:,.1f}", least / throughput if throughput > 0 else inf)
        )
    return Candidate(label(row), row.key, throughput, memory, good, tuple(broken))


def _dominates(one: Candidate, other: Candidate) -> bool:
    good, others = one.quality or 0.0, other.quality or 0.0
    no_worse = one.throughput >= other.throughput and one.memory <= other.memory and good >= others
    return no_worse and (one.throughput, one.memory, good) != (other.throughput, other.memory, others)


def sections(found: Recommendation) -> list[Section]:
    """The recommendation's section; none where no row has both a speed and a peak."""
    title = "Recommendation"
    if not (found.fitting or found.ruled_out):
        lead = [f"No row is recommended ({_why(found)})."]
        return [Section("recommendation", title, data=_data(found, None, None), lead=lead)] if found.unjudged else []
    best, runner_up = [*found.fitting[:2], None, None][:2]
    lead = [_best(best) if best is not None else _nearest(found.ruled_out[0])]
    paragraphs = [_asked(found)]
    if best is not None:
        paragraphs += _others(found)
    standing = {one.key: "fits" if one.keeps else "fits, less quality" for one in found.fitting} | {
        one.key: "ruled out" for one in found.ruled_out
    }
    standing |= {one.key: "not judged" for one, _ in found.unjudged}
    if best is not None:
        standing[best.key] = "recommended"
    if runner_up is not None:
        standing[runner_up.key] = "runner-up"
    on_front = {one.key for one in found.front}
    rows: list[dict[str, Value]] = [
        {
            "row": one.label,
            "key": one.key,
            "standing": standing[one.key],
            THROUGHPUT: one.throughput,
            MEMORY: one.memory,
            "quality": one.quality,
            "front": "yes" if one.key in on_front else "",
        }
        for one in found.rows
    ]
    notes = [f"{one.label}: ruled out: {'; '.join(text for text, _ in one.broken)}" for one in found.ruled_out]
    if found.unjudged:
        notes.append(f"{', '.join(one.label for one, _ in found.unjudged)}: not judged: {_why(found)}")
    data = _data(found, best, runner_up)
    table, detail = Table(COLUMNS, rows), ("table", "notes")
    return [Section("recommendation", title, paragraphs, table, notes, data, lead=lead, detail=detail)]


def _data(found: Recommendation, best: Candidate | None, runner_up: Candidate | None) -> dict[str, Any]:
    """What stands in results.json beside the rows."""
    return {
        "limits": vars(found.limits),
        "quality_metric": found.quality_metric,
        "quality_floor": found.floor,
        "best": None if best is None else best.key,
        "runner_up": None if runner_up is None else runner_up.key,
        **{name: one.key for name, one in (() if best is None else _extremes(found).items())},
        "nearest": found.ruled_out[0].key if best is None and found.ruled_out else None,
        "ruled_out": {one.key: [text for text, _ in one.broken] for one in found.ruled_out},
        "unjudged": {one.key: why for one, why in found.unjudged},
        "front": [one.key for one in found.front],
    }


def _why(found: Recommendation) -> str:
    """Why some rows are not judged, each reason once."""
    return "; ".join(dict.fromkeys(why for _, why in found.unjudged))


def _figures(one: Candidate) -> str:
    good = "not known" if one.quality is None else percent(one.quality)
    return f"{one.throughput:,.1f} tokens/s, peak {mebibytes(one.memory)} MiB, quality {good}"


def _best(best: Candidate) -> str:
    return f"Take {best.label}: {_figures(best)}."


def _nearest(nearest: Candidate) -> str:
    broken = "; ".join(text for text, _ in nearest.broken)
    return f"No row is within the limits; the nearest is {nearest.label}: {broken}."


def _asked(found: Recommendation) -> str:
    limits = found.limits
    said = [
        f"a peak of at most {mebibytes(limits.memory_bytes)} MiB" if limits.memory_bytes is not None else "",
        f"a quality of at least {percent(limits.quality)}" if limits.quality is not None else "",
        f"at least {limits.throughput_tokens_per_s:,.1f} tokens/s" if limits.throughput_tokens_per_s else "",
    ]
    wanted = ", ".join(one for one in said if one) or "none given (--max-memory, --min-quality, --min-throughput)"
    name = QUALITY_NAMES[found.quality_metric]
    kept = f"{KEPT:.0%} of the unquantized model's quality"
    alike = [one for one in found.fitting if one.keeps == found.fitting[0].keeps]
    asked = limits.quality is None and found.floor is not None
    lacking = asked and bool(alike) and not alike[0].keeps
    keep = asked and not lacking
    if alike and alike[0].throughput < max(one.throughput for one in alike):
        rows = f"rows that keep {kept}" if keep else "rows"
        taken = f"Of the {rows} within the limits, the smallest that is at most {TIME:.0%} slower than the fastest."
    else:
        row = f"row that keeps {kept}" if keep else "row"
        taken = f"The fastest {row} within the limits."
    why = f" None of them keeps {kept}." if lacking else ""
    return f"{taken}{why} Limits: {wanted}. Quality is {name}."


def _extremes(found: Recommendation) -> dict[str, Candidate]:
    """Of what is within the limits: the fastest, the smallest and the best row; of those as small as the smallest the
    best one, and of equals the faster one."""
    return {
        "fastest": max(found.fitting, key=lambda one: one.throughput),
        "smallest": max(_smallest(found.fitting), key=lambda one: (one.quality or 0.0, one.throughput)),
        "best_quality": max(found.fitting, key=lambda one: (one.quality or 0.0, one.throughput)),
    }


def _others(found: Recommendation) -> list[str]:
    """What the runner-up, the fastest, the smallest and the best row would change, each row once."""
    best, *others = found.fitting
    extremes: dict[str, list[str]] = {}
    for name, one in _extremes(found).items():
        extremes.setdefault(one.key, []).append(name.removesuffix("_quality"))
    roles = {one.key: ["runner-up"] for one in others[:1]}
    for key, names in extremes.items():
        roles.setdefault(key, []).append(f"the {' and '.join(names)} row")
    by_key = {one.key: one for one in others}
    said = [(", ".join(called), by_key[key]) for key, called in roles.items() if key in by_key]
    return [f"{role[0].upper()}{role[1:]}: {_change(one, best)}" for role, one in said]


def _change(other: Candidate, best: Candidate) -> str:
    """What another row would change."""
    slower = 1 - other.throughput / best.throughput if best.throughput else 0.0
    memory = other.memory - best.memory
    parts = [
        f"{percent(abs(slower))} {'slower' if slower >= 0 else 'faster'}",
        f"{mebibytes(abs(memory))} MiB {'more' if memory > 0 else 'less'} at the peak",
    ]
    if other.quality is not None and best.quality is not None:
        points = 100 * (other.quality - best.quality)
        parts.append(f"quality {points:+.1f} points")
    return f"{other.label} ({_figures(other)}) would be {', '.join(parts)}."
