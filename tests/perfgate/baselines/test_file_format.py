"""The text of a stored baseline: what goes in comes out again but for its samples, and each case is one line."""

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfgate.baselines.file_format import pack, unpack, written
from perfgate.baselines.store import BaselineStore, to_json
from perfgate.records.record import Metric, Record
from perfgate.records.validate import RecordError

from tests.support.baseline_entries import REFRESH, entry, without_samples

NAMES = st.text("abc_.", min_size=1, max_size=4)
NUMBERS = st.integers(0, 2**70) | st.floats(allow_nan=False, allow_infinity=False)
SMALL = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
METRICS = st.builds(
    Metric,
    st.sampled_from(["exact", "sampled", "bounded"]),
    st.sampled_from(["s", "bytes"]),
    st.sampled_from(["lower", "higher"]),
    NUMBERS,
    st.lists(st.floats(0, 1), max_size=2).map(tuple),
    st.none() | st.just((0.25, 0.5)),
)
RECORDS = st.builds(
    Record,
    st.sampled_from(["sum", "max"]),
    st.integers(1, 2),
    st.dictionaries(NAMES, SMALL, max_size=2),
    st.sampled_from(["sum/a", "max/b", "none"]),
    status=st.sampled_from(["measured", "failed"]),
    reason=st.none() | st.just("because"),
    provenance=st.dictionaries(NAMES | st.just("package_versions"), SMALL, max_size=2),
    metrics=st.dictionaries(NAMES, METRICS, max_size=3),
    operators=st.dictionaries(NAMES, st.integers(1, 9), max_size=3),
    pins=st.dictionaries(NAMES, SMALL, max_size=1),
    stopped_by=st.none() | st.just("budget"),
    clock=st.none() | st.just("wall"),
    notes=st.lists(st.just("a note"), max_size=1),
    doubts=st.lists(st.just("throttled"), max_size=1),
)


def benchmark(record: Record, **other: Any) -> dict[str, Any]:
    """As a session's JSON has it."""
    usual = {"group": "g", "name": "test_a[x]", "fullname": "a.py::test_a[x]", "param": "x", "params": None}
    return {**usual, "stats": {}, "extra_info": {"perfgate": record.to_json()}, **other}


def there_and_back(*records: Record) -> list[Record]:
    packed, tables = pack([benchmark(one) for one in records])
    read = json.loads(written({"benchmarks": packed, "tables": tables}))
    found = [unpack(one, read["tables"]) for one in read["benchmarks"]]
    return [Record.from_json(one["extra_info"]["perfgate"]) for one in found]


def bits(record: Record) -> Mapping[str, bytes | int]:
    values = {name: one.value for name, one in record.metrics.items()}
    return {name: struct.pack("d", one) if isinstance(one, float) else one for name, one in values.items()}


@given(st.lists(RECORDS, min_size=1, max_size=3))
def test_every_record_comes_back_to_the_last_bit_but_for_its_samples(records: list[Record]) -> None:
    found = there_and_back(*records)
    assert found == [without_samples(one) for one in records]
    assert [bits(one) for one in found] == [bits(one) for one in records]
    assert [list(one.fields) for one in found] == [list(one.fields) for one in records]


def test_each_case_is_one_line_and_the_head_is_spread(tmp_path: Any) -> None:
    entries = {key: entry(key) for key in ("sum/b", "sum/a", "sum/c")}
    head = {"machine_info": {"cpu": {"flags": ["a", "b"]}}}
    lines = BaselineStore(tmp_path, "m").save(to_json(head, "m", entries), REFRESH).read_text().splitlines()
    assert [json.loads(line.rstrip(","))["extra_info"]["perfgate"]["key"] for line in lines[-5:-2]] == [
        *sorted(entries)
    ]
    assert lines[-2:] == [" ]", "}"]
    assert lines[:3] == ["{", ' "machine_info": {', '  "cpu": {']
    assert lines[3] == '   "flags": ["a","b"]'
    assert "samples" not in lines[-5].replace("samples_by_process", "")
    assert '"data"' not in lines[-5]


def test_what_cases_share_stands_once() -> None:
    packed, tables = pack([benchmark(entry(key).record) for key in ("sum/a", "sum/b")])
    assert tables == {
        "fields": {"sum": ["size"]},
        "metrics": {"latency_s": ["sampled", "s", "lower"], "peak_memory_bytes": ["exact", "bytes", "lower"]},
        "operators": {"names": ["aten.sum"], "counts": [[2]]},
        "provenance": [{"kernel": "aten.sum", "package_versions": 0}],
        "versions": [{"numpy": "2.4.6"}],
        "pins": [{"threads": 1}],
        "notes": [["a note"]],
    }
    assert packed[1]["extra_info"]["perfgate"] == {
        "key": "sum/b",
        "version": 1,
        "fields": [3],
        "metrics": {"latency_s": 0.5, "peak_memory_bytes": 1024},
        "operators": 0,
        "provenance": 0,
        "pins": 0,
        "notes": 0,
        "stopped_by": None,
        "clock": None,
    }


def test_what_differs_stands_in_its_case() -> None:
    one = entry("sum/a").record
    other = replace(one, key="sum/b", fields={"length": 3}, metrics={"latency_s": Metric("exact", "s", "lower", 0.5)})
    packed, _ = pack([benchmark(one), benchmark(other)])
    own = packed[1]["extra_info"]["perfgate"]
    assert own["fields"] == {"length": 3}
    assert own["metrics"] == {"latency_s": {"kind": "exact", "unit": "s", "better": "lower", "value": 0.5}}


def test_a_stored_one_that_is_stored_again_has_the_same_text(tmp_path: Any) -> None:
    store = BaselineStore(tmp_path, "m")
    later = replace(REFRESH, reason="second")
    entries = {"sum/b": entry("sum/b"), "sum/a": entry("sum/a", refresh=later)}
    first = store.save(to_json({"version": "5"}, "m", entries), REFRESH)
    second = store.save(to_json({"version": "5"}, "m", store.chosen("1").entries), REFRESH)
    assert second.read_text() == first.read_text()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["head", "benchmarks"])
def test_a_number_that_is_not_finite_is_never_written(number: float, place: str) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        written({"head": [], "benchmarks": []} | {place: [number]})


class TestPytestBenchmarksPart:
    def test_statistics_of_its_tables_and_charts(self) -> None:
        stats = {"min": 0.0014488140000139538, "rounds": 3, "total": 1.5, "outliers": "1;0", "data": [0.5]}
        (packed,), _ = pack([benchmark(entry("sum/a").record, stats=stats, options={"timer": "t"})])
        assert packed["stats"] == {"min": 0.00144881400001, "rounds": 3, "outliers": "1;0"}
        assert set(packed) == {"group", "name", "fullname", "param", "params", "stats", "extra_info"}

    def test_a_parameter_that_is_no_json_is_named_by_the_tests_id(self) -> None:
        params = {"case": "UNSERIALIZABLE[Case(a=1)]", "size": 3}
        (packed,), _ = pack([benchmark(entry("sum/a").record, params=params)])
        assert packed["params"] == {"case": "x", "size": 3}


@pytest.mark.parametrize("number", [1, -1, True, 0.0, None, "0", [0]])
@pytest.mark.parametrize("part", ["provenance", "pins", "notes", "operators"])
def test_a_row_that_is_not_there_is_refused(part: str, number: Any) -> None:
    (packed,), tables = pack([benchmark(entry("sum/a").record)])
    packed["extra_info"]["perfgate"][part] = number
    with pytest.raises(RecordError, match=f"sum/a: {part}: got "):
        unpack(packed, tables)


@pytest.mark.parametrize(
    ("table", "value"), [("fields", {"sum": []}), ("metrics", {"latency_s": ["sampled", "s"]}), ("operators", None)]
)
def test_a_row_that_does_not_fit_is_refused(table: str, value: Any) -> None:
    (packed,), tables = pack([benchmark(entry("sum/a").record)])
    with pytest.raises(RecordError, match="sum/a: "):
        unpack(packed, {**tables, table: value})
