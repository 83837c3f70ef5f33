"""Memory: what of it is recorded, and that two meters are not compared."""

from __future__ import annotations

import pytest
from perfgate.compare.metrics import memory
from perfgate.compare.metrics.quantity import Seen
from perfgate.records.record import Metric

from tests.support.two_records import judged, of

PEAK = {"peak_memory_bytes": Metric("exact", "bytes", "lower", 2**30)}
MORE = {"peak_memory_bytes": Metric("exact", "bytes", "lower", 2**31)}


def test_the_peak_holds_the_weights() -> None:
    seen = Seen([1.0], 1, weights_bytes=10, peak_bytes=5)
    found = [one().value(seen) for one in (memory.Weights, memory.ActivationPeak, memory.PeakMemory)]
    assert found == [10, 5, 15]
    assert memory.PeakMemory().value(Seen([1.0], 1, peak_bytes=5)) == 5
    assert memory.PeakMemory().recorded(Seen([1.0], 1, weights_bytes=10)) == {}


def test_each_device_of_several_is_told() -> None:
    seen = Seen([1.0], 1, beside_bytes={"peak_bytes_cuda_0": 3, "peak_bytes_cuda_1": 4, "driver_memory_bytes": 9})
    assert {name: one.value for name, one in memory.DevicePeaks().recorded(seen).items()} == {
        "peak_bytes_cuda_0": 3,
        "peak_bytes_cuda_1": 4,
    }
    assert memory.DriverMemory().value(seen) == 9
    assert memory.ReservedPeak().value(seen) is None


@pytest.mark.parametrize(("more_mib", "status"), [(7, "SAME"), (9, "REGRESSED")])
def test_loading_may_import_more(more_mib: int, status: str) -> None:
    before, after = (
        {"loading_peak_bytes": Metric("exact", "bytes", "lower", mib * 2**20)} for mib in (500, 500 + more_mib)
    )
    finding = judged("loading_peak_bytes", of(before), of(after))
    assert finding is not None
    assert finding.status == status


def test_a_peak_is_compared_where_one_meter_weighed_both() -> None:
    one, other = {"provenance": {"memory_meter": "memray"}}, {"provenance": {"memory_meter": "tracemalloc"}}
    same = judged("peak_memory_bytes", of(PEAK, **one), of(MORE, **one))
    assert same is not None
    assert same.status == "REGRESSED"
    unlike = judged("peak_memory_bytes", of(PEAK, **one), of(MORE, **other))
    assert unlike is not None
    assert (unlike.status, unlike.reason) == ("INCOMPARABLE", "weighed by memray before, by tracemalloc now")
