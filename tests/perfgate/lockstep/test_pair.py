"""One case in one pair of processes, with workers that answer what the test wrote down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from perfgate.lockstep import pair
from perfgate.lockstep.pair import BLOCK_S, CASE_S, MOST_TURNS, TURNS, Taken, apart, side_by_side
from perfgate.lockstep.worker_client import WorkerError
from perfgate.records.record import Record

KEYS = {"A": "sums/old", "B": "sums/new"}


class Side:
    """A worker whose calls take ``call_s``; ``answers`` replaces, by request, what it says: a status ends its test
    there, an error is raised. ``asked`` has both sides' requests and answers in their order."""

    def __init__(self, name: str, asked: list[str], call_s: float = 0.01, **answers: Any) -> None:
        self.name, self.asked, self.call_s, self.answers = name, asked, call_s, answers
        self.says: tuple[str, dict[str, Any]] = ("collected", {"cases": [KEYS[name]], "broken": {}})

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None: ...

    def error(self, message: str) -> WorkerError:
        return WorkerError(message, side=self.name)

    def record(self, status: Any = "measured", **about: Any) -> dict[str, Any]:
        return {"record": Record("sums", 1, {}, KEYS[self.name], status=status, **about).to_json()}

    def ask(self, name: str, **fields: Any) -> None:
        self.asked.append(f"{self.name} {name}")
        usual = {
            "load": (
                "ready",
                {"call_s": self.call_s, "prepared_s": 0.0, "cold_s": {"load_s": 10 * self.call_s}, "digest": ""},
            ),
            "block": ("times", {"s": [self.call_s * fields.get("calls", 0)], "samples": {"ttft_s": self.call_s / 4}}),
            "exact": ("exact", self.record()),
            "stop": ("done", self.record(doubts=["throttled"] if self.answers.get("doubts") else [])),
        }
        self.says = usual[name]
        other = self.answers.get(name)
        if isinstance(other, str):
            self.says = ("done", self.record(other, reason="why"))
        elif isinstance(other, Exception):
            raise other

    def answer(self, timeout_s: float) -> tuple[str, dict[str, Any]]:
        self.asked.append(f"{self.name} answers")
        return self.says


def sides(a: dict[str, Any] | None = None, b: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    asked: list[str] = []
    return {"A": Side("A", asked, **(a or {})), "B": Side("B", asked, **(b or {}))}, asked


def statuses(taken: Taken) -> dict[str, str]:
    return {name: record.status for name, record in taken.records.items()}


@pytest.mark.parametrize(
    ("call_s", "calls", "turns"),
    [
        (1e-7, round(BLOCK_S / 1e-7), MOST_TURNS),
        (BLOCK_S / 4, 4, MOST_TURNS),
        (BLOCK_S, 1, MOST_TURNS),
        (0.02, 1, 24),
        (0.1, 1, TURNS),
        (CASE_S / 8, 1, 4),
        (CASE_S, 1, 2),
        (100 * CASE_S, 1, 2),
    ],
)
def test_blocks_are_long_and_a_pair_is_short(call_s: float, calls: int, turns: int) -> None:
    assert pair._plan(call_s, 0.0) == (calls, turns)


@pytest.mark.parametrize(
    ("prepared_s", "calls", "turns"),
    [(1e-6, BLOCK_S / 1e-6, MOST_TURNS), (1e-3, 100, TURNS), (0.2, 1, 8), (CASE_S, 1, 2)],
)
def test_calls_that_prepare_what_is_not_timed_take_no_longer_than_others(
    prepared_s: float, calls: int, turns: int
) -> None:
    """A call of a microsecond, with what comes before it."""
    assert pair._plan(1e-6, prepared_s) == (calls, turns)


@pytest.mark.parametrize("call_s", [1e-6, 0.003, 0.03, 0.2, 0.7, 1.1, 30.0])
def test_each_side_is_first_in_as_many_turns_as_the_other(call_s: float) -> None:
    calls, turns = pair._plan(call_s, 0.0)
    assert turns % 2 == 0
    assert 2 <= turns <= MOST_TURNS
    assert 2 * turns * calls * call_s <= max(pair.CASE_S * 1.5, 4 * call_s)


def test_that_the_second_of_a_turn_is_slower_cancels() -> None:
    second = math.log(1.04)
    turns = [second, -second] * 6
    assert pair._without_order([0.1 + one for one in turns]) == pytest.approx(0.1)


def test_one_interrupted_turn_tells_nothing() -> None:
    turns = [0.01, -0.01] * 6
    turns[3] = 5.0
    assert pair._without_order(turns) == pytest.approx(0.0)


class TestSideBySide:
    def test_the_ratio_is_of_b_to_a(self) -> None:
        workers, _ = sides({"call_s": 0.01}, {"call_s": 0.02})
        taken = side_by_side(workers, KEYS, exact=True)
        assert taken.log_ratio == pytest.approx(math.log(2))
        assert taken.times_s == pytest.approx({"A": 0.01, "B": 0.02})
        assert taken.beside_s == {"load_s": {"A": 0.1, "B": 0.2}, "ttft_s": {"A": 0.0025, "B": 0.005}}
        assert statuses(taken) == {"A": "measured", "B": "measured"}
        assert not taken.spent

    def test_both_load_at_once_and_are_weighed_and_counted_at_once(self) -> None:
        workers, asked = sides()
        side_by_side(workers, KEYS, exact=True)
        answers = ["A answers", "B answers"]
        assert asked[:8] == ["A load", "B load", *answers, "A exact", "B exact", *answers]

    @pytest.mark.parametrize(("call_s", "tried"), [(0.001, "AB"), (0.01, ""), (1.0, "")])
    def test_turns_alternate_in_who_goes_first(self, call_s: float, tried: str) -> None:
        """The turn that tells how many calls make a block counts where a block is one call."""
        workers, asked = sides({"call_s": call_s}, {"call_s": call_s})
        side_by_side(workers, KEYS, exact=False)
        blocks = "".join(one[0] for one in asked if one.endswith("block"))
        _, turns = pair._plan(call_s, 0.0)
        assert blocks == tried + "ABBA" * (turns // 2)
        assert "A exact" not in asked

    @pytest.mark.parametrize("request_", ["load", "exact", "stop"])
    def test_a_side_whose_test_ends_has_no_ratio_and_its_process_goes_on(self, request_: str) -> None:
        workers, asked = sides(b={request_: "failed"})
        taken = side_by_side(workers, KEYS, exact=True)
        assert (taken.log_ratio, taken.spent) == (None, False)
        if request_ != "stop":  # what the exact pass measured stays
            assert statuses(taken) == {"A": "measured", "B": "failed"}
        assert "A stop" in asked

    def test_a_process_that_died_spends_the_pair(self) -> None:
        workers, _ = sides(b={"block": WorkerError("it died", side="B", out_of_memory=True)})
        taken = side_by_side(workers, KEYS, exact=False)
        assert (taken.log_ratio, taken.spent, taken.out_of_memory) == (None, True, True)
        assert statuses(taken) == {"B": "failed"}

    def test_a_test_that_ends_inside_a_block_spends_the_pair(self) -> None:
        """The other side may be inside its own, where it cannot be told to leave."""
        workers, asked = sides(b={"block": "failed"})
        taken = side_by_side(workers, KEYS, exact=False)
        assert (taken.log_ratio, taken.spent, statuses(taken)) == (None, True, {"B": "failed"})
        assert "A stop" not in asked

    @pytest.mark.parametrize("exact", [True, False])
    def test_times_in_doubt_are_no_ratio(self, exact: bool) -> None:
        workers, _ = sides(a={"doubts": True})
        taken = side_by_side(workers, KEYS, exact=exact)
        assert taken.log_ratio is None
        assert taken.doubts == {"A": ["throttled"]}
        assert taken.records["A"].doubts == []

    @pytest.mark.parametrize(("reason", "memory"), [("CUDA out of memory on cuda:0", True), ("wrong", False)])
    def test_no_memory_is_known_by_its_words(self, reason: str, memory: bool) -> None:
        workers, _ = sides(b={"load": WorkerError(reason, side="B")})
        assert side_by_side(workers, KEYS, exact=False).out_of_memory is memory


Start = Callable[[str], Any]


class TestApart:
    def start(self, **sides_: dict[str, Any]) -> tuple[Start, list[str]]:
        events: list[str] = []

        @contextmanager
        def begin(name: str) -> Iterator[Side]:
            events.append(f"{name} begins")
            yield Side(name, [], **sides_.get(name, {}))
            events.append(f"{name} ends")

        return begin, events

    @pytest.mark.parametrize("order", ["AB", "BA"])
    def test_one_side_is_gone_before_the_other_comes(self, order: str) -> None:
        start, events = self.start(A={"call_s": 0.02}, B={"call_s": 0.01})
        taken = apart(start, KEYS, order, exact=True)
        assert events == [f"{name} {what}" for name in order for what in ("begins", "ends")]
        assert taken.log_ratio == pytest.approx(-math.log(2))
        assert statuses(taken) == {"A": "measured", "B": "measured"}
        assert taken.spent  # there is no process left

    def test_a_side_that_fails_has_no_ratio(self) -> None:
        start, _ = self.start(B={"load": "skipped"})
        taken = apart(start, KEYS, "AB", exact=False)
        assert taken.log_ratio is None
        assert statuses(taken)["B"] == "skipped"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("b.py::test_b", "could not be collected: b.py: two"),
        ("sum/one", "could not be collected: a.py: one; b.py: two"),
    ],
)
def test_why_a_case_is_not_there(key: str, told: str) -> None:
    assert pair.Collected((), {"b.py": "two", "a.py": "one", "c.py": "three"}).why_not(key) == told
    assert pair.Collected((), {}).why_not(key) == ""
