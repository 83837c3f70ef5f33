"""Stored baselines: load, validate, save, and the history of one machine.

A baseline is a file of pytest-benchmark's own JSON (so that its tools read it) with perfgate's part in ``perfgate`` and
in each benchmark's ``extra_info``, written as :mod:`perfgate.baselines.file_format` says. It is data from outside:
whatever is damaged is an error with the command to run next, never a pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from perfgate.baselines import anchor, function_groups
from perfgate.baselines.anchor import Anchor
from perfgate.baselines.file_format import TABLES, pack, unpack, written
from perfgate.records.atomic_write import write_atomic
from perfgate.records.case import benchmark_of, slug
from perfgate.records.fingerprint import Fingerprint
from perfgate.records.record import OWN, Record
from perfgate.records.validate import (
    RecordError,
    finite,
    free_form,
    items,
    mapping,
    one_of,
    refuse_constant,
    text,
    whole,
)

SCHEMA = 2
"""Of the file. Schema 1 had whole records, with their samples; it is still read. A perfgate that knows only that one
refuses this one by its number."""
STORED = "perfgate_baseline"
"""Key of ``extra_info`` beside the record: what only a baseline has."""
FUNCTIONS = "functions"
"""Key of perfgate's part of the head, and of each case's, where it is known which functions the cases ran."""
ANCHORS, ANCHOR = "anchors", "anchor"
"""Keys of perfgate's part of the head and of each case's: since when changes add up, and what has added up."""
TIERS = ("quick", "default", "extra")
"""How a case is selected: part of ``--perfgate-quick``, of a plain run, or of ``--perfgate-all-cases`` only."""
NAME = re.compile(r"(\d{4,})_.*\.json")
REFRESH = "pytest perf --perfgate-refresh-baseline --perfgate-reason TEXT"


class BaselineError(ValueError):
    """No baseline, or one that cannot be used; the message says why and names the next command."""


@dataclass(frozen=True)
class Refresh:
    """One refresh: when and why, with what, on how many processes, and how healthy the machine was."""

    date: str
    reason: str
    fingerprint: Fingerprint
    runs: int
    health: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "date": self.date,
            "reason": self.reason,
            "fingerprint": self.fingerprint.to_json(),
            "runs": self.runs,
            "health": dict(self.health),
        }

    @classmethod
    def from_json(cls, data: Any) -> Refresh:
        fields = mapping("refresh", data)
        return cls(
            date=text("date", fields["date"]),
            reason=text("reason", fields["reason"]),
            fingerprint=Fingerprint.from_json(fields["fingerprint"]),
            runs=whole("runs", fields["runs"]),
            health=free_form("health", fields["health"]),
        )


@dataclass(frozen=True)
class Entry:
    """One case: its record, the test it came from, the latency of each process in seconds, and its refresh.

    ``tier`` is one of :data:`TIERS`; ``stored_key`` is its key when it was stored; ``benchmark`` is pytest-benchmark's
    own entry, kept for partial refreshes; ``functions`` are those of the project that it depends on (see
    :mod:`perfgate.measure.code_trace`), None where they are not known; ``anchor`` is what has added up over refreshes,
    None where nothing could yet.
    """

    record: Record
    node: str
    by_process_s: tuple[float, ...]
    refresh: Refresh
    tier: str = "default"
    stored_key: str = ""
    benchmark: Mapping[str, Any] = field(default_factory=dict, repr=False)
    functions: frozenset[str] | None = None
    anchor: Anchor | None = None


@dataclass(frozen=True)
class Baseline:
    """The stored cases by key, of the machine ``machine_key``."""

    machine_key: str
    entries: Mapping[str, Entry]
    path: Path

    def renamed(self, aliases: Mapping[str, str]) -> Baseline:
        """With old keys, or old benchmark names, under their new names.

        Raises:
            BaselineError: an alias leads to a key that another case has.
        """
        entries: dict[str, Entry] = {}
        for key, entry in self.entries.items():
            name = benchmark_of(key)
            new = aliases.get(key, aliases.get(name, name) + key.removeprefix(name))
            if new in entries or (new != key and new in self.entries):
                raise BaselineError(
                    f"alias: {key} is to be {new}, which {self.path} has too; remove the alias from [tool.perfgate]"
                )
            record = replace(entry.record, key=new, name=benchmark_of(new))
            entries[new] = replace(entry, record=record)
        return replace(self, entries=entries)


def load(path: Path) -> Baseline:
    """Read and validate one file.

    Raises:
        BaselineError: it cannot be read, or anything in it is missing, of the wrong type, or impossible.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant)
        own = mapping(OWN, mapping("baseline", data)[OWN])
        schema = own["schema"]
        if type(schema) is not int:
            raise RecordError(f"schema: got {schema!r}, expected a whole number")
        if schema > SCHEMA:
            raise BaselineError(
                f"{path} was written by a newer perfgate (schema {schema}, this one reads {SCHEMA}): upgrade perfgate"
            )
        if schema < 1:
            raise RecordError(f"schema: got {schema}, this perfgate reads 1 to {SCHEMA}")
        refreshes = [Refresh.from_json(one) for one in items("refreshes", own["refreshes"])]
        entries: dict[str, Entry] = {}
        for benchmark in items("benchmarks", data["benchmarks"]):
            benchmark = unpack(benchmark, own[TABLES]) if schema == SCHEMA else benchmark
            entry = _entry(benchmark, refreshes, own)
            if entry.record.key in entries:
                raise RecordError(f"two benchmarks with the key {entry.record.key!r}")
            entries[entry.record.key] = entry
        if not entries:
            raise RecordError("benchmarks: there are none")
        return Baseline(text("machine_key", own["machine_key"]), entries, path)
    except BaselineError:
        raise
    except (OSError, ValueError, KeyError, RecursionError) as wrong:
        said = f"field {wrong} is missing" if isinstance(wrong, KeyError) else str(wrong) or type(wrong).__name__
        raise BaselineError(
            f"{path} is damaged: {said}; restore it (`git checkout -- {path}`), or record a new one: {REFRESH}"
        ) from None


def _entry(data: Any, refreshes: list[Refresh], head: Mapping[str, Any]) -> Entry:
    benchmark = mapping("benchmark", data)
    extra = mapping("extra_info", benchmark["extra_info"])
    record = Record.from_json(extra[OWN])
    try:
        stored = mapping(STORED, extra[STORED])
        if record.status != "measured":
            raise RecordError(f"status: got {record.status!r}, a baseline holds what was measured")
        by_process = tuple(_positive("samples_by_process", one) for one in items(STORED, stored["samples_by_process"]))
        if not by_process:
            raise RecordError("samples_by_process: got none")
        for name, metric in record.metrics.items():
            if metric.unit == "s":
                for value in (metric.value, *metric.samples):
                    _positive(name, value)
            elif metric.kind == "exact" and metric.value < 0:
                raise RecordError(f"{name}: got {metric.value!r}, expected 0 or more")
        number = whole("refresh", stored["refresh"])
        if not 0 <= number < len(refreshes):
            raise RecordError(f"refresh: got {number}, there are {len(refreshes)}")
        for name, value in mapping("stats", benchmark["stats"]).items():
            if isinstance(value, (int, float)):
                finite(f"stats.{name}", value)
        tier = one_of("tier", stored["tier"], TIERS)
        node = text("fullname", benchmark["fullname"])
        groups, anchors = items(FUNCTIONS, head.get(FUNCTIONS, [])), items(ANCHORS, head.get(ANCHORS, []))
        functions = function_groups.unpack(groups, stored[FUNCTIONS]) if FUNCTIONS in stored else None
        since = anchor.unpack(anchors, stored[ANCHOR]) if ANCHOR in stored else None
        return Entry(record, node, by_process, refreshes[number], tier, record.key, dict(benchmark), functions, since)
    except RecordError as wrong:
        raise RecordError(f"{record.key}: {wrong}") from None


def _positive(what: str, value: Any) -> float:
    if finite(what, value) <= 0:
        raise RecordError(f"{what}: got {value!r}, expected a duration above 0 s")
    return float(value)


class BaselineStore:
    """The baselines of one machine: ``folder/machine_key/NNNN_<date>_<commit>.json``, every one kept as history."""

    def __init__(self, folder: Path, machine_key: str) -> None:
        self.folder = folder / machine_key
        self.machine_key = machine_key

    def files(self) -> list[Path]:
        """All of them, the oldest first."""
        found = [path for path in self.folder.glob("*.json") if NAME.fullmatch(path.name)]
        return sorted(found, key=_number)

    def chosen(self, text: str | None) -> Baseline:
        """The latest, the one of that number, or a file.

        Raises:
            BaselineError: there is none, it is damaged, or it was recorded on another machine.
        """
        if text is not None and not text.isdigit():
            path = Path(text)
            if not path.is_file():
                raise BaselineError(
                    f"--benchmark-compare: {text!r} is neither a baseline's number nor a file; a value belongs after "
                    "`=`, and an option without one last or before another option: "
                    "pytest perf --benchmark-compare=0001, or pytest perf --benchmark-compare"
                )
            baseline = load(path)
            if baseline.machine_key != self.machine_key:
                raise BaselineError(
                    f"INCOMPARABLE: {path} was recorded on {baseline.machine_key}, this is {self.machine_key}; to "
                    f"compare all the same: --perfgate-baseline-machine {baseline.machine_key}"
                )
            return baseline
        files = self.files()
        if not files:
            raise BaselineError(self._none())
        if text is None:
            return load(files[-1])
        wanted = [path for path in files if _number(path) == int(text)]
        if not wanted:
            raise BaselineError(
                f"--benchmark-compare: no baseline {text} in {self.folder}; there are "
                f"{', '.join(path.name.partition('_')[0] for path in files)}"
            )
        return load(wanted[0])

    def _none(self) -> str:
        others = sorted(path.name for path in self.folder.parent.glob("*/") if any(path.glob("*.json")))
        said = f"no baseline for this machine ({self.machine_key}) in {self.folder.parent}; record one: {REFRESH}"
        if others:
            said += (
                f"; those of other machines are INCOMPARABLE ({', '.join(others)}): "
                f"--perfgate-baseline-machine {others[0]} compares with one on purpose"
            )
        return said

    def save(self, data: Mapping[str, Any], refresh: Refresh) -> Path:
        """Write a new baseline beside the earlier ones, atomically; ``data`` is made by :func:`to_json`.

        Raises:
            OSError: the folder cannot be made or written.
        """
        files = self.files()
        number = _number(files[-1]) + 1 if files else 1
        commit = (refresh.fingerprint.commit or "no-commit")[:12]
        path = self.folder / f"{number:04}_{slug(refresh.date[:10])}_{commit}.json"
        write_atomic(path, written(data))
        return path


def _number(path: Path) -> int:
    found = NAME.fullmatch(path.name)
    return int(found[1]) if found else 0


def to_json(head: Mapping[str, Any], machine_key: str, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """A baseline's JSON: pytest-benchmark's top level from ``head``, the entries in order of their keys without their
    samples, and each refresh that one of them came from once."""
    refreshes: list[Refresh] = []
    benchmarks = []
    groups, numbers = function_groups.pack({key: entry.functions for key, entry in entries.items()})
    anchors, added_up = anchor.pack({key: entry.anchor for key, entry in entries.items()})
    for key in sorted(entries):
        entry = entries[key]
        if entry.refresh not in refreshes:
            refreshes.append(entry.refresh)
        stored = {
            "samples_by_process": list(entry.by_process_s),
            "refresh": refreshes.index(entry.refresh),
            "tier": entry.tier,
            **({FUNCTIONS: numbers[key]} if key in numbers else {}),
            **({ANCHOR: added_up[key]} if key in added_up else {}),
        }
        extra = {OWN: entry.record.to_json(), STORED: stored}
        benchmarks.append({**entry.benchmark, "fullname": entry.node, "extra_info": extra})
    packed, tables = pack(benchmarks)
    own = {
        "schema": SCHEMA,
        "machine_key": machine_key,
        "refreshes": [one.to_json() for one in refreshes],
        TABLES: tables,
        **({FUNCTIONS: groups} if groups else {}),
        **({ANCHORS: anchors} if anchors else {}),
    }
    return {**head, OWN: own, "benchmarks": packed}
