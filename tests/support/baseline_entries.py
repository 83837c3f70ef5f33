"""Entries of a baseline, made up for the tests of what stores and judges them."""

from __future__ import annotations

from dataclasses import replace

from perfgate.baselines.store import Entry, Refresh
from perfgate.records.fingerprint import Fingerprint
from perfgate.records.record import Metric, Record

FINGERPRINT = Fingerprint("code", {"python": "3.11.7"}, commit="0123456789abcdef", dirty=False)
REFRESH = Refresh("2026-11-23T12:00:00+0000", "first", FINGERPRINT, 5, {"before": {"load_1min": 0.1}})


def entry(key: str, seconds: float = 0.5, refresh: Refresh = REFRESH) -> Entry:
    """A case that two processes measured alike."""
    metrics = {
        "latency_s": Metric("sampled", "s", "lower", seconds, samples=(seconds, 1.1 * seconds)),
        "peak_memory_bytes": Metric("exact", "bytes", "lower", 1024),
    }
    record = Record(
        key.partition("/")[0],
        1,
        {"size": 3},
        key,
        provenance={"kernel": "aten.sum", "package_versions": {"numpy": "2.4.6"}},
        metrics=metrics,
        operators={"aten.sum": 2},
        pins={"threads": 1},
        notes=["a note"],
    )
    stats = {"median": seconds, "mean": seconds, "iterations": 1, "data": [seconds]}
    benchmark = {"name": "test_a[3]", "group": "a", "stats": stats}
    return Entry(record, f"perf/test_a.py::test_a[{key}]", (seconds, seconds), refresh, "quick", key, benchmark)


def without_samples(record: Record) -> Record:
    """As a file of the present schema keeps it: of samples only those of a quality, to six digits."""

    def kept(metric: Metric) -> Metric:
        samples = metric.samples if metric.kind == "bounded" else ()
        return replace(metric, samples=tuple(float(f"{one:.6g}") for one in samples))

    return replace(record, metrics={name: kept(one) for name, one in record.metrics.items()})
