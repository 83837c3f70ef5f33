"""Verdicts: what each status takes for a case, what its reason tells, and what survives JSON."""

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from perfgate.compare.case_verdict import (
    FAILING,
    WORST_FIRST,
    Estimated,
    Finding,
    NotJudged,
    Tolerances,
    Verdict,
    judge,
    undecided,
)
from perfgate.compare.intervals import RatioEstimate
from perfgate.records.record import Metric, Record, RecordError

MIB = 2**20
MIRROR = {"REGRESSED": "IMPROVED", "IMPROVED": "REGRESSED", "MISSING": "NEW", "NEW": "MISSING"}


def ratio(value: float, low: float, high: float) -> RatioEstimate:
    """An estimate with one interval for both errors."""
    return RatioEstimate(value, low, high, low, high)


SAME_RATIO = ratio(1.0, 0.99, 1.01)
ESTIMATES = st.tuples(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5)).map(
    lambda one: ratio(math.exp(one[0]), math.exp(one[0] - one[1]), math.exp(one[0] + one[2]))
)
AMOUNTS = st.integers(0, 2**40)

FIELDS = st.sampled_from(["status", "reason", "findings", "largest_slowdown"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner),
    max_leaves=6,
)


def mirrored(status: str) -> str:
    return MIRROR.get(status, status)


def amount(value: float, unit: str = "bytes", better: str = "lower", **more: Any) -> Metric:
    return Metric("exact", unit, better, value, **more)  # type: ignore[arg-type]


def record(**changes: Any) -> Record:
    """A record of a case with every kind of metric; ``metrics`` replace or, with None, remove some of its own."""
    metrics = {
        "latency_s": Metric("sampled", "s", "lower", 0.25, samples=(0.24, 0.25, 0.26), interval=(0.24, 0.26)),
        "ttft_s": Metric("sampled", "s", "lower", 0.1),
        "peak_memory_bytes": amount(100 * MIB),
        "operator_calls": amount(27_225, "calls"),
        "flops": amount(10**9, "flop"),
        "relative_error": Metric("bounded", "1", "none", 1e-7),
    } | changes.pop("metrics", {})
    return Record(
        **{
            "name": "generation",
            "version": 1,
            "fields": {"scheme": "nf4", "new_tokens": 16},
            "key": "generation/nf4",
            "provenance": {"kernel": "aten.flash", "executed_on": "cpu", "memory_meter": "memray"},
            "metrics": {name: metric for name, metric in metrics.items() if metric is not None},
            "operators": {"aten.cat": 1_984, "aten.mm": 25_241},
            "pins": {"allocator": "mallopt", "cores": 1},
            "clock": "wall",
        }
        | changes
    )


MORE_WORK = record(
    metrics={"operator_calls": amount(27_536, "calls")},
    operators={"aten.slice": 1_999, "aten.mm": 25_241, "aten.view": 296},
)


def verdict(
    before: Record | None, after: Record | None, estimate: RatioEstimate | None = SAME_RATIO, **more: Any
) -> Verdict:
    """As judged with this estimate (and what ``Estimated`` takes beside it), or with another ``time``."""
    same_versions = more.pop("same_versions", True)
    time = more.pop("time", None) or Estimated(estimate, **more)
    return judge(before, after, time, Tolerances(), same_versions=same_versions)


def found(decided: Verdict, metric: str) -> Finding:
    (finding,) = (finding for finding in decided.findings if finding.metric == metric)
    return finding


class TestCase:
    def test_unchanged(self) -> None:
        decided = verdict(record(), record(), times_s=(0.25, 0.252))
        assert decided.status == "SAME"
        assert decided.reason.startswith("latency_s: ")
        assert decided.largest_slowdown == pytest.approx(0.01)
        assert {finding.status for finding in decided.findings} == {"SAME"}
        assert [finding.metric for finding in decided.findings] == [
            "latency_s",
            "operator_calls",
            "flops",
            "peak_memory_bytes",
            "relative_error",
        ]
        latency = found(decided, "latency_s")
        assert (latency.before, latency.after, latency.unit) == (0.25, 0.252, "s")

    def test_the_worst_finding_decides_and_is_the_reason(self) -> None:
        heavy = record(metrics={"peak_memory_bytes": amount(110 * MIB)})
        decided = verdict(record(), heavy, ratio(0.5, 0.49, 0.51))
        assert decided.status == "REGRESSED"
        assert decided.reason == f"peak_memory_bytes: {found(decided, 'peak_memory_bytes').reason}"
        assert found(decided, "latency_s").status == "IMPROVED"

    @pytest.mark.parametrize(
        ("time", "same_versions", "status"),
        [(None, True, "SAME"), (NotJudged("x"), True, "REGRESSED"), (NotJudged("x"), False, "SAME")],
    )
    def test_quality_must_repeat_where_nothing_has_changed(
        self, time: NotJudged | None, same_versions: bool, status: str
    ) -> None:
        then, now = (record(metrics={"error": Metric("bounded", "1", "lower", value)}) for value in (0.09, 0.0905))
        assert verdict(then, now, time=time, same_versions=same_versions).status == status
        assert verdict(then, then, time=time, same_versions=same_versions).status == "SAME"

    def test_worse_quality_is_regressed(self) -> None:
        then, now = (record(metrics={"error": Metric("bounded", "1", "lower", value)}) for value in (0.09, 0.5))
        assert found(verdict(then, now), "error").status == "REGRESSED"

    def test_changed_work_of_other_versions_is_told_beside_the_time(self) -> None:
        decided = verdict(record(), MORE_WORK, same_versions=False)
        assert decided.status == "SAME"
        told = [found(decided, name) for name in ("latency_s", "operator_calls")]
        assert decided.reason == "; ".join(f"{one.metric}: {one.reason}" for one in told)

    def test_undecided_time_says_what_would_decide_it(self) -> None:
        decided = verdict(record(), record(), ratio(1.03, 0.99, 1.07), pairs_needed=17)
        assert decided.status == "INCONCLUSIVE"
        assert "about 17 pairs" in decided.reason
        assert decided.largest_slowdown == pytest.approx(0.07)

    def test_time_without_an_interval_is_undecided(self) -> None:
        decided = verdict(record(), record(), None)
        assert (decided.status, decided.largest_slowdown) == ("INCONCLUSIVE", None)

    def test_time_that_nothing_changed_is_told_only(self) -> None:
        decided = verdict(record(), record(), time=NotJudged("code, versions and driver equal the baseline's"))
        assert (decided.status, decided.largest_slowdown) == ("SAME", None)
        assert "code, versions and driver equal the baseline's" in decided.reason

    @pytest.mark.parametrize("metric", ["peak_memory_bytes", "operator_calls"])
    def test_a_metric_that_is_gone_is_missing_and_a_new_one_changes_nothing(self, metric: str) -> None:
        without = record(metrics={metric: None})
        gone, added = verdict(record(), without), verdict(without, record())
        assert (gone.status, found(gone, metric).status) == ("MISSING", "MISSING")
        assert (added.status, found(added, metric).status) == ("SAME", "NEW")

    def test_another_meter_is_not_compared(self) -> None:
        other = record(provenance=record().provenance | {"memory_meter": "torch.cuda"})
        decided = verdict(record(), other)
        assert (decided.status, found(decided, "peak_memory_bytes").status) == ("INCOMPARABLE", "INCOMPARABLE")
        assert all(meter in decided.reason for meter in ("memray", "torch.cuda"))

    def test_another_kernel(self) -> None:
        other = record(provenance=record().provenance | {"kernel": "aten.math"})
        decided = verdict(record(), other)
        explained = verdict(record(), other, same_versions=False)
        assert (decided.status, explained.status) == ("FELL_BACK", "SAME")
        for one in (decided, explained):
            assert all(kernel in one.reason for kernel in ("aten.flash", "aten.math"))

    def test_the_tolerances_are_used(self) -> None:
        strict = Tolerances(time=0.001, exact_relative=0, exact_bytes=0)
        heavier = record(metrics={"peak_memory_bytes": amount(100 * MIB + 1)})
        decided = judge(record(), heavier, Estimated(SAME_RATIO), strict, same_versions=True)
        assert found(decided, "latency_s").status == "INCONCLUSIVE"
        assert found(decided, "peak_memory_bytes").status == "REGRESSED"

    def test_nothing_in_common(self) -> None:
        bare = Record("sums", 1, {}, "sums/default")
        assert verdict(bare, bare, None).status == "INCONCLUSIVE"

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"name": "other"}, "another benchmark: generation, then other"),
            ({"version": 2}, "the benchmark's meaning changed from version 1 to 2"),
            ({"fields": {"scheme": "nf4", "new_tokens": 8}}, "field new_tokens was 16 and is 8"),
            ({"pins": {"allocator": "mallopt"}}, "pin cores was 1 and is None"),
            ({"clock": "device events"}, "the clock was 'wall' and is 'device events'"),
            ({"provenance": {"executed_on": "cuda"}}, "the device was 'cpu' and is 'cuda'"),
        ],
    )
    def test_incomparable(self, changes: dict[str, Any], words: str) -> None:
        decided = verdict(record(), record(**changes), ratio(9.0, 8.0, 10.0))
        assert (decided.status, decided.reason) == ("INCOMPARABLE", words)

    def test_a_new_field_orphans_nothing(self) -> None:
        assert verdict(record(), record(fields=record().fields | {"batch_size": 1})).status == "SAME"


BAD = {status: record(status=status, reason=f"why {status}") for status in ("failed", "skipped", "fell_back")}


class TestOneSided:
    @pytest.mark.parametrize(
        ("before", "after", "status"),
        [
            (None, record(), "NEW"),
            (None, BAD["failed"], "NEW"),
            (record(), None, "MISSING"),
            (BAD["skipped"], None, "MISSING"),
            (record(), BAD["failed"], "REGRESSED"),
            (BAD["failed"], record(), "IMPROVED"),
            (BAD["failed"], BAD["failed"], "INCONCLUSIVE"),
            (BAD["skipped"], BAD["failed"], "INCONCLUSIVE"),
            (record(), BAD["skipped"], "SKIPPED"),
            (None, BAD["skipped"], "SKIPPED"),
            (BAD["skipped"], record(), "NEW"),
            (record(), BAD["fell_back"], "FELL_BACK"),
            (None, BAD["fell_back"], "FELL_BACK"),
            (BAD["fell_back"], record(), "INCOMPARABLE"),
        ],
    )
    def test_its_status_and_the_reason_why_a_side_was_not_measured(
        self, before: Record | None, after: Record | None, status: str
    ) -> None:
        decided = verdict(before, after)
        assert decided.status == status
        assert decided.reason
        told = [side.reason for side in (before, after) if side is not None and side.reason is not None]
        assert after is None or all(why in decided.reason for why in told)

    def test_neither_side(self) -> None:
        with pytest.raises(ValueError, match="neither side has the case"):
            verdict(None, None)


def test_what_nobody_decided_is_counted() -> None:
    same, compared = Verdict("SAME", "", (), 0.01), Verdict("INCONCLUSIVE", "", (), 0.2)
    assert undecided([same]) == []
    (line,) = undecided([same, compared, Verdict("INCONCLUSIVE", "budget"), Verdict("INCONCLUSIVE", "busy")])
    assert line.startswith("3 of 4 cases are NOT JUDGED: 2 not compared")
    assert line.endswith("; 1 compared too few times to tell")


def test_the_statuses_that_fail_are_the_worst() -> None:
    assert set(WORST_FIRST[: len(FAILING)]) == set(FAILING)


@given(AMOUNTS, AMOUNTS, ESTIMATES, st.floats(1e-3, 1e3))
def test_scaling_all_times_changes_nothing(a: int, b: int, estimate: RatioEstimate, scale: float) -> None:
    def slower(one: Record) -> Record:
        changed = copy.deepcopy(one)
        for name, metric in one.metrics.items():
            if metric.unit == "s":
                times = tuple(scale * sample for sample in metric.samples)
                changed.metrics[name] = Metric(metric.kind, "s", metric.better, scale * metric.value, times)
        return changed

    sides = [record(metrics={"peak_memory_bytes": amount(one)}) for one in (a, b)]
    assert verdict(*map(slower, sides), estimate) == verdict(*sides, estimate)


@given(AMOUNTS, AMOUNTS, st.integers(0, 10**6), st.integers(0, 10**6), ESTIMATES, st.booleans())
def test_swapping_the_sides_mirrors_every_finding(
    a: int, b: int, calls_a: int, calls_b: int, estimate: RatioEstimate, weighed: bool
) -> None:
    assume(not any(math.isclose(bound, edge) for bound in vars(estimate).values() for edge in (1.05, 1 / 1.05)))
    before, after = (
        record(metrics={"peak_memory_bytes": amount(size), "operator_calls": amount(calls, "calls")})
        for size, calls in ((a, calls_a), (b, calls_b))
    )
    if not weighed:
        del after.metrics["peak_memory_bytes"]
    back = ratio(1 / estimate.value, 1 / estimate.high, 1 / estimate.low)
    there = {finding.metric: finding.status for finding in verdict(before, after, estimate).findings}
    assert {f.metric: mirrored(f.status) for f in verdict(after, before, back).findings} == there


class TestJson:
    FULL = verdict(record(), MORE_WORK, ratio(1.2, 1.1, 1.3), times_s=(0.25, 0.3))

    def damaged(self, *path: Any, **change: Any) -> Any:
        data = json.loads(json.dumps(self.FULL.to_json()))
        inside = data
        for step in path:
            inside = inside[step]
        inside.update(change)
        return data

    def test_everything_comes_back(self) -> None:
        for one in (self.FULL, verdict(None, record()), verdict(record(), record(), None)):
            assert Verdict.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False))) == one

    def test_an_earlier_one_is_at_most_as_slow_as_its_interval_says(self) -> None:
        for one, at_most in ((self.FULL, pytest.approx(0.3)), (verdict(record(), record(), None), None)):
            data = one.to_json()
            del data["largest_slowdown"]
            assert Verdict.from_json(data | {"smallest_slowdown": 0.05}).largest_slowdown == at_most

    @pytest.mark.parametrize("field", ["status", "reason", "findings", "largest_slowdown"])
    def test_a_missing_field_is_named(self, field: str) -> None:
        data = self.FULL.to_json()
        del data[field]
        with pytest.raises(RecordError, match=f"verdict: field '{field}' is missing"):
            Verdict.from_json(data)

    @pytest.mark.parametrize("field", ["metric", "status", "reason"])
    def test_so_is_one_of_a_finding(self, field: str) -> None:
        data = self.FULL.to_json()
        del data["findings"][0][field]
        with pytest.raises(RecordError, match=f"finding: field '{field}' is missing"):
            Verdict.from_json(data)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("status", "FINE"),
            ("status", ["SAME"]),
            ("reason", 5),
            ("findings", {}),
            ("findings", [5]),
            ("largest_slowdown", math.nan),
            ("largest_slowdown", "1"),
        ],
    )
    def test_a_field_of_the_wrong_type(self, field: str, value: Any) -> None:
        with pytest.raises(RecordError, match=r"status|reason|finding|largest_slowdown"):
            Verdict.from_json(self.damaged(**{field: value}))

    @pytest.mark.parametrize("number", [math.nan, math.inf, "1", True, []])
    @pytest.mark.parametrize("field", ["before", "after", "ratio", "low", "high", "tolerance"])
    def test_a_number_is_finite_or_absent(self, field: str, number: Any) -> None:
        with pytest.raises(RecordError, match=f"{field}: got .*, expected a finite number"):
            Verdict.from_json(self.damaged("findings", 0, **{field: number}))

    @given(JSON_VALUES)
    def test_whatever_is_no_verdict_is_refused(self, data: Any) -> None:
        with pytest.raises(RecordError):
            Verdict.from_json(data)
