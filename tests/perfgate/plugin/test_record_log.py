"""The cases of a session: their keys, what is left, and how long they took the last time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats  # noqa: F401  # loaded here, and torch too, because pytester unloads again what a run inside this
import torch  # noqa: F401  # process loads, and neither can be loaded twice
from perfgate.measure.fault_injection import parse
from perfgate.plugin.record_log import DURATIONS, RecordLog, by_status
from perfgate.records.record import Record

from tests.conftest import Project
from tests.support.benchmark_items import Item, items, row


class TestSession:
    def test_a_benchmark_without_a_table_measures_too(self, project: Project) -> None:
        project.benchmark("""
            import pytest

            @pytest.mark.parametrize("size", [3, 4])
            def test_plain(measure, size):
                measure(sum, range(size))
        """)
        project.run().assert_outcomes(passed=2)
        assert list(project.records()) == ["test_plain/3", "test_plain/4"]

    def test_the_next_run_knows_how_long_the_cases_take(self, project: Project) -> None:
        guess = "*of unknown length (a guess: the next run here will know from this one)"
        project.run("-k", "loop-n10").stdout.fnmatch_lines([guess])
        again = project.run("-k", "loop-n10")
        again.stdout.fnmatch_lines(["perfgate: 1 case on cpu (1 sums), about * s"])
        again.stdout.no_fnmatch_line("*unknown length*")


def test_two_benchmarks_with_one_key_are_refused(project: Project) -> None:
    """Their records would overwrite each other, and one of them would pass for both."""
    project.benchmark("def test_one(measure): measure(sum, [1])")
    project.pytester.makepyfile(test_more="def test_one(measure): measure(sum, [2])")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*two benchmarks share the key 'test_one/default'*test_more*test_sums*rename*"])


def test_a_record_is_made_once_of_the_row_or_of_the_function() -> None:
    log = RecordLog("cuda:1", ())
    of_row, of_function = Item(row("loop")), Item(name="test_Plain")
    record = log.record_of(of_row)
    assert log.record_of(of_row) is record
    assert (record.name, record.key, record.fields) == ("sums", "sums/loop", {"how": "loop"})
    assert record.provenance["executed_on"] == "cuda"
    plain = log.record_of(of_function)
    assert (plain.name, plain.key, plain.fields) == ("test_plain", "test_plain/default", {})


class TestFaults:
    def test_one_that_takes_a_case_away(self) -> None:
        collected = [*items("loop", "builtin"), Item(name="test_other", measures=False)]
        log = RecordLog("cpu", [parse("vanish@*/loop")])
        log.collect(collected)
        assert [one.nodeid for one in collected] == ["test_sums.py::test_sums[builtin]", "test_sums.py::test_other"]
        assert log.collected == {"sums/builtin": "test_sums.py::test_sums[builtin]"}

    def test_one_that_renames_a_case(self) -> None:
        log = RecordLog("cpu", [parse("rename@*/loop")])
        log.collect(items("loop", "builtin"))
        assert list(log.collected) == ["sums/loop-renamed", "sums/builtin"]


def test_one_key_for_two_is_refused_and_other_tests_have_none() -> None:
    log = RecordLog("cpu", ())
    log.require_own_keys([*items("loop", "builtin"), *(Item(name="test_other", measures=False) for _ in range(2))])
    with pytest.raises(pytest.UsageError, match="sums/loop"):
        log.require_own_keys(items("loop", "loop"))


class TestTimes:
    def test_the_last_time_here_counts_before_the_tables_guess(self) -> None:
        log = RecordLog("cpu", ())
        log.remembered = {"sums/loop": 3.0}
        expected = [
            log.expected_s(item)
            for item in (
                Item(row("loop", expected_s=20.0)),
                Item(row("builtin", expected_s=20.0)),
                Item(row("unknown")),
                Item(row("loop", unavailable="no numbers here")),
                Item(),
            )
        ]
        assert expected == [3.0, 20.0, None, 0.0, None]

    def test_what_is_left_are_those_that_wait(self) -> None:
        log = RecordLog("cpu", ())
        log.remembered = {"sums/loop": 3.0, "sums/builtin": 4.0}
        log.waiting = items("loop", "builtin", "unknown")
        assert log.expected_left() == 7.0
        ended, *_ = [log.record_of(item) for item in log.waiting]
        log.add(ended)
        assert [log.record_of(item).key for item in log.waiting] == ["sums/builtin", "sums/unknown"]
        assert log.expected_left() == 4.0

    def test_only_what_was_measured_is_remembered(self) -> None:
        stored: dict[str, object] = {}
        cache = SimpleNamespace(set=stored.__setitem__, get=stored.get)
        config: Any = SimpleNamespace(cache=cache)
        log = RecordLog("cpu", ())
        log.remembered = {"sums/old": 1.0, "sums/loop": 9.0}
        for key, status in (("loop", "measured"), ("builtin", "failed")):
            log.add(Record("sums", 1, {}, f"sums/{key}", status=status), 5.0)  # type: ignore[arg-type]  # a status
        log.remember(config)
        assert stored == {DURATIONS: {"sums/old": 1.0, "sums/loop": 5.0}}
        again = RecordLog("cpu", ())
        again.recall(config)
        assert again.remembered == {"sums/old": 1.0, "sums/loop": 5.0}

    def test_without_a_cache_nothing_is_remembered(self) -> None:
        config: Any = SimpleNamespace()
        log = RecordLog("cpu", ())
        log.remember(config)
        log.recall(config)
        assert log.remembered == {}


def test_keys_by_status_in_the_order_of_the_run() -> None:
    statuses = {"a/1": "failed", "a/2": "measured", "a/3": "failed"}
    records = {key: Record("a", 1, {}, key, status=status) for key, status in statuses.items()}  # type: ignore[arg-type]
    assert by_status(records) == {"failed": ["a/1", "a/3"], "measured": ["a/2"]}
    assert by_status({}) == {}
