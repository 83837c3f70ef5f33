"""What a metric's class states, and the common ways of being judged."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, ClassVar, Protocol

from perfgate.compare.intervals import RatioEstimate
from perfgate.compare.known_time import Estimated, NotJudged, Time
from perfgate.compare.metric_verdict import Finding, judge_exact, judge_ratio
from perfgate.compare.tolerances import Tolerances
from perfgate.records.record import Better, Kind, Metric, Record

SHORTEST_S = 1e-3
"""Times beside the latency that are shorter are told, not judged: what they take is mostly the machine's doing."""


def middle(values: Sequence[float], *, by_input: bool) -> float:
    """Of rounds of one input their median; of one round for each input the mean over the inputs."""
    return fmean(values) if by_input else median(values)


class EnergyCounter(Protocol):
    """Counts what the device, or the processor, has used: see :mod:`perfgate.machine.energy`."""

    @property
    def name(self) -> str: ...

    def read(self) -> Sequence[int]: ...

    def joules(self, before: Sequence[int], after: Sequence[int]) -> float: ...


class Now(Protocol):
    def now(self) -> float: ...


@dataclass(frozen=True)
class Surroundings:
    """What a metric can read while the timed rounds run: the session's clock (seconds), and an energy counter where
    there is one."""

    clock: Now
    energy: EnergyCounter | None = None


@dataclass(frozen=True)
class Seen:
    """What the passes over one case saw. Times are seconds a call: ``times_s`` by round, ``waited_s`` by the caller's
    clock where that differs, ``extra_s`` what results tell of themselves, by metric name. ``calls``: all calls of the
    timed rounds. ``by_input``: whether each round had an input of its own. ``tokens``, ``flops`` and ``bytes`` are what
    a call processes (0: not stated); ``operator_calls`` is None where nothing could count. Memory in bytes, None where
    it was not weighed; ``beside_bytes`` is what the meter told besides, by metric name. ``provenance`` is the
    record's: a metric may note there by what it was measured."""

    times_s: Sequence[float]
    calls: int
    by_input: bool = False
    waited_s: Sequence[float] = ()
    extra_s: Mapping[str, Sequence[float]] = field(default_factory=dict)
    tokens: float = 0
    flops: int = 0
    bytes: int = 0
    operator_calls: int | None = None
    weights_bytes: int | None = None
    peak_bytes: int | None = None
    resident_set_bytes: int | None = None
    beside_bytes: Mapping[str, int] = field(default_factory=dict)
    provenance: MutableMapping[str, Any] = field(default_factory=dict)

    @property
    def latency_s(self) -> float:
        """Seconds a call, as they are told: see :func:`middle`."""
        return middle(self.times_s, by_input=self.by_input)


@dataclass(frozen=True)
class Basis:
    """What a metric is judged by: both sides' records of the case, what is known of its time, what may differ, and
    whether both sides ran the same versions of the libraries."""

    before: Record
    after: Record
    time: Time
    tolerances: Tolerances
    same_versions: bool

    def both(self, name: str) -> tuple[Metric | None, Metric | None]:
        return self.before.metrics.get(name), self.after.metrics.get(name)

    @property
    def must_repeat(self) -> bool:
        """Whether nothing that the case depends on has changed."""
        return self.same_versions and isinstance(self.time, NotJudged)

    def beside(self, name: str) -> RatioEstimate | None:
        """The ratio of a time beside the latency."""
        return self.time.beside.get(name) if isinstance(self.time, Estimated) else None


class Quantity:
    """One metric. A subclass states its class variables and, if perfgate measures it, ``value``.

    ``how`` says in words how it is judged; where it is not, ``why_not`` says why, and ``how`` stays empty. ``place``
    orders a verdict's findings and a record's metrics.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    kind: ClassVar[Kind]
    better: ClassVar[Better] = "lower"
    how: ClassVar[str] = ""
    why_not: ClassVar[str] = ""
    place: ClassVar[int] = 50

    @classmethod
    def covers(cls, name: str) -> bool:
        """Whether the metric ``name`` is this one; a class of many names says which."""
        return name == cls.name

    # Measured ---------------------------------------------------------------------------------------------------------

    def begin(self, around: Surroundings) -> None:
        """Right before the timed rounds."""

    def end(self) -> None:
        """Right after them."""

    def value(self, seen: Seen) -> float | int | None:
        """The number to record, in ``unit``; None where it is not known here."""
        return None

    def recorded(self, seen: Seen) -> dict[str, Metric]:
        """What goes into the record, by name."""
        value = self.value(seen)
        return {} if value is None else {self.name: Metric(self.kind, self.unit, self.better, value)}

    # Judged -----------------------------------------------------------------------------------------------------------

    def judge(self, name: str, basis: Basis) -> Finding | None:
        """The finding about the metric called ``name``; None where there is nothing to say of it."""
        return None


class Told(Quantity):
    """A metric that is told and not judged; ``why_not`` is its reason."""

    kind: ClassVar[Kind] = "sampled"
    better: ClassVar[Better] = "none"


class Exact(Quantity):
    """A number that repeats from call to call: its two values alone are judged."""

    kind: ClassVar[Kind] = "exact"
    how = "at once, by its two values: within the tolerances exact_relative and, of bytes, exact_bytes"

    def judge(self, name: str, basis: Basis) -> Finding | None:
        before, after = basis.both(name)
        if before is None or after is None:
            return one_sided(name, before, after)
        return self.of_both(name, before, after, basis)

    def of_both(self, name: str, before: Metric, after: Metric, basis: Basis) -> Finding:
        """The finding where both sides have it."""
        return judge_exact(name, before, after, basis.tolerances)


class TimeBeside(Quantity):
    """A time beside the latency, compared in lockstep with the pairs that the latency takes. Where those do not decide
    it, it is undecided only if it is longer than it may be as far as can be seen: that asks for more pairs. Otherwise
    nothing is said."""

    kind = "sampled"
    unit = "s"
    how = "in lockstep, with the latency's pairs and within one error rate: tolerance time"
    shortest_s: ClassVar[float] = SHORTEST_S

    def tolerance(self, tolerances: Tolerances) -> float:
        """How much longer it may become, as a fraction."""
        return tolerances.time

    def judge(self, name: str, basis: Basis) -> Finding | None:
        estimate = basis.beside(name)
        if estimate is None:
            return None
        tolerance = self.tolerance(basis.tolerances)
        finding = judge_ratio(estimate, tolerance, metric=name)
        return None if finding.status == "INCONCLUSIVE" and estimate.value <= 1 + tolerance else finding


def one_sided(name: str, before: Metric | None, after: Metric | None) -> Finding | None:
    """The finding where a side lacks the metric; None where both do."""
    if after is not None:
        return Finding(name, "NEW", "not measured before")
    return None if before is None else Finding(name, "MISSING", "measured before, but not now")
