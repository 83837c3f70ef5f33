"""What adds up over refreshes that each stayed within the tolerance."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from perfgate.baselines import anchor, store
from perfgate.baselines.anchor import Anchor
from perfgate.baselines.store import BaselineStore, Entry, Refresh, to_json
from perfgate.compare.case_verdict import Verdict
from perfgate.compare.metric_verdict import Finding
from perfgate.compare.tolerances import Tolerances
from perfgate.records.validate import RecordError

from tests.support.baseline_entries import REFRESH, entry

KEY = "sum/a"


def found(ratio: float | None, half: float = 0.02, status: Any = "SAME") -> Verdict:
    """A refresh's verdict on one case."""
    bounds = {} if ratio is None else {"low": ratio * math.exp(-half), "high": ratio * math.exp(half)}
    return Verdict(status, "", (Finding("latency_s", status, "", ratio=ratio, **bounds),))


def refreshed(before: Entry | None, verdict: Verdict | None, date: str, *anew: str) -> Entry:
    """The case after one more refresh."""
    old = {} if before is None else {KEY: before}
    new = {KEY: entry(KEY, refresh=replace(REFRESH, date=date))}
    verdicts = {} if verdict is None else {KEY: verdict}
    return anchor.carried(old, new, verdicts, lambda key: key in anew)[KEY]


def tolerances_of(key: str) -> Tolerances:
    return Tolerances()


def test_four_percent_at_each_of_ten_refreshes_is_found_at_the_second() -> None:
    case = refreshed(None, None, "0")
    refused = []
    for number in range(10):
        case = refreshed(case, found(1.04), str(number + 1))
        refused.append(bool(anchor.beyond({KEY: case}, tolerances_of)))
    assert refused == [False] + [True] * 9
    assert case.anchor is not None
    assert case.anchor.ratio == pytest.approx(1.04**10)
    (said,) = anchor.beyond({KEY: case}, tolerances_of)
    assert said.startswith(f"{KEY}: slower by 48.0% in all (at least ")
    assert "since its anchor of 0 (first), a bit at each refresh, and the tolerance is 5%; to accept it" in said
    assert f'--perfgate-anchor "{KEY}"' in said


def test_noise_around_nothing_is_never_found() -> None:
    """Ratios within 2% of 1, as lockstep finds them of unchanged cases, add up to nothing."""
    case = refreshed(None, None, "0")
    for number in range(50):
        case = refreshed(case, found(1.02 if number % 2 else 0.98), str(number + 1))
        assert anchor.beyond({KEY: case}, tolerances_of) == []


def test_a_wide_interval_decides_nothing() -> None:
    case = refreshed(refreshed(None, None, "0"), found(1.08, half=0.2), "1")
    assert anchor.beyond({KEY: case}, tolerances_of) == []


@pytest.mark.parametrize("verdict", [None, found(None), Verdict("SAME", "no time in it")])
def test_a_time_that_was_not_compared_adds_nothing(verdict: Verdict | None) -> None:
    case = refreshed(refreshed(refreshed(None, None, "0"), found(1.03), "1"), verdict, "2")
    assert case.anchor is not None
    assert (case.anchor.date, case.anchor.ratio) == ("0", pytest.approx(1.03))


@pytest.mark.parametrize("status", ["REGRESSED", "IMPROVED"])
def test_a_decided_change_that_is_stored_begins_anew(status: str) -> None:
    """It was accepted, or it is better: creeping is then away from there."""
    case = refreshed(refreshed(None, None, "0"), found(1.5, status=status), "1")
    assert case.anchor == Anchor("1", "first")


def test_a_person_begins_anew_by_name() -> None:
    case = refreshed(refreshed(None, None, "0"), found(1.04), "1")
    assert refreshed(case, found(1.04), "2", KEY).anchor == Anchor("2", "first")
    assert refreshed(case, found(1.04), "2", "sum/other").anchor != Anchor("2", "first")


def test_a_baseline_of_before_is_its_cases_anchor() -> None:
    case = refreshed(entry(KEY), found(1.03), "later")
    assert case.anchor is not None
    assert (case.anchor.date, case.anchor.reason) == (REFRESH.date, REFRESH.reason)


def test_who_has_changed_most_is_told() -> None:
    entries = {
        "sum/a": replace(entry("sum/a"), anchor=Anchor("1", "r", 0.01, 0.01)),
        "sum/b": replace(entry("sum/b"), anchor=Anchor("2", "r", 0.04, 0.01)),
        "sum/c": replace(entry("sum/c"), anchor=Anchor("3", "r")),
    }
    assert anchor.farthest(entries) == "Since their anchors: sum/b has changed most, by +4.1% since 2"
    assert anchor.farthest({"sum/c": entries["sum/c"]}) is None


def test_a_file_keeps_it(tmp_path: Any) -> None:
    entries = {
        "sum/a": replace(entry("sum/a"), anchor=Anchor("1", "r", 0.01, 0.02)),
        "sum/b": replace(entry("sum/b"), anchor=Anchor("1", "r", -0.04, 0.01)),
        "sum/c": entry("sum/c"),
    }
    refresh = Refresh("2026-12-01T00:00:00+0000", "x", REFRESH.fingerprint, 5)
    path = BaselineStore(tmp_path, "m").save(to_json({}, "m", entries), refresh)
    assert {key: one.anchor for key, one in store.load(path).entries.items()} == {
        key: one.anchor for key, one in entries.items()
    }
    assert json.loads(path.read_text())["perfgate"]["anchors"] == [{"date": "1", "reason": "r"}]


@pytest.mark.parametrize(
    "stored", [[0, 0.0], [1, 0.0, 0.0], [-1, 0.0, 0.0], [0, "x", 0.0], [0, 0.0, -1.0], [0, math.nan, 0.0], "x"]
)
def test_damage_is_an_error(stored: Any) -> None:
    with pytest.raises(RecordError):
        anchor.unpack([{"date": "1", "reason": "r"}], stored)
