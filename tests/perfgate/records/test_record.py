"""Records: what they keep comes back from JSON unchanged, and a damaged one is an error and never a pass."""

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfgate.records.record import Metric, Record, RecordError


def full_record() -> Record:
    """A record that uses every field."""
    return Record(
        name="attention",
        version=2,
        fields={"backend": "fa2", "causal": True, "batch_size": 8, "dropout": 0.5},
        key="attention/fa2-b8",
        status="fell_back",
        reason="another kernel ran",
        provenance={"kernel": "math", "executed_on": "cpu"},
        metrics={
            "latency_s": Metric("sampled", "s", "lower", 0.25, samples=(0.2, 0.25, 0.3), interval=(0.2, 0.3)),
            "flops": Metric("exact", "flop", "lower", 1234),
            "relative_error": Metric("bounded", "1", "none", 1e-7),
        },
        operators={"aten.mm.default": 3},
        pins={"allocator": "mallopt", "cores": 2, "threads": None},
        stopped_by="precision",
        clock="wall",
        notes=["a note"],
    )


def test_doubts_are_written_only_where_there_are_any() -> None:
    record = full_record()
    assert "doubts" not in record.to_json()
    record.doubts = ["the device was throttled (heat)"]
    assert Record.from_json(record.to_json()) == record
    with pytest.raises(RecordError, match="doubts"):
        Record.from_json(record.to_json() | {"doubts": [1]})


def damaged(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    data = json.loads(json.dumps(full_record().to_json()))
    change(data)
    return data


class TestRoundTrip:
    def test_every_field_comes_back(self) -> None:
        text = json.dumps(full_record().to_json(), allow_nan=False)
        assert Record.from_json(json.loads(text)) == full_record()

    def test_so_does_a_record_with_nothing_but_its_case(self) -> None:
        bare = Record("sums", 1, {}, "sums/default")
        assert Record.from_json(json.loads(json.dumps(bare.to_json()))) == bare

    def test_absent_parts_of_a_metric_are_left_out_of_the_json(self) -> None:
        assert set(Metric("exact", "bytes", "lower", 0).to_json()) == {"kind", "unit", "better", "value"}

    def test_whole_numbers_stay_whole(self) -> None:
        value = 2**53 + 1  # as a float it would be 2**53
        loaded = Metric.from_json("flops", json.loads(json.dumps(Metric("exact", "flop", "lower", value).to_json())))
        assert loaded.value == value

    def test_value_of_a_metric_or_none(self) -> None:
        assert full_record().value("flops") == 1234
        assert full_record().value("ttft_s") is None


class TestMetric:
    @pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, True, "1", None, 10**309])
    @pytest.mark.parametrize("where", ["value", "samples", "interval"])
    def test_a_number_must_be_finite_and_a_number(self, where: str, number: Any) -> None:
        given: dict[str, Any] = {"value": 1.0}
        given[where] = {"value": number, "samples": (1.0, number), "interval": (0.5, number)}[where]
        with pytest.raises(RecordError, match=f"{where}: got .*, expected a finite number"):
            Metric("sampled", "s", "lower", **given)

    def test_an_interval_does_not_end_before_it_starts(self) -> None:
        with pytest.raises(RecordError, match="interval"):
            Metric("sampled", "s", "lower", 1.0, interval=(2.0, 1.0))

    @pytest.mark.parametrize(
        ("field", "value", "allowed"), [("kind", "guessed", "exact, sampled, bounded"), ("better", "up", "lower, high")]
    )
    def test_words_outside_the_vocabulary(self, field: str, value: str, allowed: str) -> None:
        words = {"kind": "exact", "better": "lower"} | {field: value}
        with pytest.raises(RecordError, match=f"{field}: got '{value}', allowed are {allowed}"):
            Metric(unit="s", value=1.0, **words)  # type: ignore[arg-type]

    @pytest.mark.parametrize("field", ["kind", "unit", "better", "value"])
    def test_a_missing_field(self, field: str) -> None:
        data = Metric("exact", "bytes", "lower", 1).to_json()
        del data[field]
        with pytest.raises(RecordError, match=f"metric peak: field '{field}' is missing"):
            Metric.from_json("peak", data)

    @pytest.mark.parametrize("interval", [[], [1.0], [1.0, 2.0, 3.0], "12", 5, {"low": 1.0, "high": 2.0}])
    def test_an_interval_is_a_pair(self, interval: Any) -> None:
        data = Metric("exact", "bytes", "lower", 1).to_json() | {"interval": interval}
        with pytest.raises(RecordError, match="metric peak: "):
            Metric.from_json("peak", data)

    @pytest.mark.parametrize("samples", ["", "12", {}, {"1": 2}, None, 5, ["1"], [[1.0]]])
    def test_samples_are_a_list_of_numbers(self, samples: Any) -> None:
        data = Metric("sampled", "s", "lower", 1.0).to_json() | {"samples": samples}
        with pytest.raises(RecordError, match=r"metric latency_s: samples: got .*, expected a (list|finite number)"):
            Metric.from_json("latency_s", data)

    @pytest.mark.parametrize("unit", [5, None, ["s"]])
    def test_a_unit_is_text(self, unit: Any) -> None:
        with pytest.raises(RecordError, match="unit"):
            Metric.from_json("peak", Metric("exact", "bytes", "lower", 1).to_json() | {"unit": unit})


class TestDamage:
    @pytest.mark.parametrize("data", [None, [], "record", 5])
    def test_not_an_object(self, data: Any) -> None:
        with pytest.raises(RecordError, match="expected an object"):
            Record.from_json(data)

    @pytest.mark.parametrize("field", [field for field in full_record().to_json() if field != "schema"])
    def test_a_missing_field_is_named(self, field: str) -> None:
        with pytest.raises(RecordError, match=f"field '{field}' is missing"):
            Record.from_json(damaged(lambda data: data.pop(field)))

    @pytest.mark.parametrize("field", ["name", "version", "fields", "key"])
    def test_a_missing_field_of_the_case_is_named(self, field: str) -> None:
        with pytest.raises(RecordError, match=f"field '{field}' is missing"):
            Record.from_json(damaged(lambda data: data["case"].pop(field)))

    @pytest.mark.parametrize("schema", [2, 0, None, "1", True, 1.0])
    def test_a_schema_that_this_version_does_not_read(self, schema: Any) -> None:
        with pytest.raises(RecordError, match=f"schema: got {schema!r}, this perfgate reads 1"):
            Record.from_json(damaged(lambda data: data.update(schema=schema)))

    @pytest.mark.parametrize(
        ("field", "value"), [("status", "fine"), ("stopped_by", "boredom"), ("status", ["failed"])]
    )
    def test_words_outside_the_vocabulary(self, field: str, value: Any) -> None:
        with pytest.raises(RecordError, match=f"{field}: got .*, allowed are"):
            Record.from_json(damaged(lambda data: data.update({field: value})))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("case", []),
            ("metrics", [1]),
            ("operators", {"aten.mm": 1.5}),
            ("operators", {"aten.mm": True}),
            ("provenance", "cpu"),
            ("pins", None),
            ("notes", 5),
            ("notes", "a note"),
            ("notes", [5]),
            ("reason", ["slow"]),
            ("clock", 5),
            ("pins", {"cores": math.nan}),
            ("provenance", {"deep": [{"er": math.inf}]}),
        ],
    )
    def test_a_field_of_the_wrong_type(self, field: str, value: Any) -> None:
        with pytest.raises(RecordError, match=field):
            Record.from_json(damaged(lambda data: data.update({field: value})))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", None),
            ("name", 5),
            ("key", 5),
            ("version", True),
            ("version", 1.5),
            ("version", "1"),
            ("fields", []),
        ],
    )
    def test_a_field_of_the_case_of_the_wrong_type(self, field: str, value: Any) -> None:
        with pytest.raises(RecordError, match=field):
            Record.from_json(damaged(lambda data: data["case"].update({field: value})))

    def test_a_metric_that_is_no_object(self) -> None:
        with pytest.raises(RecordError, match="metric latency_s: got int, expected an object"):
            Record.from_json(damaged(lambda data: data["metrics"].update(latency_s=5)))

    def test_a_message_names_metric_and_field(self) -> None:
        with pytest.raises(RecordError, match="metric latency_s: value: got 'fast', expected a finite number"):
            Record.from_json(damaged(lambda data: data["metrics"]["latency_s"].update(value="fast")))


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of every value inside a JSON document."""
    inside: list[tuple[Any, ...]] = []
    for step in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        inside += [(*path, step), *places(node[step], (*path, step))]
    return inside


PLACES = places(full_record().to_json())
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.just("delete") | JSON_VALUES), min_size=1, max_size=3))
def test_random_damage_is_refused_or_means_exactly_what_it_says(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """Whatever loads must write the same JSON again: nothing was guessed, dropped or turned into something else."""
    data = full_record().to_json()
    for path, value in changes:
        parent = data
        try:
            for step in path[:-1]:
                parent = parent[step]
            if value == "delete":
                del parent[path[-1]]
            else:
                parent[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    original = copy.deepcopy(data)
    try:
        loaded = Record.from_json(data)
    except RecordError:
        return
    written = loaded.to_json()
    for metric in original["metrics"].values():  # written only where there is something to write
        if metric.get("samples") == []:
            del metric["samples"]
        if metric.get("interval", ()) is None:
            del metric["interval"]
    known = {name: value for name, value in original.items() if name in written}
    known["case"] = {name: value for name, value in known["case"].items() if name in written["case"]}
    assert json.dumps(written, allow_nan=False, sort_keys=True) == json.dumps(known, sort_keys=True)
