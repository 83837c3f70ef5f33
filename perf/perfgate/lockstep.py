"""A/B in lockstep: two environments take turns at the same cases, pair of processes by pair, until all is decided.

Within a pair both sides hold the same case and run it in short blocks, A B, B A, ..., so that drift cancels; a pair
keeps a bias of its own that no number of blocks removes, so there are several fresh pairs and the pair is the unit of
the statistics. Exact metrics are compared once, in the first pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from perfgate.clocks import Clock
from perfgate.record import Record
from perfgate.sides import Side
from perfgate.statistics import LOOKS, Estimate, paired_intervals, pairs_needed
from perfgate.verdict import Tolerances, Verdict, judge
from perfgate.workers import START_TIMEOUT_S, Worker, WorkerError

BLOCK_S = 0.03
"""Seconds of one side's turn: long against the switch between two processes, short against drift."""
TURNS = 12
"""A-B/B-A turns of a pair: with fewer the pair's own noise shows, with more only its bias remains."""
CASE_S = 3.0
"""About the most seconds that a case of long calls takes of a pair; at least two turns are always made."""
ANSWER_TIMEOUT_S = 60.0
"""A call may take this long, or ``SLOWER_TIMES`` as long as it took to warm up."""
SLOWER_TIMES = 30
SHORTEST_CALL_S = 1e-7
"""A clock may read nothing for a shorter one."""
LOAD_TIMEOUT_S = 900.0
"""Loading a case may convert a model and compute its reference."""


@dataclass(frozen=True)
class Plan:
    """How a comparison runs. ``budget_s`` bounds all of it, start-up included; ``arguments`` go to both sides' pytest;
    ``slower`` (for tests of the comparison) makes every call of B take that fraction longer."""

    arguments: tuple[str, ...]
    budget_s: float
    tolerances: Tolerances
    log_dir: Path
    core: int | None = None
    slower: float = 0.0


@dataclass
class Comparison:
    """One case on both sides. ``log_ratios``: log(time of B / time of A), one for each pair; ``times_s``: each side's
    median seconds a call; ``records``: what each side's exact pass measured; ``broken``: why
    a side did not get through."""

    key: str
    group: str
    log_ratios: list[float] = field(default_factory=list)
    times_s: dict[str, list[float]] = field(default_factory=lambda: {"A": [], "B": []})
    records: dict[str, Record] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    estimate: Estimate | None = None
    verdict: Verdict | None = None

    @property
    def decided(self) -> bool:
        return bool(self.broken) or (self.verdict is not None and self.verdict.status != "INCONCLUSIVE")


class Lockstep:
    """A comparison of side B (head) with side A (base) over the cases called ``keys``."""

    def __init__(
        self, base: Side, head: Side, keys: Sequence[str], plan: Plan, clock: Clock, say: Callable[[str], None]
    ) -> None:
        self.sides = {"A": base, "B": head}
        self.plan = plan
        self.cases = {key: Comparison(key, key.partition("/")[0]) for key in keys}
        self.pairs = 0
        self._clock = clock
        self._say = say
        self._started = clock.now()

    @property
    def left_s(self) -> float:
        """Seconds of the budget that remain."""
        return self.plan.budget_s - (self._clock.now() - self._started)

    @property
    def undecided(self) -> list[Comparison]:
        return [case for case in self.cases.values() if not case.decided]

    def run(self) -> None:
        """Make pairs until every case is decided or the budget ends."""
        longest_s = 0.0
        while self.undecided and self.left_s > longest_s and self.pairs < LOOKS[-1]:
            start = self._clock.now()
            self._pair(first=self.pairs == 0)
            self.pairs += 1
            longest_s = self._clock.now() - start
            self._decide()
            self._say(
                f"pair {self.pairs}: {len(self.cases) - len(self.undecided)} of {len(self.cases)} cases decided, "
                f"{max(self.left_s, 0):.0f} s of the budget left"
            )

    def _pair(self, *, first: bool) -> None:
        """One pair for every undecided case. A case that ends by itself takes its processes with it; the cases after it
        go on in fresh ones."""
        waiting = self.undecided
        while waiting and (first or self.left_s > 0):
            with ExitStack() as stack:
                try:
                    workers = {name: stack.enter_context(self._start(name)) for name in self.sides}  # both at once
                    there = {name: self._collected(worker) for name, worker in workers.items()}
                except WorkerError as wrong:
                    for case in waiting:
                        case.broken = {"A": str(wrong), "B": "not compared"}
                    return
                while waiting and (first or self.left_s > 0):
                    case = waiting.pop(0)
                    case.broken = {
                        name: f"{self.sides[name].name} has no such case"
                        for name, keys in there.items()
                        if case.key not in keys
                    }
                    if case.broken:
                        continue
                    self._say(f"pair {self.pairs + 1}: {case.key} ({len(waiting)} more in this pair)")
                    try:
                        self._compare(case, workers, first=first)
                    except WorkerError as wrong:
                        case.broken.setdefault(wrong.side, str(wrong))
                        break

    def _start(self, name: str) -> Worker:
        return Worker(
            name,
            self.sides[name],
            self.plan.arguments,
            self.plan.log_dir / f"pair{self.pairs + 1}-{name}.log",
            core=self.plan.core,
            slower=self.plan.slower if name == "B" else 0.0,
        )

    @staticmethod
    def _collected(worker: Worker) -> list[str]:
        return list(_expect(worker, "collected", START_TIMEOUT_S)["cases"])

    def _compare(self, case: Comparison, workers: Mapping[str, Worker], *, first: bool) -> None:
        """One case in one pair: both get ready, the exact pass where it is due, the turns, and both leave.

        Raises:
            WorkerError: a side failed, was skipped, died, hung, or talked rubbish.
        """
        for worker in workers.values():  # both at once: importing and loading take the longest
            worker.ask("load", case=case.key, checked=first)
        warm_s = [SHORTEST_CALL_S]
        for name, worker in workers.items():
            try:
                warm_s.append(_expect(worker, "ready", LOAD_TIMEOUT_S)["call_s"])
            except WorkerError as wrong:  # whether it works on the other side is told too
                case.broken[name] = str(wrong)
        if case.broken:
            raise WorkerError("one side did not get ready", side=next(iter(case.broken)))
        timeout_s = ANSWER_TIMEOUT_S + SLOWER_TIMES * max(warm_s)
        if first:
            for name, worker in workers.items():
                worker.ask("exact")
                case.records[name] = Record.from_json(_expect(worker, "exact", timeout_s)["record"])
        slowest = max(*_turn(workers, 1, "AB", timeout_s).values(), SHORTEST_CALL_S)  # alone on the core, unlike above
        calls = max(1, round(BLOCK_S / slowest))
        turns = min(TURNS, max(2, round(CASE_S / (2 * calls * slowest))))
        ratios: list[float] = []
        times: dict[str, list[float]] = {"A": [], "B": []}
        for turn in range(turns):
            took = _turn(workers, calls, "AB" if turn % 2 == 0 else "BA", timeout_s)
            ratios.append(math.log(took["B"] / took["A"]))
            for name, seconds in took.items():
                times[name].append(seconds / calls)
        for worker in workers.values():
            worker.ask("stop")
            record = Record.from_json(_expect(worker, "done", timeout_s)["record"])
            if record.status != "measured":
                raise worker.error(f"{record.status}: {record.reason}")
        case.log_ratios.append(median(ratios))
        for name in workers:
            case.times_s[name].append(median(times[name]))

    def _decide(self) -> None:
        """Judge every case that has pairs; one decided before keeps its verdict, and its share of the error rate."""
        tolerances = self.plan.tolerances
        log_ratios = {key: case.log_ratios for key, case in self.cases.items()}
        groups = {key: case.group for key, case in self.cases.items()}
        estimates = paired_intervals(log_ratios, groups, alpha=tolerances.alpha)
        needed = pairs_needed(log_ratios, groups, tolerance=tolerances.time, alpha=tolerances.alpha)
        same = self.sides["A"].versions == self.sides["B"].versions
        for key, case in self.cases.items():
            if case.decided or not case.log_ratios:
                continue
            case.estimate = estimates[key]
            case.verdict = judge(
                case.records["A"],
                case.records["B"],
                case.estimate,
                tolerances,
                same_versions=same,
                pairs_needed=needed[key],
                times_s=(fmean(case.times_s["A"]), fmean(case.times_s["B"])),
            )


def _expect(worker: Worker, wanted: str, timeout_s: float) -> dict[str, Any]:
    """The fields of the next answer, which must be ``wanted``.

    Raises:
        WorkerError: it is another one: the case's test ended by itself, and its record says why.
    """
    answer, fields = worker.answer(timeout_s)
    if answer == "done" and wanted != "done":
        record = fields["record"]
        raise worker.error(f"{record.get('status')}: {record.get('reason')}")
    if answer != wanted:
        raise worker.error(f"answered {answer!r}, expected {wanted!r}")
    return fields


def _turn(workers: Mapping[str, Worker], calls: int, order: str, timeout_s: float) -> dict[str, float]:
    """Each side runs its block once, in this order; blocks that pause go on in turn. Seconds by side."""
    took = dict.fromkeys(order, 0.0)
    running = list(order)
    for name in order:
        workers[name].ask("block", calls=calls)
        if not _until_pause(workers[name], took, name, timeout_s):
            running.remove(name)
    while running:
        for name in list(running):
            workers[name].ask("go")
            if not _until_pause(workers[name], took, name, timeout_s):
                running.remove(name)
    return took


def _until_pause(worker: Worker, took: dict[str, float], name: str, timeout_s: float) -> bool:
    """Add what the side took until it paused or finished; whether it paused."""
    answer, fields = worker.answer(timeout_s)
    if answer not in ("paused", "times"):
        record = fields.get("record", {})
        raise worker.error(f"{record.get('status', answer)}: {record.get('reason')}")
    took[name] += fields["s"] if answer == "paused" else sum(fields["s"])
    return answer == "paused"
