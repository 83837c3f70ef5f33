"""Which stored cases a run asked for and no test has any more."""

import pytest
from perfgate.baselines.missing_cases import missing
from perfgate.baselines.store import Entry, Refresh
from perfgate.records.fingerprint import Fingerprint
from perfgate.records.record import Record

REFRESH = Refresh("2026-11-23", "first", Fingerprint("", {}), 5)


def entry(key: str, node: str, tier: str = "quick") -> Entry:
    return Entry(Record(key.partition("/")[0], 1, {}, key), node, (1.0,), REFRESH, tier, key)


STORED = {
    one.record.key: one
    for one in (
        entry("sum/a", "perf/test_sum.py::test_sum[a]"),
        entry("sum/b", "perf/test_sum.py::test_sum[b]", "default"),
        entry("sum/c", "perf/test_sum.py::test_sum[c]", "extra"),
        entry("max/a", "perf/deep/test_max.py::test_max[a]"),
    )
}
ALL = ("quick", "default", "extra")


def gone(
    collected: tuple[str, ...] = (), arguments: tuple[str, ...] = ("perf",), tiers: tuple[str, ...] = ALL
) -> set[str]:
    found = missing(
        STORED, collected, arguments=arguments, tiers=tiers, matches=lambda name: True, in_scope=lambda one: True
    )
    return {one.record.key for one in found}


def test_what_was_collected_is_not_missing() -> None:
    assert gone(collected=("sum/a", "max/a")) == {"sum/b", "sum/c"}


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [(("quick",), {"sum/a", "max/a"}), (("quick", "default"), {"sum/a", "sum/b", "max/a"}), (ALL, set(STORED))],
)
def test_a_run_of_fewer_cases_misses_fewer(tiers: tuple[str, ...], expected: set[str]) -> None:
    assert gone(tiers=tiers) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (".", set(STORED)),
        ("", set(STORED)),
        ("perf", set(STORED)),
        ("per", set()),
        ("tests", set()),
        ("perf/deep", {"max/a"}),
        ("perf/test_sum.py", {"sum/a", "sum/b", "sum/c"}),
        ("perf/test_sum.py::test_sum", {"sum/a", "sum/b", "sum/c"}),
        ("perf/test_sum.py::test_sum[b]", {"sum/b"}),
        ("perf/test_sum.py::test_other", set()),
    ],
)
def test_only_what_pytest_was_asked_to_collect(argument: str, expected: set[str]) -> None:
    assert gone(arguments=(argument,)) == expected


def test_what_the_keyword_or_the_suite_leaves_out() -> None:
    found = missing(
        STORED,
        (),
        arguments=["perf"],
        tiers=ALL,
        matches=lambda name: "[a]" in name,
        in_scope=lambda one: one.record.name == "sum",
    )
    assert [one.record.key for one in found] == ["sum/a"]
