"""Stored baselines: what is saved is read back, and whatever is damaged is an error."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from perfgate.baselines import file_format
from perfgate.baselines.store import Baseline, BaselineError, BaselineStore, Refresh, load, to_json

from tests.support.baseline_entries import FINGERPRINT, REFRESH, entry, without_samples


def written(*keys: str) -> dict[str, Any]:
    return to_json({"machine_info": {}, "version": "5.3.1"}, "cpu-2c", {key: entry(key) for key in keys})


def written_in_schema_1(*keys: str) -> dict[str, Any]:
    """What a perfgate before the small baselines wrote: whole records, with samples."""
    benchmarks = []
    for key in keys:
        one = entry(key)
        stored = {"samples_by_process": list(one.by_process_s), "refresh": 0, "tier": one.tier}
        extra = {"perfgate": one.record.to_json(), "perfgate_baseline": stored}
        benchmarks.append({**one.benchmark, "fullname": one.node, "extra_info": extra})
    own = {"schema": 1, "machine_key": "cpu-2c", "refreshes": [REFRESH.to_json()]}
    return {"machine_info": {}, "version": "5.3.1", "benchmarks": benchmarks, "perfgate": own}


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    return BaselineStore(tmp_path / "baselines", "cpu-2c")


class TestSaved:
    def test_is_read_back(self, store: BaselineStore) -> None:
        path = store.save(written("sum/a", "sum/b"), REFRESH)
        assert path.name == "0001_2026-11-23_0123456789ab.json"
        read = store.chosen(None)
        assert read.path == path
        assert read.machine_key == "cpu-2c"
        for key in ("sum/a", "sum/b"):
            found, wanted = read.entries[key], entry(key)
            assert (found.record, found.node, found.by_process_s, found.refresh, found.tier, found.stored_key) == (
                without_samples(wanted.record),
                wanted.node,
                wanted.by_process_s,
                wanted.refresh,
                wanted.tier,
                key,
            )

    def test_in_schema_1_it_is_still_read(self, store: BaselineStore) -> None:
        store.folder.mkdir(parents=True)
        (store.folder / "0001_x.json").write_text(json.dumps(written_in_schema_1("sum/a", "sum/b")))
        store.save(written("sum/a", "sum/b"), REFRESH)
        old, new = (load(path) for path in store.files())
        assert (old.machine_key, list(old.entries)) == (new.machine_key, list(new.entries))
        for key, was in old.entries.items():
            assert was.record == entry(key).record  # with its samples
            now = new.entries[key]
            assert replace(was, record=without_samples(was.record), benchmark=now.benchmark) == now

    def test_every_earlier_one_stays_and_the_latest_is_taken(self, store: BaselineStore) -> None:
        paths = [store.save(written("sum/a"), REFRESH) for _ in range(11)]
        assert store.files() == paths
        assert store.chosen(None).path == paths[-1]
        assert store.chosen("0002").path == paths[1]
        assert store.chosen("2").path == paths[1]

    def test_a_partial_one_keeps_the_rests_provenance(self, store: BaselineStore) -> None:
        later = Refresh("2026-12-01T12:00:00+0000", "second", FINGERPRINT, 6)
        entries = {"sum/a": entry("sum/a"), "sum/b": entry("sum/b", refresh=later), "sum/c": entry("sum/c")}
        store.save(to_json({}, "cpu-2c", entries), later)
        read = store.chosen(None).entries
        assert [read[key].refresh.reason for key in ("sum/a", "sum/b", "sum/c")] == ["first", "second", "first"]
        stored = json.loads(store.files()[0].read_text())["perfgate"]["refreshes"]
        assert [one["reason"] for one in stored] == ["first", "second"]

    def test_pytest_benchmarks_own_tools_read_it(self, store: BaselineStore) -> None:
        from pytest_benchmark.storage.file import FileStorage

        store.save(written("sum/a"), REFRESH)
        warnings: list[str] = []

        class Log:
            warning = staticmethod(warnings.append)

        read = list(FileStorage(store.folder.parent, Log()).load("*/0001"))
        assert warnings == []
        assert read[0][1]["benchmarks"][0]["fullname"] == "perf/test_a.py::test_a[sum/a]"

    def test_a_failed_write_leaves_the_old_one(self, store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
        store.save(written("sum/a"), REFRESH)

        def full(*_: object) -> None:
            raise OSError("disk full")

        monkeypatch.setattr("perfgate.records.atomic_write.os.fsync", full)
        with pytest.raises(OSError, match="disk full"):
            store.save(written("sum/b"), REFRESH)
        assert [path.name for path in store.folder.iterdir()] == ["0001_2026-11-23_0123456789ab.json"]
        assert set(store.chosen(None).entries) == {"sum/a"}


class TestNone:
    def test_says_how_to_record_one(self, store: BaselineStore) -> None:
        with pytest.raises(
            BaselineError, match=r"no baseline for this machine \(cpu-2c\).*--perfgate-refresh-baseline"
        ):
            store.chosen(None)

    def test_those_of_other_machines_are_named_and_incomparable(self, store: BaselineStore) -> None:
        BaselineStore(store.folder.parent, "gpu").save(written("sum/a"), REFRESH)
        with pytest.raises(BaselineError, match=r"INCOMPARABLE \(gpu\): --perfgate-baseline-machine gpu"):
            store.chosen(None)

    def test_a_number_that_is_not_there(self, store: BaselineStore) -> None:
        store.save(written("sum/a"), REFRESH)
        with pytest.raises(BaselineError, match=r"no baseline 7 in .*; there are 0001"):
            store.chosen("7")

    def test_a_path_that_pytest_took_for_the_value(self, store: BaselineStore) -> None:
        with pytest.raises(
            BaselineError, match="'perf' is neither a baseline's number nor a file; a value belongs after `=`"
        ):
            store.chosen("perf")

    def test_a_file_of_another_machine(self, store: BaselineStore) -> None:
        path = BaselineStore(store.folder.parent, "gpu").save(written("sum/a") | {}, REFRESH)
        data = json.loads(path.read_text())
        data["perfgate"]["machine_key"] = "gpu"
        path.write_text(json.dumps(data))
        with pytest.raises(BaselineError, match=r"INCOMPARABLE: .* was recorded on gpu, this is cpu-2c"):
            store.chosen(str(path))


class TestRenamed:
    def baseline(self) -> Baseline:
        return Baseline("cpu-2c", {key: entry(key) for key in ("sum/a", "sum/b", "max/a")}, Path("b.json"))

    def test_a_case_and_a_benchmark(self) -> None:
        renamed = self.baseline().renamed({"sum/a": "sum/z", "max": "min"})
        assert set(renamed.entries) == {"sum/z", "sum/b", "min/a"}
        found = renamed.entries["min/a"]
        assert (found.record.key, found.record.name, found.stored_key) == ("min/a", "min", "max/a")

    @pytest.mark.parametrize("aliases", [{"sum/a": "sum/b"}, {"sum": "max"}])
    def test_into_a_name_that_is_taken(self, aliases: dict[str, str]) -> None:
        with pytest.raises(BaselineError, match="remove the alias"):
            self.baseline().renamed(aliases)


def change(data: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(data)
    at: Any = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return changed


RECORD = ("benchmarks", 0, "extra_info", "perfgate")
STORED = ("benchmarks", 0, "extra_info", "perfgate_baseline")
METRICS = (*RECORD, "metrics")
TABLES = ("perfgate", "tables")


class TestDamaged:
    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            (("perfgate", "schema"), "1", "schema: got '1'"),
            (("perfgate", "machine_key"), 3, "machine_key: got 3"),
            (("perfgate", "refreshes"), [], "refresh: got 0, there are 0"),
            (("perfgate", "refreshes", 0, "runs"), 1.5, "runs: got 1.5, expected a whole number"),
            (("perfgate", "refreshes", 0, "fingerprint"), [], "fingerprint: got list, expected an object"),
            (("benchmarks",), [], "benchmarks: there are none"),
            (("benchmarks",), {}, "benchmarks: got {}, expected a list"),
            (("perfgate", "schema"), 0, "schema: got 0, this perfgate reads 1 to 2"),
            ((*TABLES,), [], "tables: got list, expected an object"),
            ((*TABLES, "metrics", "latency_s", 0), "guessed", "kind: got 'guessed'"),
            ((*TABLES, "fields", "sum"), [], "sum/a: fields: got 1 values, expected 0"),
            (
                (*TABLES, "operators", "counts", 0, 0),
                1.5,
                "sum/a: operators.aten.sum: got 1.5, expected a whole number",
            ),
            ((*TABLES, "provenance"), [], "sum/a: provenance: got 0, tables.provenance has 0 rows"),
            ((*METRICS, "latency_s"), -0.5, "sum/a: latency_s: got -0.5, expected a duration above 0 s"),
            ((*METRICS, "latency_s"), 10**400, "expected a finite number"),
            ((*METRICS, "peak_memory_bytes"), -1, "peak_memory_bytes: got -1, expected 0 or more"),
            ((*RECORD, "status"), "failed", "sum/a: status: got 'failed', a baseline holds what was measured"),
            ((*RECORD, "pins"), -1, "sum/a: pins: got -1, tables.pins has 1 rows"),
            ((*RECORD, "operators"), True, "sum/a: operators: got True, expected a finite number"),
            ((*STORED, "samples_by_process"), [], "sum/a: samples_by_process: got none"),
            ((*STORED, "samples_by_process"), [True], "samples_by_process: got True, expected a finite number"),
            ((*STORED, "refresh"), -1, "refresh: got -1, there are 1"),
            ((*STORED, "tier"), "slow", "tier: got 'slow', allowed are quick, default, extra"),
            (("benchmarks", 0, "stats", "median"), 10**400, "stats.median"),
            (("benchmarks", 0, "fullname"), None, "fullname: got None, expected text"),
        ],
    )
    def test_a_wrong_field_is_named(
        self, tmp_path: Path, path: tuple[str | int, ...], value: Any, message: str
    ) -> None:
        self.require_named(tmp_path, change(written("sum/a"), path, value), message)

    @pytest.mark.parametrize(
        ("path", "value", "message"),
        [
            ((*METRICS, "latency_s", "value"), -0.5, "sum/a: latency_s: got -0.5, expected a duration above 0 s"),
            ((*METRICS, "latency_s", "samples"), [0.5, 0], "sum/a: latency_s: got 0, expected a duration above 0 s"),
            ((*METRICS, "latency_s", "kind"), "guessed", "kind: got 'guessed'"),
            ((*METRICS, "peak_memory_bytes", "value"), -1, "peak_memory_bytes: got -1, expected 0 or more"),
            ((*RECORD, "status"), "failed", "sum/a: status: got 'failed', a baseline holds what was measured"),
            ((*RECORD, "schema"), 99, "schema: got 99"),
        ],
    )
    def test_a_wrong_field_of_schema_1_is_named(
        self, tmp_path: Path, path: tuple[str | int, ...], value: Any, message: str
    ) -> None:
        self.require_named(tmp_path, change(written_in_schema_1("sum/a"), path, value), message)

    def require_named(self, folder: Path, data: Any, message: str) -> None:
        file = folder / "0001_x.json"
        file.write_text(json.dumps(data))
        with pytest.raises(BaselineError) as caught:
            load(file)
        assert message in str(caught.value)
        assert "is damaged" in str(caught.value)
        assert "--perfgate-refresh-baseline" in str(caught.value)

    @pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
    def test_what_is_no_number(self, tmp_path: Path, constant: str) -> None:
        file = tmp_path / "0001_x.json"
        file.write_text(json.dumps(written("sum/a")).replace("0.5", constant))
        with pytest.raises(BaselineError, match=f"{constant} is no number"):
            load(file)

    def test_a_number_beyond_every_float(self, tmp_path: Path) -> None:
        file = tmp_path / "0001_x.json"
        file.write_text(json.dumps(written("sum/a")).replace("0.5", "1e999"))
        with pytest.raises(BaselineError, match="got inf"):
            load(file)

    def test_a_case_twice(self, tmp_path: Path) -> None:
        data = written("sum/a")
        data["benchmarks"] *= 2
        file = tmp_path / "0001_x.json"
        file.write_text(json.dumps(data))
        with pytest.raises(BaselineError, match="two benchmarks with the key 'sum/a'"):
            load(file)

    def test_a_newer_schema_is_its_own_error(self, tmp_path: Path) -> None:
        file = tmp_path / "0001_x.json"
        file.write_text(json.dumps(change(written("sum/a"), ("perfgate", "schema"), 3)))
        with pytest.raises(BaselineError, match=r"was written by a newer perfgate .*: upgrade perfgate"):
            load(file)

    @pytest.mark.parametrize(
        "content", [b"", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"perfgate": {"schema": 1}}']
    )
    def test_what_is_no_baseline_at_all(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "0001_x.json"
        file.write_bytes(content)
        with pytest.raises(BaselineError, match=r"is damaged: .+; restore it"):
            load(file)

    def test_a_damaged_latest_one_is_no_reason_to_take_an_older(self, store: BaselineStore) -> None:
        store.save(written("sum/a"), REFRESH)
        store.save(written("sum/a"), REFRESH).write_text("{")
        with pytest.raises(BaselineError, match=r"0002_.*is damaged"):
            store.chosen(None)


DATA = [written("sum/a", "sum/b"), written_in_schema_1("sum/a", "sum/b")]
TEXTS = [file_format.written(DATA[0]), json.dumps(DATA[1])]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=5,
)


def places(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value inside."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(found for key, value in pairs for found in places(value, (*path, key)))]


def require_error_or_the_same(file: Path, content: bytes) -> None:
    """Damage is an error, or did not touch what is read: it never makes other numbers of it."""
    file.write_bytes(content)
    try:
        read = load(file)
    except BaselineError:
        return
    for found in read.entries.values():
        assert all(0 < seconds < float("inf") for seconds in found.by_process_s)
        assert found.record.status == "measured"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "0001_x.json"
    file.write_bytes(content)
    with pytest.raises(BaselineError):
        load(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(TEXTS), st.floats(0, 1, exclude_max=True))
def test_truncations(tmp_path: Path, text: str, part: float) -> None:
    file = tmp_path / "0001_x.json"
    file.write_text(text.rstrip()[: int(part * len(text.rstrip()))])
    with pytest.raises(BaselineError):
        load(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from([(data, path) for data in DATA for path in places(data)[1:]]), JSON)
def test_any_value_replaced_by_any_other(
    tmp_path: Path, place: tuple[dict[str, Any], tuple[str | int, ...]], value: Any
) -> None:
    require_error_or_the_same(tmp_path / "0001_x.json", json.dumps(change(*place, value)).encode())


def remover(path: tuple[str | int, ...]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def remove(data: dict[str, Any]) -> dict[str, Any]:
        at: Any = data
        for step in path[:-1]:
            at = at[step]
        del at[path[-1]]
        return data

    return remove


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from([(data, path) for data in DATA for path in places(data)[1:]]))
def test_any_value_removed(tmp_path: Path, place: tuple[dict[str, Any], tuple[str | int, ...]]) -> None:
    data, path = place
    changed = remover(path)(copy.deepcopy(data))
    require_error_or_the_same(tmp_path / "0001_x.json", json.dumps(changed).encode())
