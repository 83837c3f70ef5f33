"""The latency's object: what is recorded of rounds, and which of the reasons not to judge comes first."""

from __future__ import annotations

import pytest
from perfgate.compare import metrics
from perfgate.compare.known_time import Estimated, NotJudged, Time, Undecided
from perfgate.compare.metrics.latency import Latency, WallLatency, times

from tests.support.two_records import judged, of, twice_as_long

ROUNDS = [0.2, 0.1, 0.3, 0.2, 0.2, 0.2, 0.9]
HAS = {"latency_s": times(ROUNDS, by_input=False)}


def test_rounds_of_one_input_give_their_median_with_its_interval() -> None:
    metric = HAS["latency_s"]
    assert metric.value == 0.2
    assert metric.interval is not None
    assert metric.interval[0] <= 0.2 <= metric.interval[1]
    assert metric.samples == tuple(ROUNDS)


def test_rounds_of_many_inputs_give_their_mean() -> None:
    metric = times(ROUNDS, by_input=True)
    assert metric.value == pytest.approx(sum(ROUNDS) / 7)
    assert metric.interval is None


def test_what_results_tell_is_recorded_beside_it() -> None:
    seen = metrics.Seen(ROUNDS, 7, by_input=True, extra_s={"ttft_s": [0.1, 0.3]})
    assert {name: one.value for name, one in Latency().recorded(seen).items()} == {
        "latency_s": pytest.approx(0.3),
        "ttft_s": pytest.approx(0.2),
    }


def test_waiting_is_recorded_where_it_differs() -> None:
    assert WallLatency().recorded(metrics.Seen(ROUNDS, 7)) == {}
    assert WallLatency().recorded(metrics.Seen(ROUNDS, 7, waited_s=[0.5] * 6))["wall_latency_s"].value == 0.5


@pytest.mark.parametrize(
    ("time", "doubts", "status", "words"),
    [
        (twice_as_long(), [], "REGRESSED", "slower"),
        (twice_as_long(), ["throttled"], "REGRESSED", "slower"),
        (NotJudged("nothing changed"), [], "SAME", "time not judged: nothing changed"),
        (NotJudged("nothing changed"), ["throttled"], "INCONCLUSIVE", "now: throttled"),
        (Undecided("no pair"), [], "INCONCLUSIVE", "no pair"),
        (Estimated(None), [], "INCONCLUSIVE", "no interval yet"),
    ],
)
def test_what_is_known_decides(time: Time, doubts: list[str], status: str, words: str) -> None:
    finding = judged("latency_s", of(HAS), of(HAS, doubts=doubts), time)
    assert finding is not None
    assert finding.status == status
    assert words in finding.reason


def test_without_a_latency_and_an_estimate_nothing_is_said() -> None:
    assert judged("latency_s", of({}), of(HAS)) is None
    assert judged("latency_s", of({}), of({}), twice_as_long()) is not None
