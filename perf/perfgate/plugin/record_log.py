"""The cases of a session and their records: collected, waiting, ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pytest

from perfgate.measure.fault_injection import RENAMED, Fault
from perfgate.plugin.activation import is_adopted, is_benchmark
from perfgate.plugin.case_tables import row_of
from perfgate.records.case import benchmark_of, slug
from perfgate.records.record import Record

RECORD: pytest.StashKey[Record] = pytest.StashKey()

DURATIONS = "perfgate/durations"
"""pytest-cache key of the seconds each case took the last time it ran here."""


class RecordLog:
    """Every case of a session by its key. ``collected`` are the tests of all benchmarks, before any was deselected;
    ``waiting`` those still to run; ``records`` those that ended, in the order of the run; ``remembered`` are the
    seconds each case took in the runs before."""

    def __init__(self, device: str, faults: Sequence[Fault]) -> None:
        self._kind = device.split(":")[0]
        self._faults = faults
        self._durations: dict[str, float] = {}
        self.collected: dict[str, str] = {}
        self.waiting: list[pytest.Item] = []
        self.records: dict[str, Record] = {}
        self.remembered: dict[str, float] = {}

    def record_of(self, item: pytest.Item) -> Record:
        """The record of a benchmark item, made when first asked for."""
        if RECORD not in item.stash:
            row = row_of(item)
            if row is not None:
                record = Record(row.case.benchmark, row.case.version, row.case.fields, row.case.key)
            elif is_adopted(item):
                record = Record(benchmark_name(item), 1, {}, item.nodeid)
            else:
                name = benchmark_name(item)
                call = getattr(item, "callspec", None)
                record = Record(name, 1, {}, f"{name}/{slug(call.id) if call else 'default'}")
            record.provenance["executed_on"] = self._kind
            if any(fault.kind == "rename" and fault.hits(record.key) for fault in self._faults):
                record.key += RENAMED
            item.stash[RECORD] = record
        return item.stash[RECORD]

    def collect(self, items: list[pytest.Item]) -> None:
        """Know the benchmarks of a collection before any is deselected; those that an injected fault takes away leave
        ``items``."""
        items[:] = [item for item in items if not is_benchmark(item) or not self._vanished(item)]
        self.collected = {self.record_of(item).key: item.nodeid for item in items if is_benchmark(item)}

    def _vanished(self, item: pytest.Item) -> bool:
        key = self.record_of(item).key
        return any(fault.kind == "vanish" and fault.hits(key) for fault in self._faults)

    def require_own_keys(self, items: Iterable[pytest.Item]) -> None:
        """Refuse two benchmarks whose records would overwrite each other.

        Raises:
            pytest.UsageError: two items have one key.
        """
        owners: dict[str, str] = {}
        for item in filter(is_benchmark, items):
            key = self.record_of(item).key
            if key in owners:
                raise pytest.UsageError(
                    f"two benchmarks share the key {key!r}: {owners[key]} and {item.nodeid}; "
                    "rename one function, or give its Case another benchmark name"
                )
            owners[key] = item.nodeid

    def add(self, record: Record, took_s: float | None = None) -> None:
        """Take the record of a case that ended; ``took_s``: how long it took here, in all."""
        self.records[record.key] = record
        if record.status == "measured" and took_s is not None:
            self._durations[record.key] = took_s
        self.waiting = [item for item in self.waiting if item.stash.get(RECORD, None) is not record]

    def expected_s(self, item: pytest.Item) -> float | None:
        """About how long a case will take: as long as the last time here, or the table's guess; None if unknown."""
        row = row_of(item)
        if row is None:
            return None
        return 0.0 if row.unavailable is not None else self.remembered.get(row.case.key, row.expected_s)

    def expected_left(self) -> float:
        """Seconds that the cases still waiting will take, as far as known."""
        return sum(self.expected_s(item) or 0.0 for item in self.waiting)

    def recall(self, config: pytest.Config) -> None:
        """Read how long the cases took the last time; pytest's cache exists only once it is configured."""
        cache = getattr(config, "cache", None)
        if cache is not None:
            self.remembered = dict(cache.get(DURATIONS, {}))

    def remember(self, config: pytest.Config) -> None:
        """Keep how long the cases took for the next run here."""
        cache = getattr(config, "cache", None)
        if cache is not None:
            cache.set(DURATIONS, self.remembered | self._durations)


def by_status(records: Mapping[str, Record]) -> dict[str, list[str]]:
    """Case keys by status."""
    found: dict[str, list[str]] = {}
    for record in records.values():
        found.setdefault(record.status, []).append(record.key)
    return found


def benchmark_name(item: pytest.Item) -> str:
    """The name of a benchmark: its table's, or its function's; of a test not written for perfgate with its file's."""
    if is_adopted(item):
        return benchmark_of(item.nodeid)
    row = row_of(item)
    return row.case.benchmark if row is not None else slug(getattr(item, "originalname", item.name))
