"""``python -m perfgate selftest``: the gate tested as a gate, on this machine, with real processes.

Each try is one comparison of the selected cases with this machine's baseline, in a process of its own, with judging
forced: without a fault (nothing may fail), or with one fault in some cases (they must fail, the others must not). Tries
go round all kinds until the time is over; their outcomes are appended to a file, so that several sittings add up. The
results of a try that said something wrong are kept whole beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from itertools import cycle
from pathlib import Path
from statistics import median

from perfgate.compare.metric_verdict import FAILING
from perfgate.measure.clocks import WallClock, today
from perfgate.measure.fault_injection import ENVIRONMENT as FAULTS
from perfgate.measure.fault_injection import RENAMED
from perfgate.records.atomic_write import write_atomic
from perfgate.report import Column, Section, Table, Value, duration, percent
from perfgate.report.write import STEP_SUMMARY

CONFIDENCE = 0.95
NOT_TIMED = ("--perfgate-judge-budget", "0.001")
"""For faults that no time is needed to find: what is found then is found in the first run, without the judge."""


@dataclass(frozen=True)
class Kind:
    """One kind of try. ``fault`` is None for a try without one; ``arguments`` go to pytest beside the selection;
    ``busy``: a busy loop runs on another core; ``alias``: renamed cases have one, and are then no fault."""

    name: str
    fault: str | None
    arguments: tuple[str, ...] = ()
    busy: bool = False
    alias: bool = False


KINDS = (
    Kind("no fault", None),
    Kind("memory +1 MiB", "memory=1MiB", NOT_TIMED),
    Kind("one more operator call", "operator=1", NOT_TIMED),
    Kind("wrong output", "wrong", NOT_TIMED),
    Kind("another kernel", "kernel", NOT_TIMED),
    Kind("vanished case", "vanish", NOT_TIMED),
    Kind("renamed case", "rename", NOT_TIMED),
    Kind("5% slower, tolerance 2%", "slow=5%", ("--perfgate-tolerance", "2")),
    Kind("10% slower", "slow=10%"),
    Kind("25% slower", "slow=25%"),
    Kind("no fault, another core busy", None, busy=True),
    Kind("renamed case with an alias", "rename", alias=True),
)


@dataclass(frozen=True)
class Outcome:
    """What one try said of one case: its verdict with the reason, and whether the fault was in it. ``took_s``: seconds
    of the whole try. Files that are older than these two have None and an empty reason."""

    kind: str
    case: str
    hit: bool
    status: str
    sitting: str
    took_s: float | None = None
    reason: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it accuses a case without a fault, or clears one that has it."""
        return self.status == "SAME" if self.hit else self.status in FAILING


@contextmanager
def _busy(wanted: bool) -> Iterator[None]:
    """Keep another core than the measured one busy."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        yield
    finally:
        process.kill()
        process.wait()


def attempt(
    kind: Kind, cases: Sequence[str], arguments: Sequence[str], sitting: str, keep: Path | None = None
) -> list[Outcome]:
    """One try with the fault in ``cases``; what the gate said of every case. The results of a try that said something
    wrong are copied to the file ``keep``.

    Raises:
        RuntimeError: the comparison left no verdicts; the message quotes its last output.
    """
    faults = [] if kind.fault is None else [f"{kind.fault}@{case}" for case in cases]
    aliases = {case: f"{case}{RENAMED}" for case in cases} if kind.alias else {}
    with tempfile.TemporaryDirectory(prefix="perfgate-selftest-") as folder, _busy(kind.busy):
        command = [
            sys.executable,
            "-m",
            "pytest",
            *arguments,
            "--benchmark-compare",
            "--perfgate-judge",
            *kind.arguments,
        ]
        command += [
            f"--perfgate-report-dir={folder}",
            "--perfgate-no-html",
            "-q",
            "--benchmark-quiet",
            "-p",
            "no:cacheprovider",
        ]
        command += [f"--perfgate-alias={old}={new}" for old, new in aliases.items()]
        environment = {k: v for k, v in os.environ.items() if k != STEP_SUMMARY} | {FAULTS: " ".join(faults)}
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        try:
            text = (Path(folder) / "results.json").read_text(encoding="utf-8")
            results = json.loads(text)
            verdicts = results["sections"]["gate"]["verdicts"]
        except (OSError, ValueError, KeyError):
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-5:]
            raise RuntimeError("the comparison left no verdicts: " + " / ".join(said)) from None
    hit = set(cases) if kind.fault is not None and not kind.alias else set()
    told = [
        Outcome(kind.name, key, key in hit, one["status"], sitting, reason=one["reason"])
        for key, one in verdicts.items()
        if one["status"] != "NEW"
    ]
    if keep is not None and any(one.wrong for one in told):
        write_atomic(keep, text)
    return told


def read(path: Path) -> list[Outcome]:
    """The outcomes of earlier sittings; a last line that a killed sitting left unfinished is dropped."""
    if not path.is_file():
        return []
    found = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        try:
            found.append(Outcome(**json.loads(line)))
        except (ValueError, TypeError):
            if number + 1 < len(lines):
                raise ValueError(f"{path}, line {number + 1}: no outcome of a selftest: {line[:80]}") from None
    return found


def append(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Add outcomes to the file, on the disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes)
        file.flush()
        os.fsync(file.fileno())


def interval(hits: int, tries: int) -> tuple[float, float]:
    """The exact 95% interval of a rate.

    Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934), as scipy.stats.binomtest has it.
    """
    from scipy.stats import binomtest

    found = binomtest(hits, tries).proportion_ci(CONFIDENCE, "exact")
    return float(found.low), float(found.high)


COLUMNS = (
    Column("kind", "what was done"),
    Column("cases", "cases that count"),
    Column("failed", "failed"),
    Column("failed_rate", "rate", percent),
    Column("low", "from", percent),
    Column("high", "to", percent),
    Column("same", "called SAME"),
    Column("inconclusive", "INCONCLUSIVE"),
    Column("runs", "comparisons"),
    Column("runs_failed", "of them failed without cause"),
    Column("took", "took, median"),
)


def summary(outcomes: Sequence[Outcome]) -> Section:
    """Detections and false failures by kind, with n and their exact interval. A case with a fault counts however it
    ended; one without only where it was decided: what nobody decided cannot fail."""
    counted = [outcome for outcome in outcomes if outcome.hit or outcome.status != "INCONCLUSIVE"]
    rows: list[Mapping[str, Value]] = []
    for name in dict.fromkeys(outcome.kind for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.kind == name]
        spared = [outcome for outcome in counted if outcome.kind == name and not outcome.hit]
        hit = [outcome for outcome in own if outcome.hit]
        if hit or spared:
            rows.append(_row(name, hit or spared, own, spared))
    unharmed = [outcome for outcome in counted if not outcome.hit]
    paragraphs = [
        f"{len(outcomes)} verdicts of {len({(one.sitting, one.kind) for one in outcomes})} comparisons; intervals are "
        f"exact, {CONFIDENCE:.0%}.",
    ]
    if unharmed:
        wrong = sum(outcome.wrong for outcome in unharmed)
        paragraphs.append(
            f"Cases without a fault that were decided: {wrong} of {len(unharmed)} failed "
            f"({_rate(wrong, len(unharmed))})."
        )
        suites = {(one.sitting, one.kind) for one in unharmed}
        accused = len({(one.sitting, one.kind) for one in unharmed if one.wrong})
        paragraphs.append(
            f"Comparisons that decided such a case: {accused} of {len(suites)} accused one "
            f"({_rate(accused, len(suites))}); the promise is 1% at most."
        )
    return Section("selftest", "The gate tested as a gate", paragraphs, Table(COLUMNS, rows))


def _rate(hits: int, tries: int) -> str:
    low, high = interval(hits, tries)
    return f"{hits / tries:.2%}, {low:.2%} to {high:.2%}"


def _row(name: str, counted: Sequence[Outcome], own: Sequence[Outcome], spared: Sequence[Outcome]) -> dict[str, Value]:
    failed = sum(outcome.status in FAILING for outcome in counted)
    low, high = interval(failed, len(counted))
    took = {outcome.sitting: outcome.took_s for outcome in own if outcome.took_s is not None}
    return {
        "kind": name,
        "cases": len(counted),
        "failed": failed,
        "failed_rate": failed / len(counted),
        "low": low,
        "high": high,
        "same": sum(outcome.status == "SAME" for outcome in counted),
        "inconclusive": sum(outcome.status == "INCONCLUSIVE" for outcome in own),
        "runs": len({outcome.sitting for outcome in own}),
        "runs_failed": len({outcome.sitting for outcome in spared if outcome.wrong}),
        "took": duration(median(took.values())) if took else None,
    }


def cases_to_hit(cases: Sequence[str], number: int) -> list[str]:
    """Every second case, another half in every other round: the rest shows that a fault stays where it is."""
    return [case for position, case in enumerate(sorted(cases)) if (position + number) % 2 == 0]


def _say(text: str) -> None:
    print(text, flush=True)  # into a file too it tells at once how far it is


def run(
    arguments: Sequence[str], path: Path, seconds: float, names: Sequence[str], say: Callable[[str], None] = _say
) -> list[Outcome]:
    """Go round the kinds called ``names`` (patterns) until ``seconds`` are over; returns all outcomes of the file.

    Ctrl-C ends the sitting; what was found until then stays.

    Raises:
        ValueError: no kind has such a name, or the file is damaged.
        RuntimeError: a comparison left no verdicts.
    """
    clock = WallClock()
    start = clock.now()
    earlier = read(path)
    kinds = [kind for kind in KINDS if any(fnmatchcase(kind.name, name) for name in names)]
    if not kinds:
        raise ValueError(f"--kinds: {' '.join(names)} matches none of: {'; '.join(kind.name for kind in KINDS)}")
    rounds = len({outcome.sitting for outcome in earlier})
    say("one comparison without judging tells the cases")
    cases = [outcome.case for outcome in attempt(Kind("cases", None, NOT_TIMED), (), arguments, "")]
    longest: dict[str, float] = {}
    try:
        for number, kind in enumerate(cycle(kinds)):
            began = clock.now()
            if began - start + longest.get(kind.name, 0.0) > seconds:
                break
            hit = cases_to_hit(cases, (rounds + number) // len(kinds))
            keep = path.with_name(f"{path.stem}-wrong") / f"{rounds + number:04}.json"
            told = attempt(kind, hit, arguments, f"{today()} {number}", keep)
            took = longest[kind.name] = clock.now() - began
            found = [replace(outcome, took_s=took) for outcome in told]
            append(path, found)
            failed = [outcome.case for outcome in found if outcome.status in FAILING]
            say(
                f"{kind.name}: {len(failed)} of {len(found)} cases failed, {sum(one.hit for one in found)} had the "
                f"fault ({duration(took)}; {duration(max(0.0, seconds - (clock.now() - start)))} left)"
            )
            for one in found:
                if one.wrong:
                    fault = "with the fault" if one.hit else "without a fault"
                    say(f"  {one.case}, {fault}, is {one.status}: {one.reason}; its results: {keep}")
    except KeyboardInterrupt:
        say("interrupted; what was found so far is kept")
    return read(path)
