"""A new baseline from the results of fresh processes: its entries, what forbids storing it, and old against new."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from perfgate.baselines import code_suspects
from perfgate.baselines.store import Baseline, Entry, Refresh
from perfgate.baselines.timing_judge import Judge, Suspect, at_once
from perfgate.compare.case_verdict import Undecided, Verdict
from perfgate.compare.metric_verdict import LATENCY, fails, judge_exact
from perfgate.compare.tolerances import Tolerances, TolerancesOf
from perfgate.lockstep.fresh_process import Result
from perfgate.measure.code_trace import Traced
from perfgate.records.record import Metric, Record

Statistics = Callable[[Sequence[float]], Mapping[str, Any]]
"""pytest-benchmark's statistics of samples in seconds, as its files have them."""


@dataclass(frozen=True)
class Test:
    """The test of a case: its node id, and one of :data:`perfgate.baselines.store.TIERS`."""

    node: str
    tier: str


def problems(results: Sequence[Result], tolerances_of: TolerancesOf, *, accept_busy: bool) -> list[str]:
    """Why nothing may be stored: cases that failed, or whose exact metrics differ between processes. With
    ``accept_busy`` a doubtful measurement is no reason."""
    found: dict[str, str] = {}
    first = results[0].records
    for number, result in enumerate(results):
        for key, record in result.records.items():
            if record.status in ("failed", "fell_back"):
                found.setdefault(key, f"{key}: {record.status}: {record.reason}")
            elif record.doubts and not accept_busy:
                found.setdefault(key, f"{key}: {'; '.join(record.doubts)}; run it again, or add --perfgate-accept-busy")
            elif record.status == "measured" and number and key in first:
                for name in _unsteady(first[key], record, tolerances_of(key)):
                    found.setdefault(
                        key, f"{key}: {name} differs between fresh processes: it cannot be judged as an exact metric"
                    )
    return list(found.values())


def _unsteady(one: Record, other: Record, tolerances: Tolerances) -> list[str]:
    exact = [name for name, metric in one.metrics.items() if metric.kind == "exact" and name in other.metrics]
    return [
        name for name in exact if judge_exact(name, one.metrics[name], other.metrics[name], tolerances).status != "SAME"
    ]


def entries(
    results: Sequence[Result], tests: Mapping[str, Test], refresh: Refresh, statistics: Statistics, traced: Traced
) -> dict[str, Entry]:
    """One entry for each case that every process measured: the samples of all of them, each one's latency, and the
    functions that it is seen to depend on."""
    found = {}
    for key, benchmark in results[0].benchmarks.items():
        records = [result.records.get(key) for result in results]
        measured = [record for record in records if record is not None and record.status == "measured"]
        if len(measured) < len(results):
            continue
        by_process = tuple(record.metrics[LATENCY].value for record in measured)
        record = replace(measured[0], metrics={name: _pooled(name, measured) for name in measured[0].metrics})
        entry = {**benchmark, "stats": statistics(record.metrics[LATENCY].samples)}
        functions = traced.of(key)
        found[key] = Entry(record, tests[key].node, by_process, refresh, tests[key].tier, key, entry, functions)
    return found


def _pooled(name: str, records: Sequence[Record]) -> Metric:
    """A metric over all processes: sampled ones are averaged and keep all samples; of others the first tells."""
    metrics = [record.metrics[name] for record in records if name in record.metrics]
    if metrics[0].kind != "sampled":
        return metrics[0]
    samples = tuple(sample for metric in metrics for sample in metric.samples)
    return replace(metrics[0], value=fmean(metric.value for metric in metrics), samples=samples, interval=None)


def verdicts(
    before: Baseline | None, new: Mapping[str, Entry], judge: Judge, *, forbidden: bool
) -> tuple[dict[str, Verdict], bool]:
    """Old against new, over all metrics, as a comparison would say: a case that depends on something that has changed
    is judged in lockstep; but no time is, where ``forbidden`` says that nothing is stored whatever it takes. Returns
    the verdicts, and whether Ctrl-C ended the judging; what was decided by then counts, the rest is INCONCLUSIVE."""
    old = {} if before is None else before.entries
    tolerances_of, now = judge.policy.tolerances_of, judge.now
    both = {key: old[key] for key in new if key in old}
    concern = code_suspects.of(both, now, judge.project, judge.policy.judged_anyway, judge.display.say)
    for text in concern.told:
        judge.display.say(text)
    found = {
        key: at_once(old.get(key), one.record, now, tolerances_of(key), unconcerned=concern.unconcerned.get(key))
        for key, one in new.items()
    }
    suspects = [Suspect(old[key], new[key].record) for key, verdict in found.items() if verdict is None]
    interrupted = False
    try:
        if suspects and not forbidden:
            judge.verdicts(suspects)
    except KeyboardInterrupt:
        interrupted = True
    time = Undecided("not judged: nothing is stored" if forbidden else "interrupted before it was judged")
    judged = {one.key: judge.found.get(one.key) or one.verdict(tolerances_of(one.key), now, time) for one in suspects}
    return {key: verdict or judged[key] for key, verdict in found.items()}, interrupted


def worse(found: Mapping[str, Verdict], *, undecided_fails: bool) -> list[str]:
    """The verdicts that need ``--perfgate-accept-regressions``, in words."""
    failing = {key: one for key, one in found.items() if fails(one.status, undecided_fails=undecided_fails)}
    return [f"{key}: {one.status}: {one.reason}" for key, one in failing.items()]
