"""Counted work: every call more is worse, unless other versions of the libraries make it."""

from __future__ import annotations

from perfgate.compare.metric_verdict import Finding
from perfgate.records.record import Metric, Record

from tests.support.two_records import judged, of


def counted(calls: int, operators: dict[str, int], flops: int = 10**9) -> Record:
    """A record of counted work alone."""
    found = {
        "operator_calls": Metric("exact", "calls", "lower", calls),
        "flops": Metric("exact", "flop", "lower", flops),
    }
    return of(found, operators=operators)


def judge_work(before: Record, after: Record, *, same_versions: bool) -> list[Finding]:
    """The findings about calls and FLOPs."""
    found = [judged(name, before, after, same_versions=same_versions) for name in ("operator_calls", "flops")]
    return [finding for finding in found if finding is not None]


class TestWork:
    LESS = counted(27_225, {"aten.cat": 1_984, "aten.mm": 25_241})
    MORE = counted(27_536, {"aten.slice": 1_999, "aten.mm": 25_241, "aten.view": 296})

    def test_more_calls_of_the_same_library_regress(self) -> None:
        calls, flops = judge_work(self.LESS, self.MORE, same_versions=True)
        assert (calls.status, flops.status) == ("REGRESSED", "SAME")
        assert calls.reason == (
            "27,225 calls became 27,536 calls (+311 calls); "
            "aten.slice 0 -> 1,999, aten.cat 1,984 -> 0, aten.view 0 -> 296"
        )

    def test_another_version_explains_them(self) -> None:
        calls, _ = judge_work(self.LESS, self.MORE, same_versions=False)
        assert calls.status == "SAME"
        assert all(fact in calls.reason for fact in ("+311", "the library versions differ", "aten.slice 0 -> 1,999"))

    def test_one_call_is_enough_and_fewer_are_better(self) -> None:
        one_more = counted(27_226, {})
        assert judge_work(self.LESS, one_more, same_versions=True)[0].status == "REGRESSED"
        assert judge_work(one_more, self.LESS, same_versions=True)[0].status == "IMPROVED"

    def test_flops_are_judged_too(self) -> None:
        more = counted(27_225, {}, flops=10**9 + 2)
        calls, flops = judge_work(self.LESS, more, same_versions=True)
        assert (calls.status, flops.status) == ("SAME", "REGRESSED")

    def test_as_many_calls_of_others_are_told(self) -> None:
        other = counted(27_225, {"aten.slice": 1_984, "aten.mm": 25_241})
        calls, _ = judge_work(self.LESS, other, same_versions=True)
        assert calls.status == "SAME"
        assert all(fact in calls.reason for fact in ("aten.cat 1,984 -> 0", "aten.slice 0 -> 1,984"))

    def test_the_rest_is_counted(self) -> None:
        many = counted(28, {f"aten.op{n}": n for n in range(1, 8)})
        calls, _ = judge_work(counted(0, {}), many, same_versions=True)
        assert calls.reason.count(" -> ") == 5
        assert "2 more operators" in calls.reason

    def test_work_that_is_not_counted_any_more_is_missing(self) -> None:
        statuses = [one.status for one in judge_work(self.LESS, of({}), same_versions=True)]
        assert statuses == ["MISSING", "MISSING"]
