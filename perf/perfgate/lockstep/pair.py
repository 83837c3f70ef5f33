"""One case in one pair of processes: both sides in turn, side by side or, where only one fits the device, apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from perfgate.lockstep import tracing
from perfgate.lockstep.worker_client import START_TIMEOUT_S, Worker, WorkerError
from perfgate.measure.code_trace import Traced
from perfgate.records.case import benchmark_of
from perfgate.records.record import Record
from perfgate.records.validate import RecordError

BLOCK_S = 0.01
"""Seconds of one side's turn: long against the switch between two processes, short against drift. Measured with equal
sides, four kernels and 58 pairs in which both took turns: blocks of 30 ms vary as much from pair to pair (standard
deviation 2.5% against 2.3%) and take 2.2 times as long."""
PREPARED_BLOCK_S = 0.1
"""The most that it takes with what its calls prepare and is not timed."""
TURNS, MOST_TURNS = 12, 48
"""A-B/B-A turns of a pair, even numbers: so many at least, and up to so many where they are short."""
TURNS_S = 1.0
"""For so many seconds more than the fewest turns are made. Measured with equal sides, 20 to 34 pairs of each kind: 48
turns in place of 12 take the standard deviation from pair to pair from 3.0% to 1.3% (linear, fp32), 3.0% to 2.2% (int8)
and 2.7% to 1.2% (nf4), which takes a fifth to a half of the pairs; with a hundred it is 1.5%, 1.5% and 1.2%."""
CASE_S = 3.0
"""About the most seconds that a case of long calls takes of a pair; at least two turns are always made, one with each
side first."""
ANSWER_TIMEOUT_S = 60.0
"""A call may take this long, or ``SLOWER_TIMES`` as long as it took to warm up."""
SLOWER_TIMES = 30
SHORTEST_CALL_S = 1e-7
"""A clock may read nothing for a shorter one."""
BROKEN_TOLD = 2
"""Of so many files that a side could not collect the reasons are told."""
LOAD_TIMEOUT_S = 900.0
"""Loading a case may convert a model and compute its reference."""
NO_MEMORY = ("MemoryError", "can't allocate memory", "out of memory on ")
"""What the message of a call says that found no memory: Python's and torch's errors, torch's on a CPU, and what
:mod:`perfgate.machine.device_errors` makes of an accelerator's."""


Told = dict[str, dict[str, list[float]]]
"""What calls tell of themselves: seconds by side and metric."""


@dataclass
class Taken:
    """What one pair found out about one case.

    ``log_ratio``: log(time of B / time of A), or None where a side did not get through; ``times_s``: each side's
    median seconds a call; ``beside_s``: each side's other times, by metric; ``records``: what each side measured in its
    exact pass, or how its test ended; ``doubts``: why a side's times cannot be trusted; ``absent``: why a side
    does not have the case, as far as is known; ``spent``: the workers cannot take another case, because one died, or
    stopped where it cannot be told to leave.
    """

    log_ratio: float | None = None
    times_s: dict[str, float] = field(default_factory=dict)
    beside_s: dict[str, dict[str, float]] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    doubts: dict[str, list[str]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    spent: bool = False
    out_of_memory: bool = False


class EndedError(WorkerError):
    """The case's test ended by itself; ``record`` says how."""

    def __init__(self, wrong: WorkerError, record: Record) -> None:
        super().__init__(str(wrong), side=wrong.side)
        self.record = record


@dataclass(frozen=True)
class Collected:
    """The cases that a worker has, and why files of tests could not be collected, by name."""

    cases: tuple[str, ...]
    broken: Mapping[str, str]

    def why_not(self, key: str) -> str:
        """Why a case is not there, as far as is known; else empty. Only a node id tells its file."""
        own = [file for file in self.broken if key.startswith(f"{file}::")] or sorted(self.broken)
        told = "; ".join(f"{file}: {self.broken[file]}" for file in own[:BROKEN_TOLD])
        return f"could not be collected: {told}" if told else ""


def collected(worker: Worker) -> Collected:
    """What a fresh worker has.

    Raises:
        WorkerError: it did not start.
    """
    fields = _expect(worker, "collected", START_TIMEOUT_S)
    return Collected(tuple(fields["cases"]), fields["broken"])


def side_by_side(workers: Mapping[str, Worker], keys: Mapping[str, str], *, exact: bool, turn: int = 0) -> Taken:
    """Both sides get ready, make the exact pass where it is due, take turns in short blocks, and leave the case, which
    each side has under its own key of ``keys``. The side that comes first in ``workers`` goes first in everything. Both
    time the input number ``turn``."""
    taken = Taken()
    key = keys["B"]
    for name, worker in workers.items():  # both at once: importing and loading take the longest
        with _noting(taken, name, key):
            worker.ask("load", case=keys[name], checked=exact, turn=turn)
    warm_s, prepared_s = {}, 0.0
    for name, worker in workers.items():  # whether it works on the other side is told too
        with _noting(taken, name, key):
            ready = _ready(worker)
            warm_s[name] = ready.call_s
            prepared_s = max(prepared_s, ready.prepared_s)
            for metric, seconds in ready.cold_s.items():
                taken.beside_s.setdefault(metric, {})[name] = seconds
    timeout_s = _timeout_s(warm_s)
    if exact:
        passing = [name for name in warm_s if not _ended(taken, name)]
        for name in passing:  # both at once: neither keeps to the shared core yet
            with _noting(taken, name, key):
                workers[name].ask("exact")
        for name in passing:
            with _noting(taken, name, key):
                taken.records[name] = _exact(workers[name], timeout_s)
    running = {name: workers[name] for name in warm_s if not _ended(taken, name)}
    if len(running) == 2:
        timed_s: dict[str, list[float]] = {name: [] for name in running}
        ratios: list[float] = []
        try:
            order = "".join(running)
            told: Told = {name: {} for name in running}
            took = _turn(running, 1, order, timeout_s, told)  # alone on the core now
            calls, turns = _plan(max(*took.values(), SHORTEST_CALL_S), prepared_s)
            for number in range(turns):
                if number or calls > 1:  # else the turn that was just made is a whole one
                    took = _turn(running, calls, order if number % 2 == 0 else order[::-1], timeout_s, told)
                ratios.append(math.log(took["B"] / took["A"]))
                for name, seconds in took.items():
                    timed_s[name].append(seconds / calls)
        except WorkerError as wrong:  # the other side may be inside a call: it cannot be told to leave
            _note(taken, wrong.side, key, wrong)
            taken.spent = True
            return taken
        taken.log_ratio = _without_order(ratios)
        taken.times_s = {name: median(times) for name, times in timed_s.items()}
        for name, samples in told.items():
            for metric, values in samples.items():
                taken.beside_s.setdefault(metric, {})[name] = median(values)
    for name, worker in running.items():
        with _noting(taken, name, key):
            _keep(taken, name, _leave(worker, timeout_s))
    if taken.doubts or any(_ended(taken, name) for name in workers):
        taken.log_ratio = None
    return taken


def run_once(worker: Worker, key: str) -> None:
    """Load a case, which runs it once, and leave it.

    Raises:
        WorkerError: it does not get through; :class:`EndedError` where that is the case's own doing.
    """
    worker.ask("load", case=key, checked=False, turn=0)
    _leave(worker, _timeout_s({"": _ready(worker).call_s}))


def traced(worker: Worker) -> Traced:
    """Which functions the cases that a worker has run are seen to depend on; it must have been asked to trace.

    Raises:
        WorkerError: it does not answer that.
    """
    worker.ask("trace")
    try:
        return tracing.from_json(_expect(worker, "traced", ANSWER_TIMEOUT_S))
    except RecordError as wrong:
        raise worker.error(f"a trace that is none: {wrong}") from None


def apart(start: Callable[[str], Worker], keys: Mapping[str, str], order: str, *, exact: bool, turn: int = 0) -> Taken:
    """One side after the other, each alone on the device, in this order. Nothing cancels the machine's drift then."""
    taken = Taken(spent=True)
    key = keys["B"]
    for name in order:
        with _noting(taken, name, key), start(name) as worker:
            there = collected(worker)
            if keys[name] not in there.cases:
                taken.absent[name] = there.why_not(keys[name])
                continue
            worker.ask("load", case=keys[name], checked=exact, turn=turn)
            ready = _ready(worker)
            timeout_s = _timeout_s({name: ready.call_s})
            if exact:
                worker.ask("exact")
                taken.records[name] = _exact(worker, timeout_s)
            calls, turns = _plan(max(_block(worker, 1, timeout_s), SHORTEST_CALL_S), ready.prepared_s)
            taken.times_s[name] = median(_block(worker, calls, timeout_s) / calls for _ in range(2 * turns))
            _keep(taken, name, _leave(worker, timeout_s))
    if len(taken.times_s) == len(order) and not taken.doubts and not any(_ended(taken, name) for name in order):
        taken.log_ratio = math.log(taken.times_s["B"] / taken.times_s["A"])
    return taken


def _keep(taken: Taken, name: str, left: Record) -> None:
    """The record with which a side left the case. Its doubts are about this pair's times, not about the record that
    stays of the exact pass."""
    if left.doubts:
        taken.doubts[name] = left.doubts
    taken.records.setdefault(name, replace(left, doubts=[]))


@contextmanager
def _noting(taken: Taken, name: str, key: str) -> Iterator[None]:
    """A side's failure becomes its record."""
    try:
        yield
    except WorkerError as wrong:
        _note(taken, name, key, wrong)


def _note(taken: Taken, name: str, key: str, wrong: WorkerError) -> None:
    if isinstance(wrong, EndedError):
        record = wrong.record
        taken.spent |= bool(record.provenance.get("context_gone"))  # its process can run nothing any more
    else:
        taken.spent = True
        record = Record(benchmark_of(key), 1, {}, key, status="failed")
    if _ended(taken, name):  # why it ended first is what counts
        return
    record.reason = str(wrong)
    taken.records[name] = record
    taken.out_of_memory |= wrong.out_of_memory or any(words in record.reason for words in NO_MEMORY)


def _ended(taken: Taken, name: str) -> bool:
    return name in taken.records and taken.records[name].status != "measured"


@dataclass(frozen=True)
class _Ready:
    """How long a call takes once it is warm; that again where parts of it are not timed, else 0; and the cold times by
    metric. All in seconds."""

    call_s: float
    prepared_s: float
    cold_s: dict[str, float]


def _ready(worker: Worker) -> _Ready:
    fields = _expect(worker, "ready", LOAD_TIMEOUT_S)
    return _Ready(float(fields["call_s"]), float(fields["prepared_s"]), fields["cold_s"])


def _exact(worker: Worker, timeout_s: float) -> Record:
    """What the exact pass found that the worker was asked for."""
    return _record(worker, _expect(worker, "exact", timeout_s))


def _leave(worker: Worker, timeout_s: float) -> Record:
    worker.ask("stop")
    record = _record(worker, _expect(worker, "done", timeout_s))
    if record.status != "measured":
        raise EndedError(worker.error(f"{record.status}: {record.reason}"), record)
    return record


def _timeout_s(warm_s: Mapping[str, float]) -> float:
    return ANSWER_TIMEOUT_S + SLOWER_TIMES * max(warm_s.values(), default=0.0)


def _plan(call_s: float, prepared_s: float) -> tuple[int, int]:
    """How many calls make a block, and how many turns of two blocks a pair; a call takes ``prepared_s`` with what is
    not timed of it, where there is such."""
    calls = max(1, round(BLOCK_S / call_s))
    if prepared_s:
        calls = max(1, min(calls, round(PREPARED_BLOCK_S / prepared_s)))
    turn_s = 2 * calls * max(call_s, prepared_s)
    wanted, possible = (2 * max(1, round(seconds / (2 * turn_s))) for seconds in (TURNS_S, CASE_S))
    return calls, min(max(TURNS, min(wanted, MOST_TURNS)), possible)


def _without_order(ratios: Sequence[float]) -> float:
    """The log-ratio of all turns. Whoever is second in a turn is 0.2-4.8% slower, so each turn is taken together with
    the next one, in which the other side was second; of these means the median, for what interrupts one turn. From pair
    to pair that varies less than the median of the turns: 0.4 to 0.95 of its variance, measured with equal sides."""
    return median((one + other) / 2 for one, other in zip(ratios[::2], ratios[1::2], strict=True))


def _turn(
    workers: Mapping[str, Worker], calls: int, order: str, timeout_s: float, told: Told | None = None
) -> dict[str, float]:
    """Each side runs its block once, in this order; blocks that pause go on in turn. Seconds by side; what the last
    call of each tells of itself is added to ``told``."""
    took = dict.fromkeys(order, 0.0)
    running = list(order)
    for name in order:
        workers[name].ask("block", calls=calls)
        if not _until_pause(workers[name], took, name, timeout_s, told):
            running.remove(name)
    while running:
        for name in list(running):
            workers[name].ask("go")
            if not _until_pause(workers[name], took, name, timeout_s, told):
                running.remove(name)
    return took


def _block(worker: Worker, calls: int, timeout_s: float) -> float:
    """One block without the other side, in seconds."""
    took = {"": 0.0}
    worker.ask("block", calls=calls)
    while _until_pause(worker, took, "", timeout_s):
        worker.ask("go")
    return took[""]


def _until_pause(worker: Worker, took: dict[str, float], name: str, timeout_s: float, told: Told | None = None) -> bool:
    """Add what the side took until it paused or finished; whether it paused."""
    answer, fields = worker.answer(timeout_s)
    if answer not in ("paused", "times"):
        raise _unexpected(worker, answer, fields, "times")
    took[name] += fields["s"] if answer == "paused" else sum(fields["s"])
    if told is not None:
        for metric, seconds in fields.get("samples", {}).items():
            told[name].setdefault(metric, []).append(seconds)
    return answer == "paused"


def _expect(worker: Worker, wanted: str, timeout_s: float) -> dict[str, Any]:
    """The fields of the next answer, which must be ``wanted``.

    Raises:
        WorkerError: it is another one; :class:`EndedError` where the case's test ended by itself.
    """
    answer, fields = worker.answer(timeout_s)
    if answer != wanted:
        raise _unexpected(worker, answer, fields, wanted)
    return fields


def _unexpected(worker: Worker, answer: str, fields: dict[str, Any], wanted: str) -> WorkerError:
    if answer != "done":
        return worker.error(f"answered {answer!r}, expected {wanted!r}")
    record = _record(worker, fields)
    return EndedError(worker.error(f"{record.status}: {record.reason}"), record)


def _record(worker: Worker, fields: dict[str, Any]) -> Record:
    try:
        return Record.from_json(fields["record"])
    except RecordError as wrong:
        raise worker.error(f"a record that breaks the schema: {wrong}") from None
