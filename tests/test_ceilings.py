"""What a device reaches at most: measured once, the fastest round, within the memory that is free."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import roofline_report
from perfgate.record import Metric, Record

from fixtures import ceilings, devices
from fixtures.ceilings import BUDGET_S, Ceilings, add_shares
from fixtures.peaks import peak_of

MATMUL_FLOP = 2 * ceilings.CPU_MATRIX**3


def ceilings_of(times: Iterator[float], device: str = "cpu") -> Ceilings:
    """Ceilings whose calls take ``times`` one after the other, and are not run."""
    return Ceilings(device, lambda call: next(times))


def by_the_clock(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_the_fastest_round_after_the_warm_up_counts() -> None:
    found = ceilings_of(iter([0.001, 0.001, 0.001, 0.02, 0.01, 0.03, *[0.02] * 7]))
    assert found.matmul_flop_per_s("fp32") == MATMUL_FLOP / 0.01


def test_slow_rounds_end_at_the_budget() -> None:
    times = iter([BUDGET_S, BUDGET_S, BUDGET_S, 2.0])  # a fifth would be an error
    assert ceilings_of(times).matmul_flop_per_s("fp16") == MATMUL_FLOP / 2.0


def test_each_ceiling_is_measured_once() -> None:
    found = ceilings_of(iter([BUDGET_S] * 8))  # two measurements; a third would be an error
    assert found.matmul_flop_per_s("fp32") == found.matmul_flop_per_s("fp32")
    assert found.copy_bytes_per_s == found.copy_bytes_per_s == 2 * ceilings.CPU_COPY_BYTES / BUDGET_S


def test_a_device_with_little_free_memory_gets_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda device: 10_000_000)
    found = ceilings_of(iter([BUDGET_S] * 8))
    assert found.copy_bytes_per_s == 2 * 500_000 / BUDGET_S
    assert found.matmul_flop_per_s("fp32") == 2 * 256**3 / BUDGET_S


def test_this_machine_multiplies_and_copies() -> None:
    found = Ceilings("cpu", by_the_clock)
    assert 1e8 < found.matmul_flop_per_s("fp32") < 1e15
    assert 1e7 < found.copy_bytes_per_s < 1e13
    assert found.sheet is None


class FakeMeasure(SimpleNamespace):
    """As much of ``measure`` as the shares need."""

    def add(self, name: str, metric: Metric) -> None:
        self.record.metrics[name] = metric


def measured(disabled: bool = False) -> Any:
    record = Record("linear", 1, {}, "linear/x")
    record.metrics["throughput_flop_per_s"] = Metric("sampled", "flop/s", "higher", 5e12)
    record.metrics["bandwidth_bytes_per_s"] = Metric("sampled", "bytes/s", "higher", 1e11)
    return FakeMeasure(record=record, disabled=disabled)


def known(sheet: str | None) -> Any:
    return SimpleNamespace(
        matmul_flop_per_s={"bf16": 10e12}.__getitem__,
        copy_bytes_per_s=4e11,
        sheet=None if sheet is None else peak_of(sheet),
    )


def test_shares_are_of_the_ceilings_and_of_the_data_sheet() -> None:
    measure = measured()
    add_shares(measure, known("NVIDIA H200"), "bf16")
    values = {name: metric.value for name, metric in measure.record.metrics.items() if "fraction" in name}
    assert values == {
        "flop_ceiling_fraction": 0.5,
        "bandwidth_ceiling_fraction": 0.25,
        "flop_peak_fraction": pytest.approx(5e12 / 989.5e12),
        "bandwidth_peak_fraction": pytest.approx(1e11 / 4.8e12),
    }
    assert Record.from_json(measure.record.to_json()) == measure.record
    assert [column.key for column in roofline_report.columns([measure.record])] == [*values]
    assert roofline_report.notes([measure.record, measure.record]) == [
        "ceilings measured in this run, bf16: matmul 10,000 GFLOP/s, copy 400.0 GB/s"
    ]


def test_without_a_data_sheet_there_are_no_columns_of_it() -> None:
    measure = measured()
    add_shares(measure, known(None), "bf16")
    assert [column.title for column in roofline_report.columns([measure.record])] == ["% of matmul", "% of copy"]


def test_a_worker_of_a_comparison_measures_no_ceiling() -> None:
    measure = measured(disabled=True)
    add_shares(measure, None, "bf16")  # type: ignore[arg-type]  # nothing may be asked of it
    assert measure.record.provenance == {}
    assert roofline_report.notes([measure.record]) == []
    assert roofline_report.columns([measure.record]) == ()
