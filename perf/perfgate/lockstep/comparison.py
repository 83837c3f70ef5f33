"""A/B in lockstep: two environments take turns at the same cases, pair of processes by pair, until all is decided.

Within a pair both sides hold the same case and run it in short blocks, A B, B A, ..., so that drift cancels; a pair
keeps a bias of its own that no number of blocks removes, so there are several fresh pairs and the pair is the unit of
the statistics. Exact metrics are compared once, in the first pair. A case of which the device holds only one side is
measured apart, one process after the other: then the machine's drift stays in, and only large changes show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Protocol

from perfgate.compare import metrics
from perfgate.compare.case_verdict import Estimated, Time, Undecided, Verdict, judge
from perfgate.compare.intervals import LOOKS, RatioEstimate, paired_intervals, pairs_needed
from perfgate.compare.metric_verdict import LATENCY
from perfgate.compare.tolerances import TolerancesOf
from perfgate.lockstep import child_process, pair, scheduling
from perfgate.lockstep.environments import Side
from perfgate.lockstep.scheduling import HOPELESS_AFTER, HOPELESS_PAIRS, OpenCase
from perfgate.lockstep.worker_client import Worker, WorkerError
from perfgate.measure.clocks import Clock
from perfgate.records.case import benchmark_of
from perfgate.records.record import Record


class Display(Protocol):
    """Where a comparison tells how far it is."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def show(self, text: str) -> None:
        """A line that the next one replaces; where lines cannot be replaced, one a minute stays."""


@dataclass(frozen=True)
class Plan:
    """How a comparison runs. ``budget_s`` bounds all of it, start-up included; ``arguments`` go to both sides' pytest;
    ``tolerances_of`` tells what may differ in a case, by its key; ``alpha`` is the chance of calling anything unchanged
    changed; ``urgent`` cases come first where the budget is too small for all, in the order of the comparison's keys;
    ``apart`` holds every case on one side at a time; ``old_keys`` are side A's keys of cases that were
    renamed since; ``exact``: each case's first pair weighs and counts a call and checks its result too, and the first
    pair takes every case, whatever the budget; ``faults`` (for tests) are injected into side B; ``all_cores`` are the
    keys of the cases that run on all cores instead of ``core``, in processes of their own."""

    arguments: tuple[str, ...]
    budget_s: float
    tolerances_of: TolerancesOf
    alpha: float
    log_dir: Path
    core: int | None = None
    apart: bool = False
    old_keys: Mapping[str, str] = field(default_factory=dict)
    urgent: frozenset[str] = frozenset()
    exact: bool = True
    faults: tuple[str, ...] = ()
    all_cores: frozenset[str] = frozenset()


@dataclass
class Comparison:
    """One case on both sides. ``log_ratios``: log(time of B / time of A), one for each pair; ``times_s``: each side's
    median seconds a call in each pair; ``beside_log_ratios``: the ratios of its other times, by metric; ``records``:
    what each side's exact pass measured, or how the case ended there; ``failures``: how a side failed the first time,
    which decides nothing: it is tried again; ``doubts``: why pairs were not counted; ``apart``: the device holds one
    side at a time; ``tries``: pairs that took it, counted or not; ``pair_s``: seconds that the last of them took. The
    first one also imports what the next ones find imported. ``needed``: about how many pairs would decide each of its
    times, by metric, None where that cannot be guessed. ``absent``: why a side does not have it, as far
    as is known. ``all_cores``: it runs on all cores. ``urgent``: it comes before those that are not."""

    key: str
    benchmark: str
    apart: bool = False
    log_ratios: list[float] = field(default_factory=list)
    times_s: dict[str, list[float]] = field(default_factory=lambda: {"A": [], "B": []})
    beside_log_ratios: dict[str, list[float]] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    failures: dict[str, Record] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    estimate: RatioEstimate | None = None
    beside: dict[str, RatioEstimate] = field(default_factory=dict)
    verdict: Verdict | None = None
    tries: int = 0
    pair_s: float | None = None
    needed: dict[str, int | None] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    all_cores: bool = False
    urgent: bool = False

    @property
    def decided(self) -> bool:
        """Whether more pairs would tell nothing: every metric is decided, or a side does not get through. Of a case
        that has REGRESSED anyway the latency is enough."""
        if self.verdict is None or self.pending:
            return False
        if not self.works:
            return True
        undecided = [one.metric for one in self.verdict.findings if one.status == "INCONCLUSIVE"]
        if self.verdict.status == "REGRESSED":
            undecided = [metric for metric in undecided if metric == LATENCY]
        return self.estimate is not None and not undecided

    @property
    def pending(self) -> list[str]:
        """The sides that failed at their first try and have not been tried again."""
        return [name for name in self.failures if name not in self.records]

    @property
    def works(self) -> bool:
        """Whether both sides have the case and measured it, as far as they got."""
        return len(self.records) == 2 and all(record.status == "measured" for record in self.records.values())

    @property
    def mean_times_s(self) -> tuple[float, float] | None:
        """Both sides' seconds a call, over the pairs that count."""
        return (fmean(self.times_s["A"]), fmean(self.times_s["B"])) if self.log_ratios else None

    @property
    def time(self) -> Time:
        """What is known of the ratio of the sides' times."""
        if self.estimate is None and self.doubts:
            return Undecided(f"no pair could be trusted: {'; '.join(self.doubts)}", self.mean_times_s)
        return Estimated(self.estimate, self.needed.get(LATENCY), self.mean_times_s, self.beside)

    @property
    def group(self) -> str:
        """Cases whose spread between pairs is similar."""
        where = " on all cores" if self.all_cores else ""
        return f"{self.benchmark}{where}{' apart' if self.apart else ''}"

    @property
    def open_case(self) -> OpenCase:
        """What choosing the next pair's cases goes by; more pairs than the last look's decide nothing."""
        guesses = self._guesses
        needed = max(math.inf if pairs > LOOKS[-1] else pairs for pairs in guesses) if guesses else None
        return OpenCase(self.key, len(self.log_ratios), needed, self.pair_s, self.group, self.urgent)

    @property
    def hopeless(self) -> bool:
        """Whether it lies so near to its tolerances that the pairs it may have will not tell on which side."""
        return len(self.log_ratios) >= HOPELESS_AFTER and bool(self._guesses) and min(self._guesses) > HOPELESS_PAIRS

    @property
    def _guesses(self) -> list[float]:
        """About how many pairs decide each time that is open; none before the first look."""
        if self.estimate is None or self.verdict is None:
            return []
        open_ones = [one.metric for one in self.verdict.findings if one.status == "INCONCLUSIVE"]
        needed = [self.needed.get(metric) for metric in open_ones or [LATENCY]]
        return [math.inf if pairs is None else pairs for pairs in needed]

    def take(self, taken: pair.Taken, took_s: float) -> None:
        """Add what a pair found in so many seconds. The record of the exact pass stays, unless the case ended otherwise
        since; a side that failed once is tried again."""
        if self.pending:
            self.verdict = None  # it only told of the first failure
        self.tries += 1
        self.pair_s = took_s
        self.absent |= taken.absent
        for name, record in taken.records.items():
            if record.status == "measured":
                self.records.setdefault(name, record)
            elif record.status == "failed" and name not in self.failures:
                self.failures[name] = record
            else:
                self.records[name] = record
        told = [f"{name}: {doubt}" for name, doubts in taken.doubts.items() for doubt in doubts]
        self.doubts += [doubt for doubt in told if doubt not in self.doubts]
        if taken.log_ratio is not None:
            self.log_ratios.append(taken.log_ratio)
            for name, seconds in taken.times_s.items():
                self.times_s[name].append(seconds)
            for metric, by_side in taken.beside_s.items():
                if len(by_side) == 2 and min(by_side.values()) >= metrics.time_beside(metric).shortest_s:
                    self.beside_log_ratios.setdefault(metric, []).append(math.log(by_side["B"] / by_side["A"]))


class Lockstep:
    """A comparison of side B (head) with side A (base) over the cases called ``keys``. ``ended`` is why it ended before
    its time, if it did."""

    def __init__(self, base: Side, head: Side, keys: Sequence[str], plan: Plan, clock: Clock, display: Display) -> None:
        self.sides = {"A": base, "B": head}
        self.plan = plan
        self.cases = {
            key: Comparison(
                key, benchmark_of(key), plan.apart, all_cores=key in plan.all_cores, urgent=key in plan.urgent
            )
            for key in keys
        }
        self.pairs = 0
        self._clock = clock
        self._display = display
        self._started = clock.now()
        self._starts, self._starting_s = 0, 0.0
        self.ended: str | None = None

    @property
    def left_s(self) -> float:
        """Seconds of the budget that remain."""
        return self.plan.budget_s - (self._clock.now() - self._started)

    @property
    def undecided(self) -> list[Comparison]:
        return [case for case in self.cases.values() if not case.decided]

    @property
    def open(self) -> list[Comparison]:
        """The undecided cases that the plan has another look at."""
        return [case for case in self.undecided if case.tries < LOOKS[-1] and not case.hopeless]

    @property
    def start_up_s(self) -> float:
        """What starting both sides' processes took, on average."""
        return self._starting_s / self._starts if self._starts else 0.0

    @property
    def needed_s(self) -> float | None:
        """About how many seconds would decide every case that the plan's pairs can decide; None where that is none."""
        unspent = [replace(case.open_case, pairs=0) for case in self.undecided]
        helped = [one for one in unspent if one.needed != math.inf]
        return scheduling.expected_s(helped, self.start_up_s) if helped and self.pairs else None

    def run(self) -> None:
        """Make pairs until every case is decided or the budget ends, or until a side that has started before does not
        start twice in a row.

        Raises:
            WorkerError: a side does not even start.
        """
        again = False
        while self.open and self.left_s > self.start_up_s:  # a pair takes what fits into the rest, and ends with it
            try:
                self._pair()
            except WorkerError as wrong:
                if not self._starts:
                    raise
                if again:
                    self.ended = str(wrong)
                    self._display.say(f"the comparison ends here: {wrong}")
                    return
                again = True
                self._display.say(f"{wrong}; trying once more")
                continue
            finally:  # on Ctrl-C too: what a broken-off pair found counts
                self._decide()
            again = False
            self.pairs += 1
            self._display.show(f"pair {self.pairs}: {self._state()}")

    def _state(self) -> str:
        decided = len(self.cases) - len(self.undecided)
        return f"{decided} of {len(self.cases)} cases decided, {max(self.left_s, 0):.0f} s of the budget left"

    def _pair(self) -> None:
        """One pair for the open cases that it takes: those side by side first, on one core and then on all, then those
        apart."""
        for all_cores in (False, True):
            waiting = [case for case in self.open if not case.apart and case.all_cores is all_cores]
            while self._next(waiting) is not None:
                self._side_by_side(waiting)
        waiting = [case for case in self.open if case.apart]
        while (case := self._next(waiting)) is not None:
            waiting.remove(case)
            self._show(case)
            start = self._clock.now()
            exact, turn = self._exact(case), self._turn(case)
            begin = partial(self._start, all_cores=case.all_cores)
            taken = pair.apart(begin, self._keys(case), self._order, exact=exact, turn=turn)
            case.take(taken, self._clock.now() - start)

    def _next(self, waiting: Sequence[Comparison]) -> Comparison | None:
        """The first waiting case that this pair takes, as far as is known now; None where there is no such case, or no
        time."""
        if self.pairs == 0 and self.plan.exact:
            return next(iter(waiting), None)
        if self.left_s <= 0 or not waiting:
            return None
        taken = scheduling.for_next_pair([case.open_case for case in self.open], self.left_s, self.start_up_s)
        return next((case for case in waiting if case.key in taken), None)

    @property
    def _order(self) -> str:
        """Which side goes first: starts first, loads first, takes the first turn. The other one in every other pair,
        because the first gets other memory pages: up to 3% of a bandwidth-bound case, measured with equal sides."""
        return "AB" if self.pairs % 2 == 0 else "BA"

    def _side_by_side(self, waiting: list[Comparison]) -> None:
        """Take cases from ``waiting`` in one pair of processes, until it takes no more or the processes are spent."""
        with ExitStack() as stack:
            start = self._clock.now()
            all_cores = waiting[0].all_cores
            workers = {name: stack.enter_context(self._start(name, all_cores)) for name in self._order}  # both at once
            there = {name: pair.collected(worker) for name, worker in workers.items()}
            self._starts += 1
            self._starting_s += self._clock.now() - start
            sampled = self.pairs == 0 and not self.plan.exact  # the exact pass takes all
            order = scheduling.neighbours_together([case.key for case in waiting], there["B"].cases, sampled=sampled)
            waiting[:] = [self.cases[key] for key in order]
            while (case := self._next(waiting)) is not None:
                waiting.remove(case)
                keys = self._keys(case)
                has = {name: worker for name, worker in workers.items() if keys[name] in there[name].cases}
                if not has:
                    case.verdict = Verdict("INCONCLUSIVE", "neither side's processes have it")
                    continue
                self._show(case)
                start = self._clock.now()
                taken = pair.side_by_side(has, keys, exact=self._exact(case), turn=self._turn(case))
                taken.absent |= {name: one.why_not(keys[name]) for name, one in there.items() if name not in has}
                if taken.out_of_memory and len(has) == 2:
                    case.apart = True  # and measured anew, after those that fit twice
                    self._display.say(f"{case.key}: not enough memory for both sides; running them one after the other")
                else:
                    case.take(taken, self._clock.now() - start)
                if taken.spent:
                    return

    def _exact(self, case: Comparison) -> bool:
        """Whether this pair is the one that weighs and counts: the first, or the one after a side failed."""
        return self.plan.exact and (not case.records or bool(case.pending))

    def _turn(self, case: Comparison) -> int:
        """Which of its inputs a case times: another one in each pair, but the first where it is counted and weighed."""
        return 0 if self._exact(case) else case.tries

    def _keys(self, case: Comparison) -> dict[str, str]:
        return {"A": self.plan.old_keys.get(case.key, case.key), "B": case.key}

    def _show(self, case: Comparison) -> None:
        self._display.show(f"pair {self.pairs + 1}: {case.key}; {self._state()}")

    def _start(self, name: str, all_cores: bool) -> Worker:
        return Worker(
            name,
            self.sides[name],
            self.plan.arguments,
            self.plan.log_dir / f"pair{self.pairs + 1}-{name}{'-all-cores' if all_cores else ''}.log",
            pins=child_process.pins(self.plan.core, all_cores=all_cores),
            faults=self.plan.faults if name == "B" else (),
        )

    def _decide(self) -> None:
        """Judge every case; one decided before keeps its verdict, and its share of the error rate."""
        tolerances = {key: self.plan.tolerances_of(key) for key in self.cases}
        log_ratios = {key: case.log_ratios for key, case in self.cases.items()}
        groups = {key: case.group for key, case in self.cases.items()}
        beside = {
            (key, metric): f"{metric} of {key}" for key, case in self.cases.items() for metric in case.beside_log_ratios
        }
        for (key, metric), name in beside.items():  # of one error rate with the latencies
            log_ratios[name] = self.cases[key].beside_log_ratios[metric]
            groups[name] = f"{metric} of {groups[key]}"
        estimates = paired_intervals(log_ratios, groups, alpha=self.plan.alpha)
        bounds = {key: allowed.time for key, allowed in tolerances.items()}
        for (key, metric), name in beside.items():
            bounds[name] = metrics.time_beside(metric).tolerance(tolerances[key])
        needed = pairs_needed(log_ratios, groups, tolerances=bounds, alpha=self.plan.alpha)
        same = self.sides["A"].versions == self.sides["B"].versions
        for key, case in self.cases.items():
            if case.decided or not (case.records or case.failures):
                continue
            if case.pending:
                failed = "; ".join(f"{name}: {case.failures[name].reason}" for name in case.pending)
                case.verdict = Verdict("INCONCLUSIVE", f"failed once, and was not tried again: {failed}")
                continue
            case.estimate = estimates[key]
            own = {LATENCY: key} | {metric: name for (of, metric), name in beside.items() if of == key}
            case.needed = {metric: needed[name] for metric, name in own.items()}
            found = {metric: estimates[name] for metric, name in own.items() if metric != LATENCY}
            case.beside = {metric: one for metric, one in found.items() if one is not None}
            case.verdict = judge(
                case.records.get("A"),
                case.records.get("B"),
                case.time,
                tolerances[key],
                same_versions=same,
            )
            if case.verdict.status == "NEW" and case.absent.get("A"):
                case.verdict = replace(case.verdict, reason=f"{case.verdict.reason}: it {case.absent['A']}")
