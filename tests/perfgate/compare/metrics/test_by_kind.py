"""Metrics that only a benchmark knows are judged by what kind they are."""

from __future__ import annotations

import pytest
from perfgate.compare.known_time import Estimated, NotJudged
from perfgate.compare.metrics import by_kind
from perfgate.records.record import Metric

from tests.support.two_records import judged, of


def error(value: float, kind: str = "bounded") -> dict[str, Metric]:
    return {"error": Metric(kind, "1", "lower", value)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("same_versions", "time", "status"),
    [(True, NotJudged("x"), "REGRESSED"), (False, NotJudged("x"), "SAME"), (True, Estimated(None), "SAME")],
)
def test_quality_must_repeat_where_nothing_has_changed(same_versions: bool, time: object, status: str) -> None:
    finding = judged("error", of(error(0.09)), of(error(0.0905)), time, same_versions=same_versions)  # type: ignore[arg-type]
    assert finding is not None
    assert finding.status == status


def test_another_kind_than_before_is_incomparable() -> None:
    finding = judged("error", of(error(0.09, "exact")), of(error(0.09)))
    assert finding is not None
    assert finding.status == "INCOMPARABLE"


def test_the_object_bears_the_metrics_name_and_unit() -> None:
    one = by_kind.of("by_hand_s", Metric("sampled", "s", "lower", 1.5))
    assert (one.name, one.unit, type(one)) == ("by_hand_s", "s", by_kind.OwnTime)
    assert type(by_kind.of("share", Metric("sampled", "fraction", "higher", 0.5))) is by_kind.OwnSample
    assert type(by_kind.of("a_time_of_lockstep", None)) is by_kind.OwnTime
