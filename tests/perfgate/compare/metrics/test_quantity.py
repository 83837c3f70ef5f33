"""The objects of metrics together: each is judged or says why not, and each name finds its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from perfgate import Work
from perfgate.baselines import store
from perfgate.compare import metrics
from perfgate.compare.metrics import by_kind
from perfgate.compare.metrics.quantity import Exact, Quantity, TimeBeside, Told
from perfgate.records.record import Metric, Record

from tests.support.measured_case import PEAK, Bench
from tests.support.two_records import judged, of, twice_as_long

ROOT = Path(__file__).parents[4]


def stored_records() -> Iterator[Record]:
    for path in sorted(ROOT.glob("baselines/*/*.json")):
        yield from (entry.record for entry in store.load(path).entries.values())


def measured_metrics() -> dict[str, Metric]:
    """One of every metric that was ever stored, or that a case with everything has."""

    class Weighing:
        name = "two devices"

        def peak_of(self, call):
            return call(), PEAK

        def allocate(self, size: int) -> None:
            return None

        def beside(self) -> dict[str, int]:
            return {"reserved_peak_bytes": 1, "driver_memory_bytes": 2, "peak_bytes_cuda_0": 3}

    class Counting:
        name, shown = "counter", 0

        def read(self) -> list[int]:
            self.shown += 1
            return [self.shown]

        def joules(self, before: list[int], after: list[int]) -> float:
            return float(after[0] - before[0])

    bench = Bench(meter=Weighing())
    bench.measure.instruments.energy = Counting()
    bench.measure(bench.fn, work=Work(tokens=1, flops=2, bytes=3), weights_bytes=2**30)
    found = {name: metric for record in stored_records() for name, metric in record.metrics.items()}
    return found | bench.record.metrics


def worse(metric: Metric) -> Metric:
    """Much worse, over the same inputs."""
    factor = {"lower": 4, "higher": 0.25, "none": 4}[metric.better]
    more = 10 if metric.better == "lower" and not metric.value else 0  # four times nothing is nothing
    samples = tuple(one * factor + more for one in metric.samples)
    return replace(metric, value=metric.value * factor + more, samples=samples, interval=None)


@pytest.mark.parametrize("name", sorted(measured_metrics()))
def test_every_metric_of_a_record_is_judged_or_says_why_not(name: str) -> None:
    metric = measured_metrics()[name]
    quantity = metrics.of(name, metric)
    assert bool(quantity.how) != bool(quantity.why_not), f"{name}: how it is judged, or why it is not"
    beside = isinstance(quantity, TimeBeside)
    finding = judged(
        name, of({name: metric}), of({name: worse(metric)}), twice_as_long(beside=name if beside else None)
    )
    if quantity.why_not:
        assert finding is None, "it says that it is not judged"
    elif metric.better == "none":
        assert finding is not None
        assert "absolute bounds" in finding.reason
    else:
        assert finding is not None
        assert finding.status == "REGRESSED", finding.reason


def test_the_table_of_the_guide_tells_them_all() -> None:
    table = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    for quantity in [*metrics.every(), by_kind.Bounded, by_kind.OwnTime, by_kind.OwnSample]:
        name = getattr(quantity, "name", None)
        assert name is None or f"| `{name}` |" in table, name
        assert (quantity.how or quantity.why_not) in table, quantity


def test_a_name_finds_its_class_and_others_go_by_their_kind() -> None:
    assert {type(metrics.of(one.name)) for one in metrics.every()} == set(metrics.every())
    assert type(metrics.of("mine", Metric("exact", "1", "lower", 1))) is Exact
    assert type(metrics.of("mine", Metric("bounded", "1", "lower", 1))) is by_kind.Bounded


def test_two_classes_of_one_name_are_refused() -> None:
    class Again(Told):
        name = "latency_s"

    with pytest.raises(ValueError, match="metric 'latency_s'"):
        metrics.register(Again)


def test_metrics_count_inside_one_another() -> None:
    """What begins last, right before the rounds, ends first."""
    heard: list[str] = []

    class Noisy(Quantity):
        def __init__(self, called: str) -> None:
            self.called = called

        def begin(self, around: metrics.Surroundings) -> None:
            heard.append(f"{self.called} begins")

        def end(self) -> None:
            heard.append(f"{self.called} ends")

    with metrics.measured([Noisy("one"), Noisy("two")], metrics.Surroundings(Bench().clock)):
        heard.append("rounds")
    assert heard == ["one begins", "two begins", "rounds", "two ends", "one ends"]


@pytest.mark.parametrize(
    ("before", "after", "status"), [(True, False, "MISSING"), (False, True, "NEW"), (False, False, None)]
)
def test_a_side_that_lacks_an_exact_metric(before: bool, after: bool, status: str | None) -> None:
    has = {"weights_bytes": Metric("exact", "bytes", "lower", 1)}
    finding = judged("weights_bytes", of(has if before else {}), of(has if after else {}))
    assert (finding and finding.status) == status
