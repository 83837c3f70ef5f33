"""Judges times against a baseline: by stored numbers where they are tight, else in lockstep against the baseline's own
environment, else, where that cannot be had, by fresh processes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, median

from perfgate.baselines.store import Entry
from perfgate.compare.case_verdict import Estimated, NotJudged, Time, Undecided, Verdict, judge
from perfgate.compare.intervals import LOOKS, RatioEstimate, stored_intervals
from perfgate.compare.metric_verdict import LATENCY, judge_ratio
from perfgate.compare.tolerances import Tolerances, TolerancesOf
from perfgate.lockstep import environments, fresh_process
from perfgate.lockstep.comparison import Display, Lockstep, Plan
from perfgate.lockstep.environments import Project
from perfgate.lockstep.fresh_process import ProcessError
from perfgate.lockstep.worker_client import WorkerError
from perfgate.machine import health
from perfgate.machine.health import Health
from perfgate.machine.pinning import last_core, usable_cores
from perfgate.measure.clocks import Clock
from perfgate.records.case import on_all_cores
from perfgate.records.fingerprint import Fingerprint, changed_versions, differences
from perfgate.records.record import Record
from perfgate.report import counted, duration

UNCHANGED = "nothing that this case depends on has changed since the baseline: the difference is attributed to noise"
NEEDED = 2
"""Fresh processes that decide where lockstep cannot; as many more as the baseline has, while the budget lasts."""
TOGETHER = 12
"""Cases that one of these processes measures: a start takes seconds, and the next ones wait until these are done."""
SESSION_DRIFT = 0.15
"""How much slower or faster a machine may be than in the session that was stored, without any change to the code: no
statistic over the processes of one session sees that. Without it 28% of unchanged suites failed in a simulation with 6%
of drift. Chosen, not measured: only large changes show without a second environment."""
UNLIKE = 2.0
"""A baseline's time that side A takes so many times longer or shorter in lockstep is said: then what runs on side A may
not be what was recorded. Measured with identical code, fresh processes and hours between them differ by up to 25%, and
two processes that share a core's cache by some more; half or double is beyond both. It only warns: a machine may really
have become slower, and what proves a side are the files that it uses."""


@dataclass(frozen=True)
class JudgePolicy:
    """What may differ in a case, by its key; ``alpha``, the chance of calling an unchanged suite changed; and how many
    cases that a change of the code does not concern are judged all the same."""

    tolerances_of: TolerancesOf
    alpha: float
    judged_anyway: int = 0


@dataclass(frozen=True)
class Suspect:
    """A case whose time must be judged: what is stored, and what this run measured."""

    entry: Entry
    record: Record

    @property
    def key(self) -> str:
        return self.record.key

    def verdict(self, tolerances: Tolerances, now: Fingerprint, time: Time) -> Verdict:
        """The verdict over all its metrics, with what is known of its time."""
        return judge(
            self.entry.record,
            self.record,
            time,
            tolerances,
            same_versions=not changed_versions(self.entry.refresh.fingerprint, now, packages_of(self.record)),
        )


def packages_of(record: Record) -> frozenset[str] | None:
    """The packages that the case says it runs; None where it does not say."""
    versions = record.provenance.get("package_versions")
    return frozenset(versions) if versions else None


def at_once(
    entry: Entry | None,
    record: Record,
    now: Fingerprint,
    tolerances: Tolerances,
    *,
    forced: bool = False,
    unconcerned: str | None = None,
) -> Verdict | None:
    """The verdict of a case whose time need not be judged; None where it must. ``forced``: judge it although nothing
    has changed; ``unconcerned``: why what has changed in the code is nothing to it."""
    if entry is None or record.status != "measured":
        return judge(None if entry is None else entry.record, record, Estimated(None), tolerances, same_versions=False)
    unlike = Suspect(entry, record).verdict(tolerances, now, NotJudged(unconcerned or UNCHANGED))
    then = entry.refresh.fingerprint
    changed = differences(then if unconcerned is None else replace(then, code=now.code), now, packages_of(record))
    return unlike if unlike.status == "INCOMPARABLE" or not (changed or forced) else None


@dataclass(frozen=True)
class Judge:
    """Judges all suspects of a run together. ``arguments`` select the run's cases in another process; ``found`` are the
    verdicts so far, by key: Ctrl-C leaves what was decided; ``judging_s`` is what each environment took of the budget:
    building it has a limit of its own. Times in seconds."""

    policy: JudgePolicy
    now: Fingerprint
    arguments: tuple[str, ...]
    project: Project
    device: str
    health_before: Health
    budget_s: float
    clock: Clock
    display: Display
    found: dict[str, Verdict] = field(default_factory=dict)
    judging_s: list[float] = field(default_factory=list)

    def verdicts(self, suspects: Sequence[Suspect]) -> dict[str, Verdict]:
        """A verdict for every suspect, by key."""
        doubts = health.doubts_about_stored(self.health_before, health.read(self.device), usable_cores())
        if doubts:
            self.display.say(f"not judged by stored numbers: {'; '.join(doubts)}")
        else:
            self.found.update(self._by_stored_numbers(suspects))
        left = [suspect for suspect in suspects if suspect.key not in self.found]
        by_environment: dict[str, list[Suspect]] = {}
        for suspect in left:
            by_environment.setdefault(json.dumps(suspect.entry.refresh.fingerprint.to_json()), []).append(suspect)
        for number, group in enumerate(by_environment.values()):
            share = (self.budget_s - sum(self.judging_s)) / (len(by_environment) - number)
            alpha = self.policy.alpha * len(group) / len(suspects)
            self.found.update(self._in_lockstep(group, share, alpha))
        return self.found

    def _by_stored_numbers(self, suspects: Sequence[Suspect]) -> dict[str, Verdict]:
        """Those whose stored spread is tight enough to show that nothing happened; whatever else it says is only
        suspicion."""
        estimates = stored_intervals(
            {suspect.key: suspect.entry.by_process_s for suspect in suspects},
            {suspect.key: [suspect.record.metrics[LATENCY].value] for suspect in suspects},
            {suspect.key: suspect.record.name for suspect in suspects},
            alpha=self.policy.alpha,
        )
        found = {}
        for suspect in suspects:
            if suspect.entry.record.doubts or suspect.record.doubts:
                continue
            estimate = estimates[suspect.key]
            tolerances = self.policy.tolerances_of(suspect.key)
            if estimate is not None and judge_ratio(estimate, tolerances.time).status == "SAME":
                found[suspect.key] = self._verdict(suspect, Estimated(estimate, times_s=_times(suspect)))
        return found

    def _verdict(self, suspect: Suspect, time: Time) -> Verdict:
        return suspect.verdict(self.policy.tolerances_of(suspect.key), self.now, time)

    def _in_lockstep(self, suspects: Sequence[Suspect], budget_s: float, alpha: float) -> dict[str, Verdict]:
        """Against the environment that all of them were recorded in."""
        then = suspects[0].entry.refresh.fingerprint
        before = suspects[0].entry.refresh.date
        if budget_s <= 0:
            return {suspect.key: self._verdict(suspect, Undecided("--judge-budget exhausted")) for suspect in suspects}
        try:
            with (
                environments.rebuilt(then, self.now, self.project, self.display.say) as base,
                tempfile.TemporaryDirectory(prefix="perfgate-judge-") as logs,
            ):
                self.display.say(
                    f"lockstep against the environment of {before} judges {counted(len(suspects))}, "
                    f"{duration(budget_s)} at most"
                )
                plan = Plan(
                    arguments=self.arguments,
                    budget_s=budget_s,
                    tolerances_of=self.policy.tolerances_of,
                    alpha=alpha,
                    log_dir=Path(logs),
                    core=last_core() if self.device == "cpu" else None,
                    exact=False,
                    old_keys={suspect.key: suspect.entry.stored_key for suspect in suspects},
                    urgent=frozenset(_suspicious(suspects, self.policy.tolerances_of)),
                    faults=self.now.faults,
                    all_cores=frozenset(one.key for one in suspects if on_all_cores(one.record.fields)),
                )
                head = environments.current(self.project.folder, self.project.packages, base)
                keys = [suspect.key for suspect in sorted(suspects, key=_slowdown, reverse=True)]
                lockstep = Lockstep(base, head, keys, plan, self.clock, self.display)
                try:
                    lockstep.run()
                except KeyboardInterrupt:
                    self.found.update(self._told(lockstep, suspects, "interrupted before it was measured in lockstep"))
                    raise
                self.judging_s.append(budget_s - lockstep.left_s)
                if lockstep.needed_s is not None:
                    self.display.say(
                        f"about {duration(lockstep.needed_s)} of --perfgate-judge-budget would decide what {LOOKS[-1]} "
                        "pairs of processes can"
                    )
        except (environments.SideError, WorkerError) as wrong:
            reason = f"the baseline's environment cannot be rebuilt ({wrong})"
            return self._by_fresh_processes(suspects, reason, budget_s, alpha)
        ended = lockstep.ended or "--judge-budget exhausted"
        return self._told(lockstep, suspects, f"{ended} before it was measured in lockstep")

    def _told(self, lockstep: Lockstep, suspects: Sequence[Suspect], unmeasured: str) -> dict[str, Verdict]:
        """What the lockstep found; ``unmeasured`` is why some cases may have no pair."""
        found = {}
        unfit = health.unfit(health.read(self.device))
        for suspect in suspects:
            case = lockstep.cases[suspect.key]
            time: Time
            times_s = case.mean_times_s
            if unfit:
                time = Undecided("; ".join(unfit), times_s)
            elif case.estimate is not None:
                time = case.time
            elif case.verdict is not None and not case.works:
                time = Undecided(f"not to be judged in lockstep: {case.verdict.reason}", times_s)
            elif case.doubts:
                time = Undecided(f"no pair in lockstep could be trusted: {'; '.join(case.doubts)}", times_s)
            else:
                time = Undecided(unmeasured, times_s)
            verdict = self._verdict(suspect, time)
            if times_s is not None and (unlike := unlike_stored(times_s[0], fmean(suspect.entry.by_process_s))):
                self.display.say(f"{suspect.key}: {unlike}")
                verdict = replace(verdict, reason=f"{verdict.reason}; {unlike}")
            found[suspect.key] = verdict
        return found

    def _by_fresh_processes(
        self, suspects: Sequence[Suspect], reason: str, budget_s: float, alpha: float
    ) -> dict[str, Verdict]:
        """As far as fresh processes of this environment decide against stored numbers; the verdict says so. Ctrl-C
        leaves what is known by then."""
        fresh: dict[str, list[float]] = {suspect.key: [] for suspect in suspects}
        start = self.clock.now()
        try:
            for which, keys in _fresh_processes(suspects):
                left_s = budget_s - (self.clock.now() - start)
                if left_s <= 0:
                    break
                self.display.show(which)
                result = fresh_process.fresh(self.arguments, self.project.folder, keys, self.now.faults, left_s)
                for key, record in result.records.items():
                    if key in fresh and record.status == "measured" and not record.doubts:
                        fresh[key].append(record.metrics[LATENCY].value)
        except ProcessError as wrong:
            self.display.say(str(wrong))
        except KeyboardInterrupt:
            self.found.update(self._against_stored(suspects, fresh, reason, alpha))
            raise
        finally:
            self.judging_s.append(self.clock.now() - start)
        return self._against_stored(suspects, fresh, reason, alpha)

    def _against_stored(
        self, suspects: Sequence[Suspect], fresh: dict[str, list[float]], reason: str, alpha: float
    ) -> dict[str, Verdict]:
        """What these times say against the stored ones, which another session measured."""
        now = health.read(self.device)
        doubts = health.doubts_about_stored(replace(now, load_1min=None), now, usable_cores())
        measured = [suspect for suspect in suspects if fresh[suspect.key] and not doubts]
        estimates = stored_intervals(
            {suspect.key: suspect.entry.by_process_s for suspect in measured},
            {suspect.key: fresh[suspect.key] for suspect in measured},
            {suspect.key: suspect.record.name for suspect in measured},
            alpha=alpha,
        )
        found = {}
        for suspect in suspects:
            times = fresh[suspect.key]
            times_s = (fmean(suspect.entry.by_process_s), fmean(times)) if times else None
            time: Time = Estimated(_with_drift(estimates.get(suspect.key)), times_s=times_s)
            if doubts or not times:
                time = Undecided("; ".join(doubts) or "no fresh process measured it within the budget", times_s)
            verdict = self._verdict(suspect, time)
            how = (
                f"{reason}; judged by {len(times)} fresh processes against {len(suspect.entry.by_process_s)} stored, "
                f"with {SESSION_DRIFT:.0%} for what the machine may have drifted since"
            )
            found[suspect.key] = replace(verdict, reason=f"{verdict.reason}; {how}")
        return found


def _fresh_processes(suspects: Sequence[Suspect]) -> Iterator[tuple[str, list[str]]]:
    """The processes that measure these cases anew, in words, and their cases: the most suspicious first, a few at a
    time, so that a budget too small for all is enough for some."""
    ordered = sorted(suspects, key=_slowdown, reverse=True)
    for first in range(0, len(ordered), TOGETHER):
        part = ordered[first : first + TOGETHER]
        wanted = max(NEEDED, *(len(suspect.entry.by_process_s) for suspect in part))
        for number in range(1, wanted + 1):
            which = f"cases {first + 1} to {first + len(part)} of {len(ordered)}: fresh process {number} of {wanted}"
            yield which, [suspect.key for suspect in part]


def _with_drift(estimate: RatioEstimate | None) -> RatioEstimate | None:
    """A ratio of times from two sessions: its intervals, widened by what the machine may have drifted between them."""
    if estimate is None:
        return None
    drift = 1 + SESSION_DRIFT
    return RatioEstimate(
        estimate.value, estimate.low / drift, estimate.high * drift, estimate.at_least / drift, estimate.at_most * drift
    )


def unlike_stored(side_a_s: float, stored_s: float) -> str:
    """What to say where side A, the baseline's environment, does not take the time that is stored of it; empty where it
    does, as far as two measurements far apart agree."""
    if 1 / UNLIKE <= side_a_s / stored_s <= UNLIKE:
        return ""
    return (
        f"the baseline's environment took {1e3 * side_a_s:.3g} ms a call in lockstep, and {1e3 * stored_s:.3g} ms when "
        "the baseline was stored: it may not be what was recorded, or this machine has changed since"
    )


def _slowdown(suspect: Suspect) -> float:
    """How much longer this run's time is than the stored ones: the most suspicious is judged first."""
    before, after = _times(suspect)
    return after / before


def _suspicious(suspects: Sequence[Suspect], tolerances_of: TolerancesOf) -> Iterator[str]:
    """The keys of those that slowed down by more than their tolerance against half of all: what the machine drifted
    since the baseline is in every case's time."""
    usual = median(map(_slowdown, suspects))
    for suspect in suspects:
        if _slowdown(suspect) > usual * (1 + tolerances_of(suspect.key).time):
            yield suspect.key


def _times(suspect: Suspect) -> tuple[float, float]:
    return fmean(suspect.entry.by_process_s), suspect.record.metrics[LATENCY].value
